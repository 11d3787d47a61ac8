"""Which columns of a table the spec ties to the context: what a filter compares with it, what a path follows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import postgast
from postgast import pg_query_pb2 as pb

from rlsgen.provision.grants import wanted_on_table
from rlsgen.provision.resolve import Table
from rlsgen.spec.model import FilterText

Tie = Literal["value", "member", "array", "query"]


@dataclass(frozen=True, slots=True)
class Tied:
    """A column that a condition, one that must hold by itself, ties to the context."""

    column: str
    field: str  # in lower case; empty where a sub-query stands between
    tie: Tie  # column = field; column = ANY (field); field = ANY (column); column IN (SELECT …)


def tied(table: Table, text: FilterText | None) -> tuple[Tied, ...]:
    """The columns of a table that a filter or check of it ties to the context, in the filter's order."""
    if text is None:
        return ()
    found = []
    for parts, field, tie in _conditions(text.text):
        here = len(parts) == 1 or parts[-2] == table.name.name
        if here and table.relation.column(parts[-1]) is not None:
            found.append(Tied(parts[-1], field, tie))
    return tuple(found)


def pinned(table: Table) -> frozenset[str]:
    """Columns in which a conversation can only write what is its own: by the check, or by a path."""
    text = table.spec.check or table.spec.filter
    columns = {each.column for each in tied(table, text) if each.tie != "array"}
    return frozenset(columns | {column.name for path in table.paths for column in path.columns})


def written(table: Table) -> frozenset[str]:
    """Columns whose values a conversation chooses when it writes."""
    return frozenset(name for privilege, name in wanted_on_table(table) if privilege in ("INSERT", "UPDATE"))


@lru_cache(maxsize=16_384)
def _conditions(text: str) -> tuple[tuple[tuple[str, ...], str, Tie], ...]:
    """(parts of the column's name, field, tie) of all conditions that AND joins. Kept by text: specs repeat filters."""
    tree = postgast.parse(f"SELECT ({text}\n)").stmts[0].stmt.select_stmt.target_list[0].res_target.val
    return tuple(found for each in _conjuncts(tree) if (found := _tie(each)) is not None)


def _conjuncts(node: pb.Node) -> Iterator[pb.Node]:
    if node.WhichOneof("node") == "bool_expr" and node.bool_expr.boolop == pb.AND_EXPR:
        for each in node.bool_expr.args:
            yield from _conjuncts(each)
    else:
        yield node


def _tie(node: pb.Node) -> tuple[tuple[str, ...], str, Tie] | None:
    if node.WhichOneof("node") == "sub_link" and node.sub_link.sub_link_type == pb.ANY_SUBLINK:
        column = _column(node.sub_link.testexpr)
        return (column, "", "query") if column else None
    if node.WhichOneof("node") != "a_expr" or [part.string.sval for part in node.a_expr.name][-1:] != ["="]:
        return None
    left, right, kind = node.a_expr.lexpr, node.a_expr.rexpr, node.a_expr.kind
    if kind == pb.AEXPR_IN:
        items = [_field(item) for item in right.list.items]
        column = _column(left)
        return (column, items[0] or "", "member") if column and items and all(items) else None
    ties: dict[int, tuple[Tie, Tie]] = {pb.AEXPR_OP: ("value", "value"), pb.AEXPR_OP_ANY: ("member", "array")}
    for (one, other), tie in zip(((left, right), (right, left)), ties.get(kind, ()), strict=False):
        column, field = _column(one), _field(other)
        if column and field:
            return column, field, tie
    return None


def _parts(node: pb.Node) -> tuple[str, ...]:
    while node.WhichOneof("node") == "type_cast":
        node = node.type_cast.arg
    if node.WhichOneof("node") != "column_ref":
        return ()
    return tuple(part.string.sval for part in node.column_ref.fields)


def _column(node: pb.Node) -> tuple[str, ...]:
    """The parts of a column's name; nothing if it is none, or a field of the context."""
    parts = _parts(node)
    return parts if parts and parts[0].lower() != "usercontext" else ()


def _field(node: pb.Node) -> str:
    """The name of a context field in lower case; empty if it is none."""
    parts = _parts(node)
    return parts[1].lower() if len(parts) == 2 and parts[0].lower() == "usercontext" else ""
