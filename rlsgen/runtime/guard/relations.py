"""Tables in FROM become what the conversation may see of them, with their twins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from postgast import pg_query_pb2 as pb
from postgast import unwrap_node

from rlsgen.runtime.guard.scope import Item, Level, Out
from rlsgen.runtime.guard.text import words
from rlsgen.runtime.guard.twins import all_of, column_ref, visible

if TYPE_CHECKING:
    from rlsgen.runtime.guard.checker import Checker


def star_columns(target: Any, level: Level) -> tuple[list[tuple[Out, Item | None]], bool]:
    """What a star among the results stands for, and whether that is all."""
    names = words(target.val.column_ref.fields)[:-1]
    if not names:
        return level.columns, level.complete
    item = level.item(names[-1])
    if item is None:
        return [], False
    return [(out, item) for out in item.columns], item.complete


def settle(checker: Checker, node: Any, level: Level) -> None:
    """Put in FROM what may be seen, when it is known how the query uses it."""
    grouped = _grouped(node, level) if isinstance(node, pb.SelectStmt) else set()
    natural = _natural(node.from_clause) if grouped else False
    _distinct_names(checker, level)
    for item in level.places:
        if item.relation is not None:
            if _stays(item, grouped, natural):
                _qualify(checker, item, node, level)
            else:
                _replace(checker, item)
        elif item.certain:
            item.node.alias.aliasname = item.name
            item.node.alias.colnames.add().string.sval = item.name


def _natural(nodes: Any) -> bool:
    """Whether there is a NATURAL join."""
    for each in nodes:
        entry = unwrap_node(each)
        if isinstance(entry, pb.JoinExpr) and (entry.is_natural or _natural([entry.larg, entry.rarg])):
            return True
    return False


def _distinct_names(checker: Checker, level: Level) -> None:
    seen: dict[str, Item] = {}
    for item in level.items:
        if item.relation is not None and item.name in seen and seen[item.name].relation is not item.relation:
            hint = "give each of them an alias"
            message = f"two tables are called {item.name}"
            raise checker.text.refused(message, reason="relation", hint=hint)
        seen[item.name] = item


def _stays(item: Item, grouped: set[tuple[int, str]], natural: bool) -> bool:
    """Whether the query needs the table itself: to group by its key, or for values of its row type."""
    relation = item.relation
    if relation is None or item.aliased:
        return False
    by_key = bool(relation.primary_key) and all((id(item), name) in grouped for name in relation.primary_key)
    if relation.unreadable:
        return by_key and not item.whole and not natural
    return by_key or item.whole


def _replace(checker: Checker, item: Item) -> None:
    """`(SELECT columns FROM table WHERE twins) AS alias`; Postgres pulls it up, so that plans are the table's own."""
    relation, node = item.relation, item.node
    if relation is None or node is None:
        return
    table = pb.RangeVar()
    table.CopyFrom(node.range_var)
    conditions = checker.twins.of(relation) if checker.twins else ()
    columns = [column.name for column in relation.columns]
    where = checker.binder.conditions(conditions)
    subselect = pb.RangeSubselect()
    subselect.subquery.select_stmt.CopyFrom(visible(relation.name, columns, where, inh=table.inh))
    if table.HasField("alias"):
        subselect.alias.CopyFrom(table.alias)
    subselect.alias.aliasname = item.name
    node.range_subselect.CopyFrom(subselect)


def _qualify(checker: Checker, item: Item, query: Any, level: Level) -> None:
    """The table by its qualified name, with its twins where they leave every join what it is."""
    relation, node = item.relation, item.node
    if relation is None or node is None:
        return
    node.range_var.schemaname, node.range_var.relname = relation.name
    node.range_var.alias.aliasname = item.name
    conditions = checker.twins.of(relation) if checker.twins else ()
    if relation.unreadable:
        _expand_stars(query, item, level)
    if not conditions or item.inside or len(item.joins) > 1 or None in item.joins:
        return
    where = checker.binder.conditions(conditions, item.name)
    if item.joins:
        item.joins[0].quals.CopyFrom(all_of([*where, _copy(item.joins[0].quals)]))
    else:
        add_condition(query, where)


def add_condition(query: Any, conditions: list[pb.Node]) -> None:
    """AND conditions to the WHERE of a query or statement."""
    present = [_copy(query.where_clause)] if query.HasField("where_clause") else []
    query.where_clause.CopyFrom(all_of([*conditions, *present]))


def _copy(node: pb.Node) -> pb.Node:
    copy = pb.Node()
    copy.CopyFrom(node)
    return copy


def _expand_stars(query: Any, item: Item, level: Level) -> None:
    """`*` and `alias.*` as the readable columns: the table itself has others too."""
    targets = []
    for node in query.target_list:
        value = node.res_target.val
        star = value.HasField("column_ref") and value.column_ref.fields[-1].HasField("a_star")
        columns, whole = star_columns(node.res_target, level) if star else ([], False)
        if whole and words(value.column_ref.fields)[:-1] in ([], [item.name]):
            targets += [_target(column_ref(out.name, each.name if each else "")) for out, each in columns]
        else:
            targets.append(_copy(node))
    del query.target_list[:]
    query.target_list.extend(targets)


def _target(value: pb.Node) -> pb.Node:
    node = pb.Node()
    node.res_target.val.CopyFrom(value)
    return node


def _grouped(node: Any, level: Level) -> set[tuple[int, str]]:
    """The columns of FROM that the query groups by, alone and not in grouping sets."""
    found: set[tuple[int, str]] = set()
    named = _columns_by_output(node) if node.group_clause else {}
    for each in node.group_clause:
        inner = unwrap_node(each)
        if isinstance(inner, pb.A_Const) and inner.HasField("ival") and 0 < inner.ival.ival <= len(node.target_list):
            inner = unwrap_node(node.target_list[inner.ival.ival - 1].res_target.val)
        if not isinstance(inner, pb.ColumnRef):
            continue
        column = _column(inner, level)
        if column is None and len(inner.fields) == 1 and (output := named.get(words(inner.fields)[0])) is not None:
            column = _column(output, level)
        if column is not None:
            found.add(column)
    return found


def _column(node: Any, level: Level) -> tuple[int, str] | None:
    names = words(node.fields)
    if len(names) == 1:
        found = level.unqualified(names[0])
        return (id(found[1]), names[0]) if isinstance(found, tuple) and found[1] is not None else None
    item = level.item(names[-2])
    return (id(item), names[-1]) if item is not None and item.column(names[-1]) else None


def _columns_by_output(query: Any) -> dict[str, Any]:
    """The columns among the results that have a name of their own; the first of each name."""
    found: dict[str, Any] = {}
    for each in query.target_list:
        if each.res_target.name and each.res_target.val.HasField("column_ref"):
            found.setdefault(each.res_target.name, each.res_target.val.column_ref)
    return found
