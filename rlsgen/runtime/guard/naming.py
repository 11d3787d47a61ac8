"""Names of result columns as Postgres gives them (FigureColname in parse_target.c), and rows inside of expressions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import postgast
from google.protobuf.message import Message
from postgast import pg_query_pb2 as pb
from postgast import unwrap_node

from rlsgen.runtime.guard.allowed import catalog
from rlsgen.runtime.guard.scope import Columns, Level, Out, Row
from rlsgen.runtime.guard.text import words

UNNAMED = "?column?"
_VALUE_FUNCTIONS = {
    pb.SVFOP_CURRENT_DATE: "current_date",
    pb.SVFOP_CURRENT_TIME: "current_time",
    pb.SVFOP_CURRENT_TIME_N: "current_time",
    pb.SVFOP_CURRENT_TIMESTAMP: "current_timestamp",
    pb.SVFOP_CURRENT_TIMESTAMP_N: "current_timestamp",
    pb.SVFOP_LOCALTIME: "localtime",
    pb.SVFOP_LOCALTIME_N: "localtime",
    pb.SVFOP_LOCALTIMESTAMP: "localtimestamp",
    pb.SVFOP_LOCALTIMESTAMP_N: "localtimestamp",
}
_XML = {
    pb.IS_XMLCONCAT: "xmlconcat",
    pb.IS_XMLELEMENT: "xmlelement",
    pb.IS_XMLFOREST: "xmlforest",
    pb.IS_XMLPARSE: "xmlparse",
    pb.IS_XMLPI: "xmlpi",
    pb.IS_XMLROOT: "xmlroot",
}
_JSON = {pb.JSON_EXISTS_OP: "json_exists", pb.JSON_QUERY_OP: "json_query", pb.JSON_VALUE_OP: "json_value"}
_FIXED: dict[type[Message], str] = {
    pb.A_ArrayExpr: "array",
    pb.CoalesceExpr: "coalesce",
    pb.GroupingFunc: "grouping",
    pb.JsonArrayAgg: "json_arrayagg",
    pb.JsonArrayConstructor: "json_array",
    pb.JsonArrayQueryConstructor: "json_array",
    pb.JsonObjectAgg: "json_objectagg",
    pb.JsonObjectConstructor: "json_object",
    pb.JsonParseExpr: "json",
    pb.JsonScalarExpr: "json_scalar",
    pb.JsonSerializeExpr: "json_serialize",
    pb.RowExpr: "row",
    pb.XmlSerialize: "xmlserialize",
}
_COMPUTED: dict[type[Message], Callable[[Any], str]] = {
    pb.ColumnRef: lambda node: words(node.fields)[-1],
    pb.FuncCall: lambda node: words(node.funcname)[-1],
    pb.A_Expr: lambda node: "nullif" if node.kind == pb.AEXPR_NULLIF else "",
    pb.MinMaxExpr: lambda node: "greatest" if node.op == pb.IS_GREATEST else "least",
    pb.SQLValueFunction: lambda node: _VALUE_FUNCTIONS.get(node.op, ""),
    pb.XmlExpr: lambda node: _XML.get(node.op, ""),
    pb.JsonFuncExpr: lambda node: _JSON.get(node.op, ""),
}
_KEEP_ROWS = frozenset({"any_value", "first_value", "lag", "last_value", "lead", "nth_value",
                         "json_populate_record", "json_populate_recordset", "jsonb_populate_record",
                         "jsonb_populate_recordset"})  # fmt: skip


class Results:
    """What the sub-queries of one statement return, as far as they were checked already."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[Message, Columns]] = {}

    def add(self, query: Message, columns: Columns) -> None:
        """Remember a query's columns; the message is kept, so that its identity stays its own."""
        self._found[id(query)] = (query, columns)

    def first(self, node: pb.Node) -> Out | None:
        """The first column of a sub-query."""
        found = self._found.get(id(unwrap_node(node)))
        return found[1].outs[0] if found and found[1].outs else None


def column_name(node: pb.Node, results: Results) -> str:
    """What Postgres calls the column of an expression without AS."""
    return _name(unwrap_node(node), results)[0] or UNNAMED


def certain_name(node: pb.Node, results: Results) -> str:
    """The same before sub-queries were checked; empty where one of them decides."""
    inside = any(isinstance(each, pb.SubLink) for _, each in postgast.walk(node))
    return "" if inside else column_name(node, results)


def _name(node: Message, results: Results) -> tuple[str, int]:
    """The name, and how good it is: 2 for a real one, 1 for a makeshift that a better one replaces."""
    if type(node) in _FIXED:
        return _FIXED[type(node)], 2
    if type(node) in _COMPUTED:
        name = _COMPUTED[type(node)](node)
        return name, 2 if name else 0
    if isinstance(node, pb.SubLink):
        return _sublink(node, results)
    return _inherited(node, results)


def _inherited(node: Message, results: Results) -> tuple[str, int]:
    """The name of an expression that takes it from what is inside of it."""
    if isinstance(node, pb.A_Indirection):
        names = [each.string.sval for each in node.indirection if each.HasField("string")]
        return (names[-1], 2) if names else _name(unwrap_node(node.arg), results)
    if not isinstance(node, pb.CollateClause | pb.TypeCast | pb.CaseExpr):
        return "", 0
    field = "defresult" if isinstance(node, pb.CaseExpr) else "arg"
    name, strength = _name(unwrap_node(getattr(node, field)), results) if node.HasField(field) else ("", 0)
    if strength > 1 or isinstance(node, pb.CollateClause):
        return name, strength
    return ("case" if isinstance(node, pb.CaseExpr) else words(node.type_name.names)[-1]), 1


def _sublink(node: pb.SubLink, results: Results) -> tuple[str, int]:
    if node.sub_link_type == pb.EXISTS_SUBLINK:
        return "exists", 2
    if node.sub_link_type == pb.ARRAY_SUBLINK:
        return "array", 2
    if node.sub_link_type == pb.EXPR_SUBLINK and (first := results.first(node.subselect)) is not None:
        return first.name, 2
    return "", 0


class Rows:
    """Finds out which expressions are rows, and of which columns."""

    def __init__(self, results: Results, types: Mapping[tuple[str, ...], Row]) -> None:
        self._results = results
        self._types = types  # composite types by qualified name

    def of(self, wrapped: pb.Node, level: Level) -> Row | None:
        """The columns of the row that an expression is; None where it is none, or where that is not known."""
        node = unwrap_node(wrapped)
        if isinstance(node, pb.ColumnRef):
            return self._column(words(node.fields), level)
        if isinstance(node, pb.FuncCall):
            return self._call(node, level)
        if isinstance(node, pb.RowExpr):
            return Row(tuple(Out(f"f{number}") for number in range(1, len(node.args) + 1)), named=False)
        if isinstance(node, pb.TypeCast):
            row = self._types.get(tuple(words(node.type_name.names)))
            return Row(row.columns, True, bool(node.type_name.array_bounds)) if row else None
        if isinstance(node, pb.A_Indirection):
            return self.inside(self.of(node.arg, level), list(node.indirection))
        return self._named(node, level)

    def _named(self, node: Message, level: Level) -> Row | None:
        """Expressions that Postgres looks through only for named types."""
        row, array = None, False
        if isinstance(node, pb.CoalesceExpr | pb.MinMaxExpr):
            row = self.of(node.args[0], level)
        elif isinstance(node, pb.CaseExpr):
            row = self.of(node.args[0].case_when.result, level)
        elif isinstance(node, pb.A_ArrayExpr) and node.elements:
            row, array = self.of(node.elements[0], level), True
        elif isinstance(node, pb.SubLink) and node.sub_link_type in (pb.EXPR_SUBLINK, pb.ARRAY_SUBLINK):
            first = self._results.first(node.subselect)
            row, array = first.row if first else None, node.sub_link_type == pb.ARRAY_SUBLINK
        if row is None or not row.named:
            return None
        return Row(row.columns, True, array or row.array)

    def _column(self, names: list[str], level: Level) -> Row | None:
        if len(names) == 1:
            found = level.unqualified(names[0])
            if isinstance(found, tuple):
                return found[0].row
            return found.row if found is not None else None
        item = level.item(names[-2])
        out = item.column(names[-1]) if item else None
        return out.row if out else None

    def _call(self, node: pb.FuncCall, level: Level) -> Row | None:
        name = words(node.funcname)[-1]
        columns = catalog().columns.get(name)
        if columns and len(columns) > 1:
            return Row(tuple(Out(column) for column in columns), named=False)
        row = self.of(node.args[0], level) if node.args else None
        if row is None or not row.named:
            return None
        if name in _KEEP_ROWS:
            return row
        if name == "array_agg":
            return Row(row.columns, True, True)
        if name == "unnest" and row.array:
            return Row(row.columns, True)
        return None

    @staticmethod
    def inside(row: Row | None, steps: list[pb.Node]) -> Row | None:
        """What subscripts and fields of a row lead to."""
        for step in steps:
            if row is None:
                return None
            if step.HasField("a_indices"):
                row = Row(row.columns, row.named, step.a_indices.is_slice) if row.array else None
            elif step.HasField("string") and not row.array:
                out = next((column for column in row.columns if column.name == step.string.sval), None)
                row = out.row if out else None
            else:
                return None
        return row
