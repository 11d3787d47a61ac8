"""What SQLAlchemy's inspector sees: what conversations may use, from memory. No catalog is asked, nothing else seen."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from psycopg import postgres
from sqlalchemy import types
from sqlalchemy.dialects.postgresql import ARRAY, ENUM, INTERVAL
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.engine import Connection
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.engine.interfaces import (
    ReflectedCheckConstraint,
    ReflectedColumn,
    ReflectedForeignKeyConstraint,
    ReflectedIndex,
    ReflectedPrimaryKeyConstraint,
    ReflectedTableComment,
    ReflectedUniqueConstraint,
)
from sqlalchemy.exc import NoSuchTableError

from rlsgen.identifiers import Name
from rlsgen.runtime.schema import Column, Relation, Schema
from rlsgen.runtime.sqlalchemy.source import Source

_FORM = re.compile(r"(?P<name>[^()]*)(?:\((?P<arguments>[^()]*)\))?(?P<rest>[^()]*)")  # numeric(10,2), time(3) with...


class Reflection(DefaultDialect):
    """The part of a dialect that answers an inspector. Outside of blocks too: no conversation's data is in it."""

    source: Source

    def get_schema_names(self, connection: Connection, **kw: Any) -> list[str]:
        """Schemas that have something to use."""
        return sorted({name.schema for name in self.source.schema.relations})

    def get_table_names(self, connection: Connection, schema: str | None = None, **kw: Any) -> list[str]:
        """Tables of a schema; of those where unqualified names are looked for, without one."""
        return self._names("table", schema)

    def get_view_names(self, connection: Connection, schema: str | None = None, **kw: Any) -> list[str]:
        """Views likewise."""
        return self._names("view", schema)

    def get_materialized_view_names(self, connection: Connection, schema: str | None = None, **kw: Any) -> list[str]:
        """None: they cannot carry row security."""
        return []

    def get_temp_table_names(self, connection: Connection, schema: str | None = None, **kw: Any) -> list[str]:
        """None."""
        return []

    def get_temp_view_names(self, connection: Connection, schema: str | None = None, **kw: Any) -> list[str]:
        """None."""
        return []

    def get_sequence_names(self, connection: Connection, schema: str | None = None, **kw: Any) -> list[str]:
        """None that statements may name."""
        return []

    def has_table(self, connection: Connection, table_name: str, schema: str | None = None, **kw: Any) -> bool:
        """Whether it is a table or view that may be used."""
        return self._find(table_name, schema) is not None

    def has_multi_table(
        self, connection: Connection, table_names: Iterable[str], schema: str | None = None, **kw: Any
    ) -> Iterable[tuple[tuple[str | None, str], bool]]:
        """The same for many names."""
        return [((schema, name), self.has_table(connection, name, schema)) for name in table_names]

    def has_sequence(self, connection: Connection, sequence_name: str, schema: str | None = None, **kw: Any) -> bool:
        """False."""
        return False

    def get_columns(
        self, connection: Connection, table_name: str, schema: str | None = None, **kw: Any
    ) -> list[ReflectedColumn]:
        """Readable columns. Defaults are not told."""
        relation = self._relation(table_name, schema)
        visible = self.source.schema.search
        return [_column(each, (each.name,) == relation.primary_key, visible) for each in relation.columns]

    def get_pk_constraint(
        self, connection: Connection, table_name: str, schema: str | None = None, **kw: Any
    ) -> ReflectedPrimaryKeyConstraint:
        """The primary key, if all of it may be read."""
        return {"name": None, "constrained_columns": list(self._relation(table_name, schema).primary_key)}

    def get_unique_constraints(
        self, connection: Connection, table_name: str, schema: str | None = None, **kw: Any
    ) -> list[ReflectedUniqueConstraint]:
        """Unique keys, if all of them may be read."""
        keys = self._relation(table_name, schema).keys
        return [{"name": None, "column_names": list(key.columns)} for key in keys if key.kind == "unique"]

    def get_foreign_keys(
        self, connection: Connection, table_name: str, schema: str | None = None, **kw: Any
    ) -> list[ReflectedForeignKeyConstraint]:
        """Foreign keys to relations that may be used."""
        relation, known = self._relation(table_name, schema), self.source.schema
        return [
            {
                "name": None,
                "constrained_columns": list(key.columns),
                "referred_schema": self._schema_of(key.target, schema),
                "referred_table": key.target.name,
                "referred_columns": list(key.target_columns),
                "options": {},
            }
            for key in relation.keys
            if key.kind == "foreign" and key.target is not None and key.target in known.relations
            if all(known.relations[key.target].column(each) for each in key.target_columns)
        ]

    def get_indexes(
        self, connection: Connection, table_name: str, schema: str | None = None, **kw: Any
    ) -> list[ReflectedIndex]:
        """None are told."""
        self._relation(table_name, schema)
        return []

    def get_check_constraints(
        self, connection: Connection, table_name: str, schema: str | None = None, **kw: Any
    ) -> list[ReflectedCheckConstraint]:
        """None are told."""
        self._relation(table_name, schema)
        return []

    def get_table_comment(
        self, connection: Connection, table_name: str, schema: str | None = None, **kw: Any
    ) -> ReflectedTableComment:
        """The spec's prompt."""
        return {"text": self._relation(table_name, schema).declared.prompt or None}

    def get_table_options(
        self, connection: Connection, table_name: str, schema: str | None = None, **kw: Any
    ) -> dict[str, Any]:
        """None."""
        self._relation(table_name, schema)
        return {}

    # For many tables at once: SQLAlchemy's own loops over the above, not those of its dialect for Postgres.

    get_multi_columns = DefaultDialect.get_multi_columns
    get_multi_pk_constraint = DefaultDialect.get_multi_pk_constraint
    get_multi_foreign_keys = DefaultDialect.get_multi_foreign_keys
    get_multi_indexes = DefaultDialect.get_multi_indexes
    get_multi_unique_constraints = DefaultDialect.get_multi_unique_constraints
    get_multi_check_constraints = DefaultDialect.get_multi_check_constraints
    get_multi_table_comment = DefaultDialect.get_multi_table_comment
    get_multi_table_options = DefaultDialect.get_multi_table_options

    def _names(self, kind: str, schema: str | None) -> list[str]:
        known = self.source.schema
        return sorted(
            name.name
            for name, each in known.relations.items()
            if each.kind == kind and (name.schema == schema or (schema is None and _visible(known, name)))
        )

    def _find(self, name: str, schema: str | None) -> Relation | None:
        return self.source.schema.resolve(schema, name)

    def _relation(self, name: str, schema: str | None) -> Relation:
        found = self._find(name, schema)
        if found is None:
            raise NoSuchTableError(f"{schema}.{name}" if schema else name)
        return found

    def _schema_of(self, target: Name, asked: str | None) -> str | None:
        """How a foreign key names its target: without the schema where the table was asked for without one."""
        return None if asked is None and _visible(self.source.schema, target) else target.schema


def _visible(known: Schema, name: Name) -> bool:
    found = known.resolve(None, name.name)
    return found is not None and found.name == name


def _column(column: Column, key: bool, visible: Iterable[str]) -> ReflectedColumn:
    kind = sql_type(column, visible)
    return {
        "name": column.name,
        "type": kind,
        "nullable": not column.not_null,
        "default": None,
        "autoincrement": key and not column.insertable and isinstance(kind, types.Integer),
        "comment": None,
    }


def sql_type(column: Column, visible: Iterable[str]) -> types.TypeEngine[Any]:
    """SQLAlchemy's type for a column; NullType where it has none."""
    if column.labels:
        schema = None if column.type_name.schema in visible else column.type_name.schema
        kind: types.TypeEngine[Any] = ENUM(*column.labels, name=column.type_name.name, schema=schema, create_type=False)
        return ARRAY(kind) if column.type.endswith("[]") else kind
    text = column.type
    if column.base_oid != column.type_oid:  # a domain: what is under it
        base = postgres.types.get(column.base_oid)
        text = "" if base is None else f"{base.regtype}{'[]' if base.array_oid == column.base_oid else ''}"
    form = _FORM.fullmatch(text.removesuffix("[]"))
    kind = _plain(form) if form is not None else types.NULLTYPE
    return ARRAY(kind) if text.endswith("[]") and kind is not types.NULLTYPE else kind


def _plain(form: re.Match[str]) -> types.TypeEngine[Any]:
    name = f"{form['name'].strip()} {form['rest'].strip()}".strip()
    numbers = [int(each) for each in (form["arguments"] or "").split(",") if each.strip().lstrip("-").isdigit()]
    if name.startswith("interval"):
        return INTERVAL(fields=name.removeprefix("interval").strip() or None, precision=next(iter(numbers), None))
    made: Mapping[str, Any] = ischema_names
    kind = made.get(name)
    if kind is None:
        return types.NULLTYPE
    if name.startswith(("timestamp", "time")):
        return _typed(kind(timezone=name.endswith("with time zone"), precision=next(iter(numbers), None)))
    if name == "bit varying":
        return _typed(kind(*numbers, varying=True))
    return _typed(kind(*numbers))


def _typed(kind: Any) -> types.TypeEngine[Any]:
    assert isinstance(kind, types.TypeEngine)  # noqa: S101
    return kind
