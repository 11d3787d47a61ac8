"""Filters, rewritten on the syntax tree: context fields become accessor calls, relations get their schema."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import postgast
from google.protobuf.message import DecodeError, Message
from postgast import pg_query_pb2 as pb

from rlsgen.catalog.model import Relation
from rlsgen.errors import RlsgenError
from rlsgen.identifiers import Name, Sql, fill
from rlsgen.spec.filters import expression
from rlsgen.spec.model import ContextField, FilterText
from rlsgen.spec.trees import expression_to_sql

_COMPARISONS = {
    pb.AEXPR_OP,
    pb.AEXPR_DISTINCT,
    pb.AEXPR_NOT_DISTINCT,
    pb.AEXPR_BETWEEN,
    pb.AEXPR_NOT_BETWEEN,
    pb.AEXPR_IN,
    pb.AEXPR_LIKE,
    pb.AEXPR_ILIKE,
}
_ANY = {pb.AEXPR_OP_ANY, pb.AEXPR_OP_ALL}

# Types that one operator family compares without a cast of either side.
_FAMILIES = (
    frozenset({"smallint", "integer", "bigint"}),
    frozenset({"text", "character varying", "name"}),
    frozenset({"date", "timestamp with time zone", "timestamp without time zone", "timestamptz"}),
)


def comparable(left: str, right: str) -> bool:
    """Whether an index on a column of type `left` serves a comparison with a `right`, no cast on either side."""
    return left == right or any(left in family and right in family for family in _FAMILIES)


@dataclass(frozen=True, slots=True)
class Scope:
    """What a filter's names mean: its own relation, its columns' types, and where sub-queries look."""

    relation: Name
    types: Mapping[str, str]  # base type by column
    elements: Mapping[str, str]  # element type by column, for arrays
    resolve: Callable[[str | None, str], Name]  # relation of a sub-query


def _spell_out(node: Any) -> None:
    """`x IN (y)` as `x = y`: with a sub-select for y, Postgres would read it as `x IN (SELECT ...)`."""
    if node.kind == pb.AEXPR_IN and len(node.rexpr.list.items) == 1:
        only = pb.Node()
        only.CopyFrom(node.rexpr.list.items[0])
        node.rexpr.CopyFrom(only)
        node.kind = pb.AEXPR_OP  # its name is = or <> already


type_sql = Sql  # types come from the catalog's format_type or from the fixed list of context types


class Rewriter:
    """Rewrites one filter: `accessor` gives the call that stands for a field."""

    def __init__(
        self, scope: Scope, fields: Mapping[str, ContextField], accessor: Callable[[ContextField], Sql]
    ) -> None:
        self._scope = scope
        self._fields = fields
        self._accessor = accessor

    def rewrite(self, filter_text: FilterText, *, inline: Callable[[Name], Sql] | None = None) -> Sql:
        """The filter as an SQL expression in the scope of its own relation.

        With `inline`, every relation of a sub-query becomes a sub-query itself, over the rows that `inline` says
        are visible: for definer functions, where no policy of that relation applies.
        """
        root = expression(filter_text)
        self._visit(root, inline)
        return Sql(expression_to_sql(root))

    def _visit(self, node: pb.Node, inline: Callable[[Name], Sql] | None) -> None:
        kind = node.WhichOneof("node")
        if kind == "column_ref" and (field := self._field(node)) is not None:
            node.CopyFrom(self._value(field, None))
            return
        if kind == "a_expr":
            _spell_out(node.a_expr)
            self._comparison(node.a_expr)
        if kind == "range_var":
            self._relation(node, inline)
            return
        for child in _child_nodes(node):
            self._visit(child, inline)

    def _comparison(self, node: Any) -> None:
        """Cast values to the type of the column that they are compared with, never the column."""
        sides = [*_operands(node.lexpr), *_operands(node.rexpr)]
        columns = [name for side in sides if (name := self._own_column(side))]
        if len(columns) != 1 or node.kind not in _COMPARISONS | _ANY:
            return
        column = columns[0]
        for side in sides:
            field = self._field(side)
            if field is None:
                continue
            held = self._scope.elements.get(column)
            target = held if held and not field.array else self._scope.types[column]
            side.CopyFrom(self._value(field, target))

    def _value(self, field: ContextField, target: str | None) -> pb.Node:
        """`(SELECT f())`, with the cast inside; arrays `(SELECT f())::t[]`, which ANY must not read as rows."""
        needs_cast = target is not None and not comparable(_spelled(field.base), target)
        call = self._accessor(field)
        if field.array:
            element = type_sql(target if needs_cast and target else field.base)
            return _value_node(fill("((SELECT {})::{}[])", call, element))
        if needs_cast and target:
            return _value_node(fill("(SELECT {}::{})", call, type_sql(target)))
        return _value_node(fill("(SELECT {})", call))

    def _field(self, node: pb.Node) -> ContextField | None:
        if node.WhichOneof("node") != "column_ref":
            return None
        parts = [part.string.sval for part in node.column_ref.fields]
        if len(parts) == 2 and parts[0].lower() == "usercontext":
            return self._fields[parts[1].lower()]
        return None

    def _own_column(self, node: pb.Node) -> str | None:
        if node.WhichOneof("node") != "column_ref":
            return None
        parts = [part.string.sval for part in node.column_ref.fields]
        here = [self._scope.relation.schema, self._scope.relation.name]
        if parts[-1] in self._scope.types and parts[:-1] in ([], here[1:], here):
            return str(parts[-1])
        return None

    def _relation(self, node: pb.Node, inline: Callable[[Name], Sql] | None) -> None:
        name = self._scope.resolve(node.range_var.schemaname or None, node.range_var.relname)
        if inline is None:
            node.range_var.schemaname, node.range_var.relname = name.schema, name.name
            return
        alias = node.range_var.alias.aliasname or node.range_var.relname
        columns = list(node.range_var.alias.colnames)
        visible = _from_item(fill("(SELECT * FROM {} WHERE {}) AS rlsgen_visible", name.sql, inline(name)))
        visible.range_subselect.alias.aliasname = alias
        visible.range_subselect.alias.colnames.extend(columns)
        node.CopyFrom(visible)


class Rewriting:
    """Rewrites the filters of many relations; those that come out alike are rewritten once."""

    def __init__(
        self,
        fields: Iterable[ContextField],
        accessor: Callable[[ContextField], Sql],
        resolve: Callable[[str | None, str], Name],
    ) -> None:
        self._fields = {field.name.lower(): field for field in fields}
        self._accessor = accessor
        self._resolve = resolve
        self._rewritten: dict[tuple[object, ...], Sql] = {}

    def of(self, relation: Relation, text: FilterText, inline: Callable[[Name], Sql] | None = None) -> Sql:
        """A filter of this relation as an SQL expression; `inline` as for `Rewriter.rewrite`, always the same."""
        names = column_names(text)
        types = {column.name: column.base for column in relation.columns if column.name in names}
        elements = {c.name: c.element for c in relation.columns if c.element and c.name in names}
        plain = not text.relations and "." not in text.text.replace("userContext.", "")
        place = None if plain else relation.name
        key = (text.text, tuple(types.items()), tuple(elements.items()), place, inline is None)
        if key not in self._rewritten:
            scope = Scope(relation.name, types, elements, self._resolve)
            self._rewritten[key] = Rewriter(scope, self._fields, self._accessor).rewrite(text, inline=inline)
        return self._rewritten[key]


def column_names(filter_text: FilterText) -> frozenset[str]:
    """The last parts of all column references of a filter, sub-queries included."""
    return _column_names(filter_text.text)


@lru_cache(maxsize=4096)
def _column_names(text: str) -> frozenset[str]:
    names: set[str] = set()
    for _, node in postgast.walk(postgast.parse(f"SELECT ({text}\n)")):
        if isinstance(node, pb.ColumnRef) and node.fields and node.fields[-1].WhichOneof("node") == "string":
            names.add(node.fields[-1].string.sval)
    return frozenset(names)


@lru_cache(maxsize=4096)
def relation_names(deparsed: str) -> frozenset[Name]:
    """The relations that an expression reads, as Postgres shows it under search_path = pg_catalog: all qualified."""
    nodes = postgast.walk(postgast.parse(f"SELECT ({deparsed}\n)"))
    return frozenset(Name(node.schemaname, node.relname) for _, node in nodes if isinstance(node, pb.RangeVar))


def _spelled(base: str) -> str:
    return {"timestamptz": "timestamp with time zone"}.get(base, base)


def _operands(node: pb.Node) -> Iterator[pb.Node]:
    """The node, or the members of the list, that stand on one side of an operator."""
    match node.WhichOneof("node"):
        case "list":
            yield from node.list.items
        case None:
            return
        case _:
            yield node


def _child_nodes(message: Message) -> Iterator[pb.Node]:
    """Every Node directly below a message, concrete messages in between passed through."""
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None:
            continue
        for child in [value] if isinstance(value, Message) else value:
            if child.DESCRIPTOR.name == "Node":
                yield child
            elif child.DESCRIPTOR.name == "RangeVar":
                continue
            else:
                yield from _child_nodes(child)


@lru_cache(maxsize=4096)
def _value_node(text: Sql) -> pb.Node:
    return _parse_expression(text)


def _parse_expression(text: str) -> pb.Node:
    try:
        node: pb.Node = postgast.parse("SELECT " + text).stmts[0].stmt.select_stmt.target_list[0].res_target.val
    except (postgast.PgQueryError, DecodeError) as exc:
        raise RlsgenError(f"this expression cannot be parsed again: {text}: {exc}") from exc
    return node


def _from_item(text: Sql) -> pb.Node:
    node: pb.Node = postgast.parse(fill("SELECT 1 FROM {}", text)).stmts[0].stmt.select_stmt.from_clause[0]
    return node
