"""Twins: the filters' plain equalities once more, with the value bound, where the planner can use them (docs/guard.md).

A policy compares with a sub-select, whose value the planner does not know. A second, equal condition with the value as
a parameter joins the same equivalence class: the scan uses the value with its true statistics. A twin repeats the
policy, so it can only lose rows that the policy would not show either.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from postgast import pg_query_pb2 as pb
from postgast import unwrap_node

from rlsgen.identifiers import Name
from rlsgen.runtime.guard.text import words
from rlsgen.runtime.schema import Relation, Schema
from rlsgen.runtime.statement import Twin
from rlsgen.spec.filters import expression
from rlsgen.spec.model import ContextField, FilterText, Spec, TableSpec, Through

_OIDS = {"integer": 23, "bigint": 20, "uuid": 2950, "text": 25, "boolean": 16, "date": 1082, "timestamptz": 1184}
_FAMILIES = {21: "integer", 23: "integer", 20: "integer", 25: "text", 1043: "text", 2950: "uuid", 1082: "date",
             1184: "timestamptz"}  # fmt: skip
_CASTS = {25: "text", 1043: "varchar", 2950: "uuid", 21: "int2", 23: "int4", 20: "int8"}
_MAX_HOPS = 4


@dataclass(frozen=True, slots=True)
class Equal:
    """`column = value`, where the value has the field's type, or is cast to the column's as the policy casts it."""

    column: str
    twin: Twin
    cast: str | None  # a type of pg_catalog


@dataclass(frozen=True, slots=True)
class Within:
    """`(columns) IN (SELECT columns FROM parent WHERE conditions)`."""

    columns: tuple[str, ...]
    parent: Name
    parent_columns: tuple[str, ...]
    conditions: tuple[Condition, ...]


Condition = Equal | Within


def equalities(spec: Spec, relation: Name, text: FilterText) -> Iterator[tuple[str, ContextField]]:
    """The top-level ANDed `column = userContext.field` of a filter, either way round."""
    pending = [unwrap_node(expression(text))]
    while pending:
        node = pending.pop(0)
        if isinstance(node, pb.BoolExpr) and node.boolop == pb.AND_EXPR:
            pending = [*(unwrap_node(each) for each in node.args), *pending]
        if not (
            isinstance(node, pb.A_Expr)
            and node.kind == pb.AEXPR_OP
            and words(node.name) in (["="], ["pg_catalog", "="])
        ):
            continue
        sides = [node.lexpr, node.rexpr]
        if not all(side.HasField("column_ref") for side in sides):
            continue
        one, other = (words(side.column_ref.fields) for side in sides)
        for column, value in ((one, other), (other, one)):
            field = spec.field(value[1]) if len(value) == 2 and value[0].lower() == "usercontext" else None
            own = column[:-1] in ([], [relation.name], [relation.schema, relation.name])
            if field is not None and not field.array and own:
                yield column[-1], field


class Twins:
    """The conditions of every relation of a schema."""

    def __init__(self, spec: Spec, schema: Schema) -> None:
        self._spec = spec
        self._schema = schema
        self._found: dict[Name, tuple[Condition, ...]] = {}

    def of(self, relation: Relation, hops: int = _MAX_HOPS) -> tuple[Condition, ...]:
        """The conditions; none where a twin could differ from the policy, or would not help."""
        if relation.name in self._found:
            return self._found[relation.name]
        found = tuple(self._conditions(relation, hops))
        if hops == _MAX_HOPS:
            self._found[relation.name] = found
        return found

    def _conditions(self, relation: Relation, hops: int) -> Iterator[Condition]:
        declared = relation.declared
        if not isinstance(declared, TableSpec) or declared.access != "scoped":
            return
        if declared.filter is not None:
            for column, field in equalities(self._spec, relation.name, declared.filter):
                condition = equal(relation, column, field)
                if condition is not None:
                    yield condition
        for path in declared.through:
            within = self._within(relation, path, hops)
            if within is not None:
                yield within

    def _within(self, relation: Relation, path: Through, hops: int) -> Within | None:
        parent = self._schema.resolve(path.parent.schema, path.parent.name)
        if parent is None or parent.name == relation.name or hops == 0:
            return None
        own = [relation.column(name) for name in path.columns]
        theirs = [parent.column(name) for name in path.parent_columns]
        for one, other in zip(own, theirs, strict=True):
            if one is None or other is None or one.type_oid != other.type_oid or one.base_oid not in _FAMILIES:
                return None
        conditions = self.of(parent, hops - 1)
        return Within(path.columns, parent.name, path.parent_columns, conditions) if conditions else None


def equal(relation: Relation, name: str, field: ContextField) -> Equal | None:
    """The condition on a column, if the planner can use it: its type's equality is leakproof and mergejoinable."""
    column = relation.column(name)
    if column is None or column.base_oid not in _FAMILIES:
        return None
    family, base = _FAMILIES[column.base_oid], "integer" if field.base == "bigint" else field.base
    twin = Twin(field.name, _OIDS[field.base])
    if family == base:
        return Equal(name, twin, None)
    if "text" in (family, base) and column.base_oid in _CASTS and base in ("text", "integer", "uuid"):
        return Equal(name, twin, _CASTS[column.base_oid])
    return None


class Binder:
    """Gives bound values their numbers, behind the caller's parameters."""

    def __init__(self, parameters: int) -> None:
        self._first = parameters + 1
        self.twins: list[Twin] = []

    def number(self, twin: Twin) -> int:
        """The number of a value; the same value is bound once."""
        if twin not in self.twins:
            self.twins.append(twin)
        return self._first + self.twins.index(twin)

    def value(self, twin: Twin, cast: Sequence[str] | None) -> pb.Node:
        """The value in a tree, with a cast to a qualified type."""
        node = pb.Node()
        if cast is None:
            node.param_ref.number = self.number(twin)
            return node
        node.type_cast.arg.param_ref.number = self.number(twin)
        for part in cast:
            node.type_cast.type_name.names.add().string.sval = part
        node.type_cast.type_name.typemod = -1
        return node

    def conditions(self, conditions: Sequence[Condition], qualifier: str = "") -> list[pb.Node]:
        """The conditions in a tree; `qualifier` is the table's name in the query where they stand."""
        return [self._condition(each, qualifier) for each in conditions]

    def _condition(self, condition: Condition, qualifier: str) -> pb.Node:
        if isinstance(condition, Within):
            return self._within(condition, qualifier)
        node = pb.Node()
        node.a_expr.kind = pb.AEXPR_OP
        node.a_expr.name.add().string.sval = "="
        node.a_expr.lexpr.CopyFrom(column_ref(condition.column, qualifier))
        cast = ("pg_catalog", condition.cast) if condition.cast else None
        node.a_expr.rexpr.CopyFrom(self.value(condition.twin, cast))
        return node

    def _within(self, condition: Within, qualifier: str) -> pb.Node:
        node = pb.Node()
        link = node.sub_link
        link.sub_link_type = pb.ANY_SUBLINK
        columns = [column_ref(name, qualifier) for name in condition.columns]
        if len(columns) == 1:
            link.testexpr.CopyFrom(columns[0])
        else:
            link.testexpr.row_expr.args.extend(columns)
            link.testexpr.row_expr.row_format = pb.COERCE_IMPLICIT_CAST
        where = self.conditions(condition.conditions)
        link.subselect.select_stmt.CopyFrom(visible(condition.parent, condition.parent_columns, where))
        return node


def column_ref(name: str, qualifier: str = "") -> pb.Node:
    """A column in a tree."""
    node = pb.Node()
    for part in (qualifier, name) if qualifier else (name,):
        node.column_ref.fields.add().string.sval = part
    return node


def visible(name: Name, columns: Sequence[str], where: Sequence[pb.Node], *, inh: bool = True) -> pb.SelectStmt:
    """`SELECT columns FROM table WHERE conditions`."""
    select = pb.SelectStmt(limit_option=pb.LIMIT_OPTION_DEFAULT, op=pb.SETOP_NONE)
    for column in columns:
        select.target_list.add().res_target.val.CopyFrom(column_ref(column))
    table = select.from_clause.add().range_var
    table.schemaname, table.relname, table.inh, table.relpersistence = name.schema, name.name, inh, "p"
    if where:
        select.where_clause.CopyFrom(all_of(where))
    return select


def all_of(conditions: Sequence[pb.Node]) -> pb.Node:
    """The conditions ANDed; those that are ANDs themselves are taken apart, so that the tree stays flat."""
    if len(conditions) == 1:
        return conditions[0]
    node = pb.Node()
    node.bool_expr.boolop = pb.AND_EXPR
    for each in conditions:
        flat = each.HasField("bool_expr") and each.bool_expr.boolop == pb.AND_EXPR
        node.bool_expr.args.extend(each.bool_expr.args if flat else [each])
    return node
