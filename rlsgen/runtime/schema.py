"""What a database lets conversations use: the declared relations, their readable columns, types and keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Any, Literal

import psycopg
from psycopg.rows import tuple_row

from rlsgen.errors import ServerError
from rlsgen.identifiers import Name, identifier, join
from rlsgen.spec.model import RelationRef, Spec, TableSpec, ViewSpec


@dataclass(frozen=True, slots=True)
class Column:
    """A column that the conversation role may read."""

    name: str
    type: str  # with its modifier, as pg_catalog.format_type shows it: character varying(21)
    type_oid: int
    base_oid: int  # the same, or the type under a domain
    type_name: Name  # of the type, or of an array's elements
    labels: tuple[str, ...]  # of an enum, in their order
    not_null: bool
    insertable: bool
    updatable: bool


@dataclass(frozen=True, slots=True)
class Key:
    """A primary key, unique constraint or foreign key (then `target` and its columns) over readable columns only."""

    kind: Literal["primary", "unique", "foreign"]
    columns: tuple[str, ...]
    target: Name | None = None
    target_columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Relation:
    """A declared table or view that is not hidden."""

    name: Name
    kind: Literal["table", "view"]  # a partitioned table is a table
    declared: TableSpec | ViewSpec
    columns: tuple[Column, ...]  # readable, in their order
    unreadable: tuple[str, ...]  # for what must not be said, never for what is shown
    keys: tuple[Key, ...]
    rows: float  # the planner's estimate over all tenants, -1 where unknown; for us, never for a conversation
    deletable: bool

    def column(self, name: str) -> Column | None:
        """The readable column of that name."""
        return next((each for each in self.columns if each.name == name), None)

    @property
    def primary_key(self) -> tuple[str, ...]:
        """The columns of the primary key; empty where there is none, or not all of it may be read."""
        return next((key.columns for key in self.keys if key.kind == "primary"), ())


@dataclass(frozen=True)
class Schema:
    """The relations that statements may name. Unqualified names mean the first of `search` that has one."""

    search: tuple[str, ...]
    relations: Mapping[Name, Relation]
    concealed: frozenset[Name]  # what else is in these schemas: it decides what names mean, and is never shown

    def resolve(self, schema: str | None, name: str) -> Relation | None:
        """The usable relation that a name means."""
        for each in [schema] if schema is not None else self.search:
            found = Name(each, name)
            if found in self.relations:
                return self.relations[found]
            if found in self.concealed:
                return None
        return None

    @cached_property
    def types(self) -> frozenset[Name]:
        """The types of all readable columns: enums, domains and extension types that casts may name."""
        return frozenset(column.type_name for relation in self.relations.values() for column in relation.columns)

    @cached_property
    def unreadable(self) -> frozenset[str]:
        """The names of all columns that cannot be read, of whichever relation."""
        return frozenset(name for relation in self.relations.values() for name in relation.unreadable)

    def foreign_keys(self) -> Iterable[tuple[Relation, Key]]:
        """Foreign keys between usable relations, for descriptions."""
        for relation in self.relations.values():
            for key in relation.keys:
                if key.kind == "foreign" and key.target in self.relations:
                    yield relation, key


def schema_query() -> bytes:
    """The query that `build_schema` needs the rows of. Its one parameter, text[], is what `schemas_of` names."""
    return files("rlsgen.runtime").joinpath("queries", "schema.sql").read_bytes()


def schemas_of(spec: Spec) -> list[str]:
    """The schemas to read: the spec's, and those that only a qualified name in it mentions."""
    named = (each.ref.schema for each in _declared(spec))
    return list(dict.fromkeys([*spec.schemas, *(name for name in named if name is not None)]))


def read_schema(connection: psycopg.Connection[Any], spec: Spec) -> Schema:
    """The schema, over a connection of the conversation role that is in no transaction; types as statements see them.

    Raises:
        ServerError: the connection is another role's, which could see what conversations must not.
    """
    path = join(", ", map(identifier, ("pg_catalog", *spec.schemas, "pg_temp")))
    with connection.transaction(force_rollback=True), psycopg.RawCursor(connection, row_factory=tuple_row) as cursor:
        found = cursor.execute("SELECT current_user, pg_catalog.set_config('search_path', $1, true)", [path]).fetchone()
        if found is None or found[0] != spec.conversation:
            role = found[0] if found is not None else "nobody"
            hint = "what another role may see is not what a conversation may see"
            raise ServerError(f"this is a connection of {role}; connect as {spec.conversation}", hint=hint)
        return build_schema(spec, cursor.execute(schema_query(), [schemas_of(spec)]).fetchall())


def build_schema(spec: Spec, rows: Sequence[Sequence[Any]]) -> Schema:
    """The schema from the rows of `schema_query`, read as the conversation role."""
    by_name = {Name(row[0], row[1]): row for row in rows}
    relations: dict[Name, Relation] = {}
    for declared in _declared(spec):
        name = _find(spec, by_name, declared.ref)
        if name is None or declared.access == "hidden":
            continue
        relation = _relation(name, declared, by_name[name])
        if relation.columns:
            relations[name] = relation
    return Schema(spec.schemas, relations, frozenset(by_name) - relations.keys())


def _declared(spec: Spec) -> list[TableSpec | ViewSpec]:
    return [*spec.tables, *spec.views]


def _find(spec: Spec, known: Mapping[Name, object], ref: RelationRef) -> Name | None:
    schemas = [ref.schema] if ref.schema is not None else spec.schemas
    return next((name for schema in schemas if (name := Name(schema, ref.name)) in known), None)


def _relation(name: Name, declared: TableSpec | ViewSpec, row: Sequence[Any]) -> Relation:
    _, _, kind, rows, columns, keys, deletable = row
    readable = [each for each in columns if each["select"]]
    names = {each["name"] for each in readable}
    return Relation(
        name=name,
        kind="view" if kind == "v" else "table",
        declared=declared,
        columns=tuple(_column(each) for each in readable),
        unreadable=tuple(each["name"] for each in columns if not each["select"]),
        keys=tuple(_key(each) for each in keys if names.issuperset(each["columns"])),
        rows=rows,
        deletable=deletable,
    )


def _column(row: Mapping[str, Any]) -> Column:
    return Column(
        name=row["name"],
        type=row["type"],
        type_oid=row["oid"],
        base_oid=row["base"],
        type_name=Name(row["schema"], row["type_name"]),
        labels=tuple(row["labels"] or ()),
        not_null=row["not_null"],
        insertable=row["insert"],
        updatable=row["update"],
    )


_KINDS: Mapping[str, Literal["primary", "unique", "foreign"]] = {"p": "primary", "u": "unique", "f": "foreign"}


def _key(row: Mapping[str, Any]) -> Key:
    target = Name(row["schema"], row["relation"]) if row["kind"] == "f" else None
    return Key(_KINDS[row["kind"]], tuple(row["columns"]), target, tuple(row["targets"] or ()))
