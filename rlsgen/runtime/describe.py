"""The schema as a conversation may see it, for a language model's prompt: short, in the spec's order, nothing hidden.

What is not declared, is hidden, or may not be read is not there: no table, no column, no key over it, no path to it.
Nor is anything that depends on rows: no counts, no statistics, no values but an enum's labels. Comments in the database
are not shown either: nobody wrote them for customers. Filters are left out unless asked for: a model that sees
`organisation_id = userContext.organisationId` writes conditions that the database applies anyway, with made-up values.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Literal

import postgast
from postgast import pg_query_pb2 as pb

from rlsgen.errors import RlsgenError
from rlsgen.identifiers import Name, identifier
from rlsgen.runtime.schema import Column, Relation, Schema
from rlsgen.runtime.token import canonical_context
from rlsgen.spec.model import Command, RelationRef, Spec, TableSpec, Through, ViewSpec
from rlsgen.spec.names import parse_relation
from rlsgen.spec.sqltext import SqlTextError, tokens

_SHORT = {
    "character varying": "varchar",
    "character": "char",
    "timestamp with time zone": "timestamptz",
    "timestamp without time zone": "timestamp",
    "time with time zone": "timetz",
    "time without time zone": "time",
}
_INTRODUCTION = (
    "PostgreSQL. Every table shows only the rows that the user of this conversation may see: "
    "write no condition for that."
)
_READING = "SELECT only, one statement at a time."
_WRITING = (
    "SELECT, and where it is said INSERT, UPDATE or DELETE, one statement at a time. "
    "An INSERT names its columns, and may leave out those that only say whose the row is."
)
_NULLS = "Columns are NOT NULL unless marked null; of views it is not known."


@dataclass(frozen=True, slots=True)
class DescribedColumn:
    """A readable column; `name` is written as a statement has to write it."""

    name: str
    type: str  # timestamptz, varchar(21)[]
    nullable: bool | None  # None: not known, in a view
    labels: tuple[str, ...]  # of an enum, in their order
    writable: tuple[Command, ...]  # insert, update


@dataclass(frozen=True, slots=True)
class Reference:
    """Columns that equal another table's: by a foreign key, or by a path that the spec declares."""

    columns: tuple[str, ...]
    table: str
    to: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DescribedTable:
    """A table or view; all names are written as a statement has to write them."""

    name: str
    kind: Literal["table", "view"]
    prompt: str
    rows: Literal["conversation", "everyone"]  # only those of this conversation, or the same for everyone
    notes: tuple[str, ...]  # what else is to be known about its rows
    allow: tuple[Command, ...]
    columns: tuple[DescribedColumn, ...]
    primary_key: tuple[str, ...]
    unique: tuple[tuple[str, ...], ...]
    references: tuple[Reference, ...]
    filter: str | None  # in the spec's words, if asked for


@dataclass(frozen=True, slots=True)
class Description:
    """What a conversation may use. The same schema always gives the same text, so that prompts can be cached."""

    tables: tuple[DescribedTable, ...]

    def to_json(self) -> str:
        """A document with `tables`, in one line; members are those of the classes here."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))

    def to_markdown(self) -> str:
        """A short text for a prompt: a heading for each table, a line for each column."""
        writable = any(table.allow != ("select",) for table in self.tables)
        introduction = f"{_INTRODUCTION} {_WRITING if writable else _READING} {_NULLS}"
        return "\n\n".join([introduction, *(_markdown(table) for table in self.tables)]) + "\n"


def describe(
    spec: Spec,
    schema: Schema,
    *,
    context: Mapping[str, object] | None = None,
    tables: Sequence[str] = (),
    filters: bool = False,
    writes: bool = True,
) -> Description:
    """The tables and views of `schema`, in the spec's order.

    Args:
        spec: what was declared.
        schema: what the conversation role may use, as it was read from the database.
        context: of one conversation: then it is said of which tables it sees no rows, or fewer, because it lacks an
            optional field. Its values do not appear.
        tables: only these, as SQL names; all if empty.
        filters: whether to show filters, in the spec's words. One that uses what conversations may not see is left out.
        writes: whether INSERT, UPDATE and DELETE, where the spec allows them, are possible at all.

    Raises:
        InvalidContext: the context does not fit the spec.
        RlsgenError: one of `tables` is not there for conversations; whether it exists is not said.
    """
    writer = _Writer(spec, schema, None if context is None else canonical_context(spec.context, context), filters)
    described = {name: writer.table(relation) for name, relation in schema.relations.items()}
    if not writes:
        described = {name: _read_only(table) for name, table in described.items()}
    wanted = [_find(schema, each) for each in tables]
    return Description(tuple(table for name, table in described.items() if not wanted or name in wanted))


@lru_cache(maxsize=16_384)
def spelled(name: str) -> str:
    """A name as a statement has to write it: as it is where that means the same, quoted otherwise.

    With characters that do not print it is `U&"…"`, which stands on one line whatever is in it.
    """
    if not name.isprintable():
        escaped = name.replace("\\", "\\\\").replace('"', '""')
        return 'U&"' + "".join(each if each.isprintable() else f"\\+{ord(each):06X}" for each in escaped) + '"'
    plain = name.isascii() and name.replace("_", "a").isalnum() and name.lower() == name and not name[0].isdigit()
    if plain and postgast.scan(name).tokens[0].keyword_kind in (pb.NO_KEYWORD, pb.UNRESERVED_KEYWORD):
        return name
    return identifier(name)


def _find(schema: Schema, text: str) -> Name:
    try:
        ref = parse_relation(text)
    except SqlTextError as error:
        raise RlsgenError(f"{text!r} is no table's name: {error.message}", hint=error.hint) from None
    relation = schema.resolve(ref.schema, ref.name)
    if relation is None:
        known = {_named(schema, each): each.name.name for each in schema.relations.values()}
        close = difflib.get_close_matches(ref.name, known.values(), n=1)
        hint = next((f"did you mean {name}?" for name, bare in known.items() if bare in close), "")
        raise RlsgenError(f"there is no table {text} for conversations", hint=hint)
    return relation.name


def _named(schema: Schema, relation: Relation) -> str:
    """The relation's name, with its schema only where it does not lead there without."""
    bare = schema.resolve(None, relation.name.name) is relation
    return spelled(relation.name.name) if bare else f"{spelled(relation.name.schema)}.{spelled(relation.name.name)}"


def _read_only(table: DescribedTable) -> DescribedTable:
    columns = tuple(replace(column, writable=()) for column in table.columns)
    return replace(table, allow=("select",), columns=columns)


@dataclass(frozen=True, slots=True)
class _Writer:
    """Describes one relation after another."""

    spec: Spec
    schema: Schema
    context: Mapping[str, object] | None
    filters: bool

    def table(self, relation: Relation) -> DescribedTable:
        unique = (key.columns for key in relation.keys if key.kind == "unique")
        return DescribedTable(
            name=_named(self.schema, relation),
            kind=relation.kind,
            prompt=relation.declared.prompt.strip(),
            rows="everyone" if relation.declared.access == "shared" else "conversation",
            notes=tuple(self._notes(relation.declared)),
            allow=_allowed(relation),
            columns=tuple(_column(relation, column) for column in relation.columns),
            primary_key=tuple(map(spelled, relation.primary_key)),
            unique=tuple(tuple(map(spelled, columns)) for columns in unique),
            references=tuple(self._references(relation)),
            filter=self._filter(relation) if self.filters else None,
        )

    def _notes(self, declared: TableSpec | ViewSpec) -> Iterator[str]:
        if isinstance(declared, ViewSpec):
            return
        used = set(self._fields(declared, set()))
        optional = [each.name for each in self.spec.context if each.name in used and not each.required]
        if self.context is None and optional:
            yield f"rows may need a {' and a '.join(optional)} in the conversation's context"
        for name in optional:
            if self.context is not None and name not in self.context:
                yield f"this conversation has no {name}: rows that need one are missing here, though there may be some"
        if declared.check is not None and declared.allow != ("select",):
            yield "only some of the rows may be written"

    def _fields(self, declared: TableSpec, seen: set[RelationRef]) -> Iterator[str]:
        """The context fields that decide about a table's rows, its parents' and its sub-queries' tables' included."""
        if declared.ref in seen:
            return
        seen.add(declared.ref)
        relations = [path.parent for path in declared.through]
        if declared.filter is not None:
            yield from declared.filter.fields
            relations += declared.filter.relations
        for ref in relations:
            for table in self.spec.tables:
                if table.ref.name == ref.name and ref.schema in (None, table.ref.schema):
                    yield from self._fields(table, seen)

    def _references(self, relation: Relation) -> Iterator[Reference]:
        """Foreign keys, then the spec's paths, each pair of ends once, between readable columns of usable tables."""
        declared = relation.declared
        ends = [(key.columns, key.target, key.target_columns) for key in relation.keys if key.kind == "foreign"]
        for path in declared.through if isinstance(declared, TableSpec) else ():
            parent = self.schema.resolve(path.parent.schema, path.parent.name)
            if parent is not None:
                ends.append((path.columns, parent.name, path.parent_columns))
        for columns, name, to in dict.fromkeys(ends):
            target = self.schema.relations.get(name) if name is not None else None
            if target is not None and _readable(relation, columns) and _readable(target, to):
                yield Reference(tuple(map(spelled, columns)), _named(self.schema, target), tuple(map(spelled, to)))

    def _filter(self, relation: Relation) -> str | None:
        """What decides about the rows, in the spec's words, as far as they name nothing that conversations lack."""
        declared = relation.declared
        if isinstance(declared, ViewSpec) or declared.access == "shared":
            return None
        parts = [_path(path) for path in declared.through if self._shows(relation, path)]
        if declared.filter is not None and not self._hidden_words(relation).intersection(_words(declared.filter.text)):
            parts.append(" ".join(declared.filter.text.split()))
        return "; ".join(parts) or None

    def _shows(self, relation: Relation, path: Through) -> bool:
        parent = self.schema.resolve(path.parent.schema, path.parent.name)
        return parent is not None and _readable(relation, path.columns) and _readable(parent, path.parent_columns)

    def _hidden_words(self, relation: Relation) -> set[str]:
        """Names that this relation's filter must not tell: unreadable columns, and tables that are not there."""
        declared = relation.declared
        words = set(relation.unreadable)
        for ref in declared.filter.relations if isinstance(declared, TableSpec) and declared.filter else ():
            other = self.schema.resolve(ref.schema, ref.name)
            words.update((ref.name,) if other is None else other.unreadable)
        return words


def _path(path: Through) -> str:
    """A path as the spec writes it: `order_id -> orders(id)`."""
    columns = ", ".join(map(spelled, path.columns))
    schema = f"{spelled(path.parent.schema)}." if path.parent.schema else ""
    parent = f"{schema}{spelled(path.parent.name)}({', '.join(map(spelled, path.parent_columns))})"
    return f"{f'({columns})' if len(path.columns) > 1 else columns} -> {parent}"


def _words(text: str) -> set[str]:
    """All names in an SQL text, as Postgres reads them."""
    words = set()
    for token in tokens(text):
        bare = token.text[1:-1].replace('""', '"') if token.text.startswith('"') else token.text.lower()
        words.add(bare)
    return words


def _readable(relation: Relation, columns: Collection[str]) -> bool:
    return all(relation.column(name) is not None for name in columns)


def _allowed(relation: Relation) -> tuple[Command, ...]:
    """What the spec allows and the role may do."""
    able: Mapping[Command, bool] = {
        "select": True,
        "insert": any(column.insertable for column in relation.columns),
        "update": any(column.updatable for column in relation.columns),
        "delete": relation.deletable,
    }
    declared = relation.declared
    return tuple(each for each in declared.allow if able[each]) if isinstance(declared, TableSpec) else ("select",)


def _column(relation: Relation, column: Column) -> DescribedColumn:
    allowed = _allowed(relation)
    able: Iterable[tuple[Command, bool]] = (("insert", column.insertable), ("update", column.updatable))
    return DescribedColumn(
        name=spelled(column.name),
        type=_short(column.type),
        nullable=None if relation.kind == "view" else not column.not_null,
        labels=column.labels,
        writable=tuple(command for command, may in able if may and command in allowed),
    )


def _short(type: str) -> str:
    """`character varying(21)[]` as varchar(21)[]; other types as they are."""
    for long, short in _SHORT.items():
        if type.startswith(long):
            return short + type.removeprefix(long)
        name, bracket, rest = type.partition("(")  # timestamp(3) with time zone
        precision, _, tail = rest.partition(")")
        if bracket and (name + tail).startswith(long):
            return f"{short}({precision}){(name + tail).removeprefix(long)}"
    return type


def _markdown(table: DescribedTable) -> str:
    lines = [f"## {table.name}{' (view)' if table.kind == 'view' else ''}"]
    lines += [table.prompt] if table.prompt else []
    lines += ["Everyone sees the same rows."] if table.rows == "everyone" else []
    lines += [f"{note[0].upper()}{note[1:]}." for note in table.notes]
    lines += [f"Filter: {table.filter}"] if table.filter is not None else []
    lines += _writing(table)
    single = {each.columns[0]: each for each in reversed(table.references) if len(each.columns) == 1}
    lines += [_line(column, table, single.get(column.name)) for column in table.columns]
    if len(table.primary_key) > 1:
        lines.append(f"Primary key: ({', '.join(table.primary_key)})")
    lines += [f"Unique: ({', '.join(columns)})" for columns in table.unique if len(columns) > 1]
    others = [each for each in table.references if each not in single.values()]
    lines += [f"({', '.join(each.columns)}) -> {each.table}({', '.join(each.to)})" for each in others]
    return "\n".join(lines)


def _writing(table: DescribedTable) -> Iterator[str]:
    """Which columns each command may write; commands with the same columns on one line."""
    columns: dict[str, list[str]] = {}
    for command in table.allow:
        if command in ("insert", "update"):
            written = ", ".join(column.name for column in table.columns if command in column.writable)
            columns.setdefault(written, []).append(command.upper())
    for written, commands in columns.items():
        yield f"{' and '.join(commands)}: {written}"
    if "delete" in table.allow:
        yield "DELETE is allowed."


def _line(column: DescribedColumn, table: DescribedTable, reference: Reference | None) -> str:
    parts = [f"- {column.name} {column.type}", *(["null"] if column.nullable else [])]
    if table.primary_key == (column.name,):
        parts.append("primary key")
    elif (column.name,) in table.unique:
        parts.append("unique")
    if column.labels:
        parts.append(f"({', '.join(map(_quoted, column.labels))})")
    if reference is not None:
        parts.append(f"-> {reference.table}({reference.to[0]})")
    return " ".join(parts)


def _quoted(label: str) -> str:
    """A label as a literal on one line."""
    doubled = label.replace("'", "''")
    if label.isprintable() and "\\" not in label:
        return f"'{doubled}'"
    escaped = doubled.replace("\\", "\\\\")
    return "E'" + "".join(each if each.isprintable() else f"\\U{ord(each):08X}" for each in escaped) + "'"
