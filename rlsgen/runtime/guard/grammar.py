"""The nodes that a statement's tree may have, and the fields that each may carry: everything else is refused.

A node type or field that is not here is unknown, be it because nobody thought of it or because a later grammar brought
it. What needs more than to be known is looked at in checker.py.
"""

from __future__ import annotations

_NODES = """
A_ArrayExpr: elements list_start list_end location
A_Const: ival fval boolval sval bsval isnull location
A_Expr: kind name lexpr rexpr rexpr_list_start rexpr_list_end location
A_Indices: is_slice lidx uidx
A_Indirection: arg indirection
A_Star:
Alias: aliasname colnames
BitString: bsval
Boolean: boolval
BoolExpr: boolop args location
BooleanTest: arg booltesttype location
CTECycleClause: cycle_col_list cycle_mark_column cycle_mark_value cycle_mark_default cycle_path_column location
CTESearchClause: search_col_list search_breadth_first search_seq_column location
CaseExpr: arg args defresult location
CaseWhen: expr result location
CoalesceExpr: args location
CollateClause: arg collname location
ColumnDef: colname type_name coll_clause is_local location
ColumnRef: fields location
CommonTableExpr: ctename aliascolnames ctematerialized ctequery search_clause cycle_clause location
DeleteStmt: relation using_clause where_clause returning_clause with_clause
Float: fval
FuncCall: funcname args agg_order agg_filter over agg_within_group agg_star agg_distinct func_variadic funcformat
  location
GroupingFunc: args location
GroupingSet: kind content location
InsertStmt: relation cols select_stmt returning_clause with_clause override
Integer: ival
JoinExpr: jointype is_natural larg rarg using_clause join_using_alias quals alias
JsonAggConstructor: output agg_filter agg_order over location
JsonArgument: val name
JsonArrayAgg: constructor arg absent_on_null
JsonArrayConstructor: exprs output absent_on_null location
JsonArrayQueryConstructor: query output format absent_on_null location
JsonBehavior: btype expr location
JsonFormat: format_type encoding location
JsonFuncExpr: op column_name context_item pathspec passing output on_empty on_error wrapper quotes location
JsonIsPredicate: expr format item_type unique_keys location
JsonKeyValue: key value
JsonObjectAgg: constructor arg absent_on_null unique
JsonObjectConstructor: exprs output absent_on_null unique location
JsonOutput: type_name returning
JsonParseExpr: expr output unique_keys location
JsonReturning: format
JsonScalarExpr: expr output location
JsonSerializeExpr: expr output location
JsonTable: context_item pathspec passing columns on_error alias lateral location
JsonTableColumn: coltype name type_name pathspec format wrapper quotes columns on_empty on_error location
JsonTablePathSpec: string name name_location location
JsonValueExpr: raw_expr format
List: items
MinMaxExpr: op args location
MultiAssignRef: source colno ncolumns
NamedArgExpr: arg name argnumber location
NullTest: arg nulltesttype location
ParamRef: number location
RangeFunction: lateral ordinality is_rowsfrom functions alias coldeflist
RangeSubselect: lateral subquery alias
RangeTableFunc: lateral docexpr rowexpr namespaces columns alias location
RangeTableFuncCol: colname type_name for_ordinality is_not_null colexpr coldefexpr location
RangeVar: schemaname relname inh relpersistence alias location
ResTarget: name indirection val location
ReturningClause: options exprs
ReturningOption: option value location
RowExpr: args row_format location
SQLValueFunction: op typmod location
SelectStmt: distinct_clause target_list from_clause where_clause group_clause group_distinct having_clause window_clause
  values_lists sort_clause limit_offset limit_count limit_option with_clause op all larg rarg
SetToDefault: location
SortBy: node sortby_dir sortby_nulls use_op location
String: sval
SubLink: sub_link_type testexpr oper_name subselect location
TypeCast: arg type_name location
TypeName: names typmods typemod array_bounds location
UpdateStmt: relation target_list where_clause from_clause returning_clause with_clause
WindowDef: name refname partition_clause order_clause frame_options start_offset end_offset location
WithClause: ctes recursive location
XmlExpr: op name named_args arg_names args xmloption indent location
XmlSerialize: xmloption expr type_name indent location
"""


def _fields() -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for line in _NODES.replace("\n  ", " ").strip().splitlines():
        name, _, names = line.partition(":")
        found[name] = frozenset(names.split())
    return found


FIELDS = _fields()
"""By message type."""

# Why a statement or clause is not run, for those that people and models really try. Everything else: "is not allowed".
REASONS = {
    "CurrentOfExpr": "WHERE CURRENT OF needs a cursor, which conversations do not have",
    "ExplainStmt": "EXPLAIN tells of rows that the statement itself does not show",
    "MergeStmt": "MERGE is not allowed; write UPDATE or INSERT",
    "RangeTableSample": "TABLESAMPLE picks rows by where all tenants' rows lie; use ORDER BY random() LIMIT n",
    "CopyStmt": "COPY is not allowed; write SELECT",
    "TransactionStmt": "every statement has a transaction of its own, which rlsgen begins and ends",
    "VariableSetStmt": "settings cannot be changed",
    "VariableShowStmt": "settings cannot be shown",
    "PLAssignStmt": "only SQL is understood",
    "SetToDefault": "DEFAULT stands only in the VALUES of an INSERT and in SET",
    "locking_clause": "rows cannot be locked; leave FOR UPDATE or FOR SHARE out",
    "into_clause": "SELECT INTO creates a table; leave INTO out",
    "on_conflict_clause": "ON CONFLICT tells whether a row exists that cannot be seen; leave it out",
    "catalogname": "a name has at most two parts, schema and table; leave the database out",
    "setof": "SETOF stands only in the definition of a function",
    "pct_type": "%TYPE stands only in the definition of a function; name the type",
}
