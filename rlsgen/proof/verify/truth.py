"""Which rows a context may see, by plain joins from the spec: no policy, no accessor, no function of ours.

It is written apart from `rlsgen.provision.predicates` on purpose: from the same filters and paths, but in another form,
so that a mistake in one is seen by the other. Every table becomes the query of its visible rows; paths are semi-joins
with the query of the parent, trees are climbed down from their topmost rows, and values are bound parameters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import postgast
from google.protobuf.message import DecodeError, Message
from postgast import pg_query_pb2 as pb

from rlsgen.catalog.model import Column
from rlsgen.errors import RlsgenError
from rlsgen.identifiers import Name, Sql, fill, identifier, identifiers, join
from rlsgen.provision.resolve import Path, Resolved, Table
from rlsgen.spec.filters import expression
from rlsgen.spec.model import ContextField, FilterText
from rlsgen.spec.trees import expression_to_sql, statement_to_sql

Mode = Literal["read", "write"]

# Column types that Postgres compares with a value of a field's type as they are. With all others (enums, citext,
# char(n)) the value is left untyped, so that it is read as one of the column's type.
_AS_THEY_ARE: Mapping[str, frozenset[str]] = {
    "integer": frozenset({"smallint", "integer", "bigint", "numeric", "real", "double precision"}),
    "bigint": frozenset({"smallint", "integer", "bigint", "numeric", "real", "double precision"}),
    "uuid": frozenset({"uuid"}),
    "text": frozenset({"text", "character varying", "name"}),
    "boolean": frozenset({"boolean"}),
    "date": frozenset({"date"}),
    "timestamptz": frozenset({"timestamp with time zone"}),
}
# Join columns of one group are compared as they are; others as text (docs/decisions.md).
_GROUPS = (
    frozenset({"smallint", "integer", "bigint", "numeric"}),
    frozenset({"text", "character varying", "bpchar", "name"}),
    frozenset({"date", "timestamp without time zone", "timestamp with time zone"}),
)


class Untold(RlsgenError):
    """What a relation should show cannot be computed without its policies; the message says why."""


@dataclass(frozen=True, slots=True)
class Query:
    """The rows that a context may see. `slots` names the context field behind `$1`, `$2`, …, all bound as text."""

    sql: Sql
    slots: tuple[str, ...]
    columns: tuple[str, ...]

    def values(self, context: Mapping[str, object]) -> list[str | None]:
        """What to bind for one context."""
        return [spelled(context.get(slot)) for slot in self.slots]


def spelled(value: object) -> str | None:
    """A context value as Postgres' text input reads it."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        quoted = ('"' + str(spelled(item)).replace("\\", "\\\\").replace('"', '\\"') + '"' for item in value)
        return "{" + ",".join(quoted) + "}"
    return str(value)


class Truth:
    """The queries of one resolved spec."""

    def __init__(self, resolved: Resolved) -> None:
        self._resolved = resolved
        self._queries: dict[tuple[Name, Mode], Query] = {}

    def rows(self, name: Name, mode: Mode = "read") -> Query:
        """The rows of a declared table: those that may be read, or those of them that may be changed.

        Raises:
            Untold: the filter cannot be written back as SQL.
        """
        if (name, mode) not in self._queries:
            builder = _Builder(self._resolved)
            sql = builder.table(name, mode)
            columns = tuple(column.name for column in self._resolved.tables[name].relation.columns)
            self._queries[name, mode] = Query(sql, tuple(builder.slots), columns)
        return self._queries[name, mode]

    def checked(self, name: Name) -> Query:
        """The rows of a table, whether they may be read or not, that a write may leave behind."""
        builder = _Builder(self._resolved)
        sql = builder.checked(name)
        columns = tuple(column.name for column in self._resolved.tables[name].relation.columns)
        return Query(sql, tuple(builder.slots), columns)

    def only_read(self, name: Name, key: Sql) -> Query:
        """The rows of a table that may be read, and that no write may leave behind: rows that are shared.

        Raises:
            Untold: the filter cannot be written back as SQL.
        """
        builder = _Builder(self._resolved)
        read, checked = builder.table(name, "read"), builder.checked(name)
        sql = fill(
            "SELECT * FROM ({0}) AS r WHERE ROW({1})::text NOT IN (SELECT ROW({1})::text FROM ({2}) AS c)",
            read, key, checked,
        )  # fmt: skip
        return Query(sql, tuple(builder.slots), ())

    def view(self, name: Name, definitions: Mapping[Name, str]) -> Query:
        """What a view shows if each table in it shows the rows that may be read.

        Args:
            name: a declared view.
            definitions: of this view and of views that it reads, from pg_get_viewdef under search_path = pg_catalog.

        Raises:
            Untold: the definition cannot be taken apart, or reads something that is not declared.
        """
        builder = _Builder(self._resolved, definitions)
        sql = builder.view(name)
        columns = tuple(column.name for column in self._resolved.views[name].relation.columns)
        return Query(sql, tuple(builder.slots), columns)


class _Builder:
    """Writes one query; every place of a context value gets a parameter of its own unless it has the same type."""

    def __init__(self, resolved: Resolved, definitions: Mapping[Name, str] | None = None) -> None:
        self._resolved = resolved
        self._definitions = definitions or {}
        self._fields = {field.name.lower(): field for field in resolved.spec.context}
        self._typed: dict[str, int] = {}
        self._aliases = 0
        self._open: list[Name] = []
        self.slots: list[str] = []

    # Tables

    def table(self, name: Name, mode: Mode) -> Sql:
        table = self._resolved.tables[name]
        if table.spec.access == "shared":
            return fill("SELECT {} FROM {}", _columns(table), name.sql)
        texts = [table.spec.filter, table.spec.check if mode == "write" else None]
        return self._rows(table, [text for text in texts if text is not None], mode)

    def checked(self, name: Name) -> Sql:
        table = self._resolved.tables[name]
        text = table.spec.check or table.spec.filter
        return self._rows(table, [text] if text is not None else [], "write")

    def _rows(self, table: Table, texts: Sequence[FilterText], mode: Mode) -> Sql:
        selves = [path for path in table.paths if path.parent == table.name]
        others = [path for path in table.paths if path.parent != table.name]
        # The filter stands alone in its scope: its names cannot mean anything but this table's columns.
        own = join(" AND ", [fill("({})", self._condition(table, text)) for text in texts]) if texts else Sql("true")
        place = Sql("tableoid AS rlsgen_table, ctid AS rlsgen_place, ") if selves else Sql("")
        base = fill("SELECT {}{} FROM {} WHERE {}", place, _columns(table), table.name.sql, own)
        if others:
            child = self._alias()
            joins = [self._follows(child, path, mode) for path in others]
            base = fill("SELECT {0}.* FROM ({1}) AS {0} WHERE {2}", child, base, join(" AND ", joins))
        return self._climbed(table, selves, base) if selves else base

    def _follows(self, child: Sql, path: Path, mode: Mode) -> Sql:
        """Whether the parent's visible rows contain one with equal columns."""
        parent = self._alias()
        rows = self.table(path.parent, mode)
        terms = []
        for a, b in zip(path.columns, path.parent_columns, strict=True):
            ends = (fill("{}.{}", parent, identifier(b.name)), fill("{}.{}", child, identifier(a.name)))
            terms.append(_equal(*ends, a.base, b.base))
        return fill("EXISTS (SELECT FROM ({}) AS {} WHERE {})", rows, parent, join(" AND ", terms))

    def _climbed(self, table: Table, selves: Sequence[Path], base: Sql) -> Sql:
        """From the topmost rows down: a row is visible where its parent is, and a circle has no top."""
        all_rows = self._alias()
        parts, seen_in = [fill("{} AS MATERIALIZED ({})", all_rows, base)], []
        for path in selves:
            seen = self._alias()
            seen_in.append(fill("(rlsgen_table, rlsgen_place) IN (SELECT rlsgen_table, rlsgen_place FROM {})", seen))
            parts.append(self._descent(path, seen, all_rows))
        return fill(
            "WITH RECURSIVE {} SELECT {} FROM {} WHERE {}",
            join(", ", parts), _columns(table), all_rows, join(" AND ", seen_in),
        )  # fmt: skip

    def _descent(self, path: Path, seen: Sql, rows: Sql) -> Sql:
        """The rows that are reached from topmost ones along one path, by their place, with what their children name."""
        parents = [identifier(column.name) for column in path.parent_columns]
        kept = join(", ", [fill("b.{} AS {}", name, identifier(f"rlsgen_{n}")) for n, name in enumerate(parents)])
        roots = join(" OR ", [fill("b.{} IS NULL", identifier(column.name)) for column in path.columns])
        terms = []
        for number, (a, b) in enumerate(zip(path.columns, path.parent_columns, strict=True)):
            ends = (fill("s.{}", identifier(f"rlsgen_{number}")), fill("b.{}", identifier(a.name)))
            terms.append(_equal(*ends, a.base, b.base))
        return fill(
            "{seen} AS (SELECT b.rlsgen_table, b.rlsgen_place, {kept} FROM {rows} AS b WHERE {roots}"
            " UNION SELECT b.rlsgen_table, b.rlsgen_place, {kept} FROM {rows} AS b JOIN {seen} AS s ON {step})",
            seen=seen,
            kept=kept,
            rows=rows,
            roots=roots,
            step=join(" AND ", terms),
        )

    # Filters

    def _condition(self, table: Table, text: FilterText) -> Sql:
        root = expression(text)
        self._filter(root, table)
        return Sql(expression_to_sql(root))

    def _filter(self, node: pb.Node, table: Table) -> None:
        kind = node.WhichOneof("node")
        if kind == "column_ref" and (field := self._field(node)) is not None:
            node.CopyFrom(self._parameter(field, typed=True))
            return
        if kind == "column_ref" and len(node.column_ref.fields) == 3 and _own_column(node, table) is None:
            del node.column_ref.fields[0]  # the schema: a relation of a sub-query is a query now, under its bare name
        if kind == "a_expr":
            self._comparison(node.a_expr, table)
        elif kind == "range_var":
            self._relation(node, self._resolved.name_of(node.range_var.schemaname or None, node.range_var.relname))
            return
        for child in _nodes(node):
            self._filter(child, table)

    def _comparison(self, node: Any, table: Table) -> None:
        sides = [each for side in (node.lexpr, node.rexpr) for each in _members(side)]
        column = next((found for side in sides if (found := _own_column(side, table))), None)
        if column is None:
            return
        for side in sides:
            field = self._field(side)
            if field is not None:
                side.CopyFrom(self._parameter(field, typed=_as_it_is(field, column)))

    def _field(self, node: pb.Node) -> ContextField | None:
        if node.WhichOneof("node") == "column_ref" and len(node.column_ref.fields) == 2:
            first, last = (part.string.sval.lower() for part in node.column_ref.fields)
            return self._fields.get(last) if first == "usercontext" else None
        return None

    def _parameter(self, field: ContextField, *, typed: bool) -> pb.Node:
        if not typed or field.name not in self._typed:
            self.slots.append(field.name)
            if typed:
                self._typed[field.name] = len(self.slots)
        number = self._typed[field.name] if typed else len(self.slots)
        # A number of ours, and a type from the fixed list of context types.
        shape = f"(${number}::{field.type})" if typed else f"${number}"
        return _parsed(shape).target_list[0].res_target.val

    # Sub-queries and views

    def view(self, name: Name) -> Sql:
        if name in self._open:
            raise Untold(f"view {name} reads itself")
        try:
            tree = postgast.parse(self._definitions[name])
        except (postgast.PgQueryError, DecodeError, KeyError) as error:
            raise Untold(f"the definition of {name} cannot be parsed: {type(error).__name__}") from error
        self._open.append(name)
        self._view(tree.stmts[0].stmt)
        self._open.pop()
        query = Sql(statement_to_sql(tree).rstrip().rstrip(";"))
        return fill("SELECT * FROM ({}) AS {} ({})", query, self._alias(), _columns(self._resolved.views[name]))

    def _view(self, node: pb.Node) -> None:
        if node.WhichOneof("node") == "range_var":
            if node.range_var.schemaname:  # without one it is a WITH query's: pg_get_viewdef qualifies all others
                self._relation(node, Name(node.range_var.schemaname, node.range_var.relname))
            return
        for child in _nodes(node):
            self._view(child)

    def _relation(self, node: pb.Node, name: Name) -> None:
        """A relation in FROM becomes the query of its visible rows, under the name that it had."""
        if name in self._resolved.tables:
            if not node.range_var.inh:
                raise Untold(f"ONLY {name} is not computed")
            rows = self.table(name, "read")
        elif name in self._resolved.views and name in self._definitions:
            rows = self.view(name)
        elif name.schema == "pg_catalog":
            return
        else:
            raise Untold(f"{name} is not declared")
        alias = node.range_var.alias.aliasname or node.range_var.relname
        names = list(node.range_var.alias.colnames)
        item = _parsed(fill("1 FROM ({}) AS rlsgen_visible", rows)).from_clause[0]
        item.range_subselect.alias.aliasname = alias
        item.range_subselect.alias.colnames.extend(names)
        node.CopyFrom(item)

    def _alias(self) -> Sql:
        self._aliases += 1
        return identifier(f"rlsgen_{self._aliases}_of")


def _columns(table: Any) -> Sql:
    return identifiers(column.name for column in table.relation.columns)


def _as_it_is(field: ContextField, column: Column) -> bool:
    """Whether Postgres compares the column with a value of the field's type; arrays only with arrays of one type."""
    if field.array and column.element:
        return column.element == {"timestamptz": "timestamp with time zone"}.get(field.base, field.base)
    return (column.element or column.base) in _AS_THEY_ARE[field.base]


def _equal(left: Sql, right: Sql, one: str, other: str) -> Sql:
    alike = one == other or any(one in group and other in group for group in _GROUPS)
    return fill("{} = {}" if alike else "{}::text = {}::text", left, right)


def _own_column(node: pb.Node, table: Table) -> Any:
    if node.WhichOneof("node") != "column_ref" or not node.column_ref.fields[-1].HasField("string"):
        return None
    parts = [part.string.sval for part in node.column_ref.fields]
    if parts[:-1] in ([], [table.name.name], [table.name.schema, table.name.name]):
        return table.relation.column(parts[-1])
    return None


def _members(node: pb.Node) -> Iterator[pb.Node]:
    kind = node.WhichOneof("node")
    if kind == "list":
        yield from node.list.items
    elif kind is not None:
        yield node


def _nodes(message: Message) -> Iterator[pb.Node]:
    """Every Node directly below a message, whatever stands between."""
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None:
            continue
        for child in [value] if isinstance(value, Message) else value:
            if isinstance(child, pb.Node):
                yield child
            elif not isinstance(child, pb.RangeVar):
                yield from _nodes(child)


def _parsed(text: str) -> Any:
    return postgast.parse(f"SELECT {text}").stmts[0].stmt.select_stmt
