"""Real tenants: contexts whose values stand in the data, together where one row has them together."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import psycopg
from google.protobuf.message import Message
from postgast import pg_query_pb2 as pb
from psycopg import errors

from rlsgen.catalog.model import Column
from rlsgen.errors import InvalidContext, Problem, SpecError
from rlsgen.identifiers import Name, Sql, fill, identifier, join, literal
from rlsgen.provision.resolve import Path, Resolved, Table
from rlsgen.runtime.token import canonical_context
from rlsgen.spec.filters import expression
from rlsgen.spec.model import ContextField, Spec

Context = Mapping[str, object]
SAMPLED_ROWS = 20_000
"""Rows of a table among which tenants are looked for; larger tables are sampled block by block."""
_ALIKE = 3  # tables asked for the same fields: the smallest that have rows
_WIDER = 20  # combinations looked at for each tenant that is wanted, so that fields can be told together
_ALL = 1_000_000
_ALIKE_ROWS = 50  # of those that hold the same value


_PASSING = (errors.QueryCanceled, errors.LockNotAvailable, errors.UndefinedTable, errors.UndefinedColumn)
_INVENTED: Mapping[str, tuple[object, ...]] = {
    "integer": (1, 2, 1_000, 1_001), "bigint": (1, 2, 1_000, 1_001), "boolean": (False, True),
    "text": ("rlsgen-1", "rlsgen-2", "a", "b", "A", "B", "1", "2", "00000001", "00000002"),
    "uuid": ("00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"),
    "date": ("2000-01-01", "2000-01-02"), "timestamptz": ("2000-01-01T00:00:00+00:00", "2000-01-02T00:00:00+00:00"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Source:
    """Where values of context fields stand: columns of a table, or of tables that its rows lead to."""

    table: Name
    tables: Sql  # what stands behind FROM; the table's own rows are `rlsgen_0`
    columns: tuple[tuple[ContextField, Sql, bool], ...]  # field, expression, whether it holds an array


class Tenants:
    """Finds tenants, by the unrestricted role's plain SELECTs."""

    def __init__(self, connection: psycopg.Connection[Any], resolved: Resolved, given: Sequence[Context] = ()) -> None:
        self._connection = connection
        self._resolved = resolved
        self._spec = resolved.spec
        self._given = list(given)
        self._found: dict[Name, list[dict[str, object]]] = {}
        self._estimates: dict[Name, float] = {}

    def sample(self, size: int) -> list[Context]:
        """At most `size` contexts that have as many different values as possible; 0 means all that are found.

        Raises:
            SpecError: no value is found for a field that is required.
        """
        sources = self._chosen()
        for source in sources:
            self._found[source.table] = self._tuples(source, size * _WIDER or _ALL)
        seeds = list(_interleaved([self._found[source.table] for source in sources]))
        contexts = self._complete(seeds)
        picked = [*self._given, *_diverse(contexts, size or len(contexts))]
        absent = self._without_optional(picked)
        return [*picked, *([absent] if absent is not None else [])]

    def of_table(self, table: Table, size: int) -> list[Context]:
        """Contexts that rows of this table belong to."""
        source = self._source(table)
        if source is None:
            return []
        return _diverse(self._complete(self._tuples(source, size)), size)

    # Where values stand

    def _chosen(self) -> list[Source]:
        """Sources for every combination of fields, richest first, each from a few small tables that have rows."""
        self._estimates = {
            Name(schema, name): rows
            for schema, name, rows in self._connection.execute(
                "SELECT n.nspname, c.relname, c.reltuples FROM pg_catalog.pg_class AS c"
                " JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p')"
            )
        }
        grouped: dict[frozenset[str], list[Source]] = {}
        for table in self._resolved.tables.values():
            source = self._source(table)
            if source is not None:
                grouped.setdefault(frozenset(field.name for field, _, _ in source.columns), []).append(source)
        chosen = []
        for fields in sorted(grouped, key=lambda fields: (-len(fields), sorted(fields))):
            few = sorted(grouped[fields], key=lambda source: (len(source.tables), self._estimates.get(source.table, 0)))
            chosen += [source for source in few if self._has_rows(source)][:_ALIKE]
        return chosen

    def _has_rows(self, source: Source) -> bool:
        query = fill("SELECT EXISTS (SELECT FROM {})", source.table.sql)
        return self._rows(query) == [(True,)]

    def _rows(self, query: Sql) -> list[tuple[Any, ...]]:
        """The rows; none of a table that is slow, locked or gone: comparing it will say so."""
        try:
            with self._connection.transaction():
                return self._connection.execute(query.encode()).fetchall()
        except _PASSING:
            return []

    def _source(self, table: Table) -> Source | None:
        if table.spec.access == "shared":
            return None
        sample = fill("(SELECT * FROM {} LIMIT {}) AS rlsgen_0", self._sampled(table), literal(SAMPLED_ROWS))
        tables, columns = [sample], dict[str, tuple[ContextField, Sql, bool]]()
        self._collect(table, 0, tables, columns, {table.name})
        if not columns:
            return None
        return Source(table.name, join(" ", tables), tuple(columns.values()))

    def _sampled(self, table: Table) -> Sql:
        rows = self._estimates.get(table.name, 0)
        if rows <= SAMPLED_ROWS or table.relation.kind not in ("table", "partitioned"):
            return table.name.sql
        percent = Sql(f"{max(SAMPLED_ROWS / rows * 100, 0.0001):.6f}")
        return fill("{} TABLESAMPLE SYSTEM ({}) REPEATABLE (1)", table.name.sql, percent)

    def _collect(
        self, table: Table, number: int, tables: list[Sql], columns: dict[str, tuple[ContextField, Sql, bool]],
        seen: set[Name],
    ) -> None:  # fmt: skip
        """The columns of this table that its filter compares with context fields, then those of its parents."""
        here = identifier(f"rlsgen_{number}")
        for field, column in compared(table, self._spec):
            place = fill("{}.{}", here, identifier(column.name))
            columns.setdefault(field.name, (field, place, column.element is not None))
        for path in table.paths:
            if path.parent in seen:
                continue
            next_number = len(tables)
            tables.append(_joined(path, here, next_number))
            self._collect(self._resolved.tables[path.parent], next_number, tables, columns, {*seen, path.parent})

    def _tuples(self, source: Source, limit: int) -> list[dict[str, object]]:
        """Different combinations of values, in an order that favours none."""
        row = join(", ", [_text(field, sql, array) for field, sql, array in source.columns])
        query = fill(
            "SELECT * FROM (SELECT DISTINCT {} FROM {}) AS rlsgen_t ORDER BY md5(rlsgen_t::text) LIMIT {}",
            row, source.tables, literal(limit),
        )  # fmt: skip
        found = []
        for values in self._rows(query):
            read = {
                field.name: value
                for (field, _, array), text in zip(source.columns, values, strict=True)
                if (value := _value(field, text, array)) is not None
            }
            if read:
                found.append(read)
        return found

    # From parts to contexts

    def _complete(self, seeds: Sequence[Mapping[str, object]]) -> list[Context]:
        pool: list[Context] = [each for found in self._found.values() for each in found] or list(seeds)
        pool += self._given
        index = _Index(pool)
        contexts: dict[str, Context] = {}
        for number, seed in enumerate(seeds):
            context = self._filled(dict(seed), index, number)
            try:
                canonical = canonical_context(self._spec.context, context)
            except InvalidContext:
                continue  # a value that no token can carry: a sentinel below the minimum, an empty text
            contexts.setdefault(json.dumps(canonical, sort_keys=True), context)
        if seeds and not contexts:
            self._missing(pool)
        return list(contexts.values())

    def _filled(self, context: dict[str, object], index: _Index, number: int) -> dict[str, object]:
        for field in self._spec.context:
            if field.name in context:
                continue
            some = index.holding(field.name, context)
            if not some and field.required:
                context |= invented(field, number)
            if not some:
                continue
            taken = some[number % len(some)]
            context |= {name: value for name, value in taken.items() if name not in context}
            if field.array and isinstance(context[field.name], list):
                more = [some[(number + step) % len(some)][field.name] for step in range(number % 3 + 1)]
                context[field.name] = list(dict.fromkeys(item for each in more for item in each))  # type: ignore[attr-defined]
        return context

    def _missing(self, pool: Sequence[Mapping[str, object]]) -> None:
        known = {name for each in pool for name in each}
        fields = [field for field in self._spec.context if field.required and field.name not in known]
        fields = [field for field in fields if not invented(field, 0)]
        if fields:
            raise SpecError(
                [
                    Problem(
                        f"no value of the context field {field.name} is found in the data",
                        field.position,
                        "no filter compares it with a column that has values; give tenants with --context-json",
                    )
                    for field in fields
                ]
            )

    def _without_optional(self, contexts: Sequence[Context]) -> Context | None:
        """One context more, in which everything that may be absent is."""
        optional = {field.name for field in self._spec.context if not field.required}
        for context in contexts:
            if optional & set(context):
                return {name: value for name, value in context.items() if name not in optional}
        return None


def invented(field: ContextField, number: int) -> dict[str, object]:
    """A value for a field of which the data has none, as a context; empty where none of ours fits the field."""
    fitting = []
    for each in [*([field.minimum] if field.minimum is not None else []), *_INVENTED[field.base]]:
        context = {field.name: [each] if field.array else each}
        try:
            canonical_context([field], context)
        except InvalidContext:
            continue
        fitting.append(context)
    return fitting[number % len(fitting)] if fitting else {}


def compared(table: Table, spec: Spec) -> Iterator[tuple[ContextField, Column]]:
    """The pairs of context field and own column that a table's filter or check compares with each other."""
    fields = {field.name.lower(): field for field in spec.context}
    for text in (table.spec.filter, table.spec.check):
        if text is not None:
            yield from _pairs(expression(text), table, fields)


def _pairs(message: Message, table: Table, fields: Mapping[str, ContextField]) -> Iterator[tuple[ContextField, Column]]:
    if isinstance(message, pb.SubLink):
        return  # its names are those of other tables, which have filters of their own
    if isinstance(message, pb.A_Expr) and message.name and message.name[-1].string.sval in ("=", "&&", "@>", "<@"):
        refs = [each for side in (message.lexpr, message.rexpr) for each in _refs(side)]
        values = [parts for parts in refs if len(parts) == 2 and parts[0].lower() == "usercontext"]
        held = [field for _, name in values if (field := fields.get(name.lower()))]
        own = [column for parts in refs if parts not in values and (column := table.relation.column(parts[-1]))]
        if len(own) == 1:
            yield from ((field, own[0]) for field in held)
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None:
            for child in [value] if isinstance(value, Message) else value:
                yield from _pairs(child, table, fields)


def _refs(node: pb.Node) -> Iterator[list[str]]:
    kind = node.WhichOneof("node")
    if kind == "column_ref":
        yield [part.string.sval for part in node.column_ref.fields]
    elif kind == "list":
        for item in node.list.items:
            yield from _refs(item)
    elif kind == "type_cast":
        yield from _refs(node.type_cast.arg)


def _joined(path: Path, child: Sql, number: int) -> Sql:
    alias = identifier(f"rlsgen_{number}")
    terms = []
    for a, b in zip(path.columns, path.parent_columns, strict=True):
        ends = (alias, identifier(b.name), child, identifier(a.name))
        alike = a.base == b.base
        terms.append(fill("{}.{} = {}.{}", *ends) if alike else fill("{}.{}::text = {}.{}::text", *ends))
    return fill("JOIN {} AS {} ON {}", path.parent.sql, alias, join(" AND ", terms))


def _text(field: ContextField, sql: Sql, array: bool) -> Sql:
    """A value as text: of an array for an array all of it, of an array for one value any member."""
    if array:
        member = fill("(SELECT min(e::text) FROM unnest({}) AS e)", sql)
        return fill("pg_catalog.to_json({})::text", sql) if field.array else member
    return fill("{}::text", sql)


def _value(field: ContextField, text: str | None, array: bool) -> object | None:
    """A column's text as a value of the field's type; None where it is none."""
    if text is None:
        return None
    if field.array:
        items = [str(item) for item in json.loads(text) if item is not None] if array else [text]
        values = [value for item in items if (value := _scalar(field, item)) is not None]
        return values or None
    return _scalar(field, text)


def _scalar(field: ContextField, text: str) -> object | None:
    try:
        match field.base:
            case "integer" | "bigint":
                number = Decimal(text)
                return int(number) if number == number.to_integral_value() else None
            case "boolean":
                return text in ("t", "true")
            case "timestamptz":
                return datetime.fromisoformat(text)
            case _:
                return text
    except (InvalidOperation, ValueError):
        return None


class _Index:
    """Combinations of values by what they hold, so that many tenants can be told together."""

    def __init__(self, pool: Sequence[Context]) -> None:
        self._holders: dict[str, list[Context]] = {}
        self._linked: dict[tuple[str, str, str], list[Context]] = {}
        for each in pool:
            for name in each:
                self._holders.setdefault(name, []).append(each)
                for other, value in each.items():
                    if other != name:
                        self._linked.setdefault((name, other, repr(value)), []).append(each)

    def holding(self, name: str, context: Context) -> Sequence[Context]:
        """Those that hold a field: together with a value of this context, and none against it, if there are such."""
        for other, value in context.items():
            near = self._linked.get((name, other, repr(value)), [])[:_ALIKE_ROWS]
            linked = [each for each in near if _agree(each, context)]
            if linked:
                return linked
        return self._holders.get(name, [])


def _agree(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    shared = one.keys() & other.keys()
    return bool(shared) and all(one[name] == other[name] for name in shared)


def _interleaved(rows: Sequence[Sequence[dict[str, object]]]) -> Iterator[dict[str, object]]:
    """One of each, then the next of each, until all are through."""
    for number in range(max(map(len, rows), default=0)):
        yield from (each[number] for each in rows if number < len(each))


def _diverse(contexts: Sequence[Context], size: int) -> list[Context]:
    """Those that bring most values that none before them had."""
    left, picked, seen = list(contexts), list[Context](), set[tuple[str, str]]()
    if size >= len(left):
        return left
    while left and len(picked) < size:
        best = max(left, key=lambda context: len({(k, repr(v)) for k, v in context.items()} - seen))
        left.remove(best)
        picked.append(best)
        seen |= {(name, repr(value)) for name, value in best.items()}
    return picked
