"""Queries of a statement: WITH, FROM, joins and stars, in Postgres' order and with its scopes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from google.protobuf.message import Message
from postgast import pg_query_pb2 as pb
from postgast import unwrap_node

from rlsgen.identifiers import display
from rlsgen.runtime.guard.allowed import catalog
from rlsgen.runtime.guard.bounds import Bounds
from rlsgen.runtime.guard.naming import certain_name, column_name
from rlsgen.runtime.guard.relations import settle, star_columns
from rlsgen.runtime.guard.scope import Columns, Item, Level, Out, Source
from rlsgen.runtime.guard.text import words

if TYPE_CHECKING:
    from rlsgen.runtime.guard.checker import Checker

_AFTER_FROM = ("where_clause", "having_clause", "limit_offset", "limit_count")
_LISTS = ("distinct_clause", "group_clause", "window_clause", "sort_clause")


class Queries:
    """Checks the queries of one statement."""

    def __init__(self, checker: Checker) -> None:
        self._checker = checker
        self.shown: dict[int, Message] = {}  # calls that stand directly under a cast to text, by identity
        self._bounds = Bounds(checker.text)

    def nested(self, node: pb.Node, outer: Level | None, ctes: Mapping[str, Columns], at: int) -> Columns:
        """Check a sub-query, whatever statement it is.

        Raises:
            StatementRefused: it is not a SELECT.
        """
        inner = unwrap_node(node)
        if not isinstance(inner, pb.SelectStmt):
            message = "only SELECT may stand inside of a statement"
            raise self._checker.text.refused(message, reason="statement", at=at)
        return self.select(inner, outer, ctes, at)

    def select(self, node: Any, outer: Level | None, ctes: Mapping[str, Columns], at: int) -> Columns:
        """Check a SELECT, VALUES, TABLE or set operation; `outer` is the query around it."""
        checker = self._checker
        checker.known(node, at)
        level = Level(outer, self.with_clause(node, outer, ctes, at))
        if node.op != pb.SETOP_NONE:
            columns = self.select(node.larg, outer, level.ctes, at)
            self.select(node.rarg, outer, level.ctes, at)
        elif node.values_lists:
            columns = Columns(tuple(Out(f"column{n}") for n in range(1, len(node.values_lists[0].list.items) + 1)))
            checker.each(node.values_lists, level, at)
        else:
            columns = self._plain(node, level, at)
        if node.op != pb.SETOP_NONE or node.values_lists:
            level.columns = [(out, None) for out in columns.outs]
            level.outputs = frozenset(out.name for out in columns.outs)
            self._rest(node, level, at)
        checker.results.add(node, columns)
        return columns

    def _plain(self, node: Any, level: Level, at: int) -> Columns:
        self.from_clause(node.from_clause, level, at)
        columns = self.targets(node.target_list, level, at)
        level.outputs = frozenset(out.name for out in columns.outs)
        self._rest(node, level, at)
        self.settle(node, level)
        return columns

    def _rest(self, node: Any, level: Level, at: int) -> None:
        for name in _LISTS:
            self._checker.each(getattr(node, name), level, at)
        for name in _AFTER_FROM:
            if node.HasField(name):
                self._checker.walk(getattr(node, name), level, at)

    def settle(self, node: Any, level: Level) -> None:
        """Put what may be seen in the place of the tables in FROM."""
        settle(self._checker, node, level)

    def targets(self, nodes: Iterable[pb.Node], level: Level, at: int) -> Columns:
        """Check a list of results, and say what its columns are called."""
        outs: list[Out] = []
        complete = True
        for node in nodes:
            target = node.res_target
            self._checker.known(target, at)
            place = self._checker.place(target, at)
            if _star(target):
                self._checker.star(target.val.column_ref, level, self._checker.place(target.val.column_ref, place))
                columns, whole = star_columns(target, level)
                self._bounds.results(len(outs) + len(columns), place)
                outs += [out for out, _ in columns]
                complete = complete and whole
            else:
                self._checker.walk(target.val, level, place)
                name = target.name or column_name(target.val, self._checker.results)
                outs.append(Out(name, self._checker.rows.of(target.val, level)))
            if _opens_row(target):
                complete = False
        return Columns(tuple(outs), complete)

    # WITH -----------------------------------------------------------------------------------------------------------

    def with_clause(
        self, node: Any, outer: Level | None, ctes: Mapping[str, Columns], at: int
    ) -> Mapping[str, Columns]:
        """Check the WITH queries of a statement; gives all that its body sees."""
        if not node.HasField("with_clause"):
            return ctes
        clause = node.with_clause
        self._checker.known(clause, at)
        queries = [each.common_table_expr for each in clause.ctes]
        known = dict(ctes)
        if clause.recursive:  # then they see each other, and themselves
            for query in queries:
                known[query.ctename] = self._foreseen(query)
        for query in queries:
            place = self._checker.place(query, at)
            self._checker.known(query, place)
            self._alias_name(query.ctename, place)
            columns = self.nested(query.ctequery, outer, dict(known), place)
            known[query.ctename] = self._finished(query, columns, outer, known, place)
        return known

    def _foreseen(self, query: Any) -> Columns:
        """The columns of a recursive query before it was checked: those of its first part, by their names alone."""
        names = words(query.aliascolnames)
        first = unwrap_node(query.ctequery)
        while isinstance(first, pb.SelectStmt) and first.op != pb.SETOP_NONE:
            first = first.larg
        outs: list[Out] = []
        complete = isinstance(first, pb.SelectStmt)
        if isinstance(first, pb.SelectStmt) and first.values_lists:
            outs = [Out(f"column{n}") for n in range(1, len(first.values_lists[0].list.items) + 1)]
        for node in first.target_list if isinstance(first, pb.SelectStmt) else ():
            target = node.res_target
            if _star(target) or _opens_row(target):
                complete = False
                break
            outs.append(Out(target.name or certain_name(target.val, self._checker.results)))
        columns = Columns(tuple(outs), complete).renamed(names)
        return Columns((*columns.outs, *_generated(query)), columns.complete)

    def _finished(
        self, query: Any, columns: Columns, outer: Level | None, ctes: Mapping[str, Columns], at: int
    ) -> Columns:
        cycle = query.cycle_clause
        if query.HasField("cycle_clause"):
            self._checker.known(cycle, at)
            for each in (cycle.cycle_mark_value, cycle.cycle_mark_default):
                self._checker.walk(each, Level(outer, ctes), at)
        if query.HasField("search_clause"):
            self._checker.known(query.search_clause, at)
        named = columns.renamed(words(query.aliascolnames))
        return Columns((*named.outs, *_generated(query)), named.complete)

    # FROM -----------------------------------------------------------------------------------------------------------

    def from_clause(self, nodes: Iterable[pb.Node], level: Level, at: int) -> None:
        """Check the entries of FROM; the level has them afterwards."""
        for node in nodes:
            source = self._entry(node, level, level.items, level.columns, at)
            self._bounds.beside(len(level.items) + len(source.items), len(level.columns) + len(source.columns), at)
            level.items = [*level.items, *source.items]
            level.columns = [*level.columns, *source.columns]
            level.complete = level.complete and source.complete

    def _entry(
        self, node: pb.Node, level: Level, left: list[Item], left_columns: list[tuple[Out, Item | None]], at: int
    ) -> Source:
        entry: Any = unwrap_node(node)
        at = self._checker.place(entry, at)
        self._checker.known(entry, at)
        if isinstance(entry, pb.JoinExpr):
            return self._join(entry, level, left, left_columns, at)
        source = self._single(node, entry, level, level.beside(left, left_columns), at)
        self._bounds.more(len(source.columns), at)
        return source

    def _single(self, node: pb.Node, entry: Any, level: Level, beside: Level, at: int) -> Source:
        if isinstance(entry, pb.RangeVar):
            return _source(self.table(node, level, at))
        alias = entry.alias
        self._alias(alias, at)
        if isinstance(entry, pb.RangeSubselect):
            outer = beside if entry.lateral else level.outer
            columns = self.nested(entry.subquery, outer, level.ctes, at).renamed(words(alias.colnames))
            return _source(Item(alias.aliasname, columns.outs, columns.complete))
        if isinstance(entry, pb.RangeFunction):
            item = self._function(entry, beside, at)
            level.places.append(item)
            return _source(item)
        if isinstance(entry, pb.RangeTableFunc):
            self._checker.below(entry, beside, at)
            outs = [Out(each.range_table_func_col.colname) for each in entry.columns]
            return _source(_named(alias, "xmltable", outs))
        if isinstance(entry, pb.JsonTable):
            self._checker.below(entry, beside, at)
            return _source(_named(alias, "json_table", list(_json_columns(entry.columns))))
        raise self._checker.text.refused("this cannot stand in FROM", reason="statement", at=at)

    def table(self, node: pb.Node, level: Level, at: int) -> Item:
        """A name in FROM: a WITH query, or a table."""
        table = node.range_var
        self._checker.known(table, at)
        self._alias(table.alias, at)
        name = table.alias.aliasname or table.relname
        names = words(table.alias.colnames)
        if not table.schemaname and table.relname in level.ctes:
            columns = level.ctes[table.relname].renamed(names)
            return Item(name, columns.outs, columns.complete)
        relation = self._checker.relation(table.schemaname or None, table.relname, at)
        columns = Columns(tuple(Out(column.name) for column in relation.columns)).renamed(names)
        schema = None if table.alias.aliasname else relation.name.schema
        item = Item(name, columns.outs, schema=schema, relation=relation, node=node, aliased=bool(names))
        level.places.append(item)
        return item

    def _function(self, entry: Any, level: Level, at: int) -> Item:
        """A function in FROM, or several side by side."""
        checker = self._checker
        outs: list[Out] = []
        complete = guessed = True
        alias, first = entry.alias, ""
        functions = [list(each.list.items) for each in entry.functions]
        for number, (call, *rest) in enumerate(functions):
            definitions = [each for each in rest if each.HasField("list")]
            spread = _spread(entry, call.func_call) and not definitions
            checker.walk(call, level, at)
            if spread:
                del call.func_call.funcname[0]
                guessed = False
            first = first or column_name(call, checker.results)
            columns = [*(each for group in definitions for each in group.list.items)]
            columns += list(entry.coldeflist) if number == 0 else []
            for each in columns:
                checker.walk(each, level, at)
            found, known, certain = self._function_columns(call, columns, alias, len(functions), level)
            outs += found
            self._bounds.results(len(outs), at)
            complete, guessed = complete and known, guessed and not certain
        names = words(alias.colnames)
        counted = [Out("ordinality")] if entry.ordinality else []
        named = Columns((*outs, *(counted if complete else ())), complete).renamed(names)
        last = counted if not complete and len(names) < 2 else []
        guessed = guessed and len(functions) == 1 and not names
        return Item(alias.aliasname or first, (*named.outs, *last), named.complete, guessed=guessed, node=entry)

    def _function_columns(
        self, call: pb.Node, definitions: list[Any], alias: Any, count: int, level: Level
    ) -> tuple[list[Out], bool, bool]:
        """The columns of one function, whether these are all, and whether they are certain."""
        if definitions:
            return [Out(each.column_def.colname) for each in definitions], True, True
        node = unwrap_node(call)
        name = words(node.funcname)[-1] if isinstance(node, pb.FuncCall) else ""
        own = isinstance(node, pb.FuncCall) and words(node.funcname)[0] != "pg_catalog"
        if columns := catalog().columns.get(name) if not own else None:
            return [Out(column) for column in columns], True, True
        if name in catalog().polymorphic or own:
            row = self._checker.rows.of(call, level)
            if row is not None and not row.array:
                return list(row.columns), True, True
            return [], False, False
        single = alias.aliasname if alias.aliasname and count == 1 else column_name(call, self._checker.results)
        return [Out(single)], True, True

    def _join(
        self, node: Any, level: Level, left: list[Item], left_columns: list[tuple[Out, Item | None]], at: int
    ) -> Source:
        one = self._entry(node.larg, level, left, left_columns, at)
        other = self._entry(node.rarg, level, [*left, *one.items], [*left_columns, *one.columns], at)
        wide = len(left_columns) + len(one.columns) + len(other.columns)
        self._bounds.beside(len(left) + len(one.items) + len(other.items), wide, at)
        joined = _joined(node, one, other)
        for name in words(node.using_clause):
            self._checker.unknown(name, Level(None, {}, joined.items), at)
        if node.HasField("quals"):
            inside = Level(level.outer, level.ctes, joined.items, [*one.columns, *other.columns])
            self._checker.walk(node.quals, inside, at)
        _fills_nulls(node, one, other)
        if node.HasField("join_using_alias"):
            self._alias(node.join_using_alias, at)
            using = words(node.using_clause)
            joined.items.append(Item(node.join_using_alias.aliasname, tuple(Out(name) for name in using)))
        if not node.HasField("alias"):
            return joined
        self._alias(node.alias, at)
        for item in joined.items:
            item.inside = True
        columns = Columns(tuple(out for out, _ in joined.columns), joined.complete).renamed(words(node.alias.colnames))
        return _source(Item(node.alias.aliasname, columns.outs, columns.complete))

    def _alias(self, alias: Any, at: int) -> None:
        if alias.aliasname:
            self._checker.known(alias, at)
            self._alias_name(alias.aliasname, at)

    def _alias_name(self, name: str, at: int) -> None:
        if name.startswith("pg_"):
            message = f"{display(name)} cannot be an alias here: pg_ begins the names of the database's catalogs"
            raise self._checker.text.refused(message, reason="relation", at=at, hint="choose another name")


def _spread(entry: Any, call: Any) -> bool:
    """Whether the grammar takes a call apart: unnest(a, b) is unnest(a), unnest(b), if the name stands alone."""
    plain = not (call.agg_order or call.agg_star or call.agg_distinct or call.func_variadic)
    plain = plain and not (call.HasField("agg_filter") or call.HasField("over") or entry.coldeflist)
    return plain and words(call.funcname) == ["unnest"] and len(call.args) > 1


def _source(item: Item) -> Source:
    return Source([item], [(out, item) for out in item.columns], item.complete)


def _named(alias: Any, otherwise: str, outs: list[Out]) -> Item:
    return Item(alias.aliasname or otherwise, Columns(tuple(outs)).renamed(words(alias.colnames)).outs)


def _json_columns(nodes: Iterable[pb.Node]) -> Iterable[Out]:
    for node in nodes:
        column = node.json_table_column
        if column.coltype == pb.JTC_NESTED:
            yield from _json_columns(column.columns)
        else:
            yield Out(column.name)


def _generated(query: Any) -> Iterable[Out]:
    """The columns that SEARCH and CYCLE add."""
    names = (
        query.search_clause.search_seq_column,
        query.cycle_clause.cycle_mark_column,
        query.cycle_clause.cycle_path_column,
    )
    return [Out(name) for name in names if name]


def _joined(node: Any, one: Source, other: Source) -> Source:
    """The columns of a join in the order of its star: the merged ones, then the left's, then the right's."""
    names = words(node.using_clause)
    if node.is_natural:
        theirs = {out.name for out, _ in other.columns}
        names = [out.name for out, _ in one.columns if out.name in theirs]
    merged, shared = [(Out(name), None) for name in names], set(names)
    rest = [each for each in [*one.columns, *other.columns] if each[0].name not in shared]
    complete = one.complete and other.complete
    return Source([*one.items, *other.items], [*merged, *rest], complete)


def _fills_nulls(node: Any, one: Source, other: Source) -> None:
    """Note which items an outer join fills with NULLs: conditions on them belong into its ON."""
    place = node if node.HasField("quals") else None
    if node.jointype in (pb.JOIN_LEFT, pb.JOIN_FULL):
        for item in other.items:
            item.joins.append(place if node.jointype == pb.JOIN_LEFT else None)
    if node.jointype in (pb.JOIN_RIGHT, pb.JOIN_FULL):
        for item in one.items:
            item.joins.append(place if node.jointype == pb.JOIN_RIGHT else None)


def _star(target: Any) -> bool:
    return bool(target.val.HasField("column_ref") and target.val.column_ref.fields[-1].HasField("a_star"))


def _opens_row(target: Any) -> bool:
    """`(row).*`."""
    steps = target.val.a_indirection.indirection if target.val.HasField("a_indirection") else ()
    return any(step.HasField("a_star") for step in steps)
