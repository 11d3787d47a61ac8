"""INSERT, UPDATE and DELETE, where the spec allows them: on named columns, with the context's own filled in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from postgast import pg_query_pb2 as pb
from postgast import unwrap_node

from rlsgen.identifiers import display
from rlsgen.runtime.guard.relations import add_condition
from rlsgen.runtime.guard.scope import Item, Level, Out
from rlsgen.runtime.guard.text import suggestion, words
from rlsgen.runtime.guard.twins import column_ref, equal, equalities
from rlsgen.runtime.schema import Relation
from rlsgen.runtime.statement import Twin
from rlsgen.spec.model import Command, Spec, TableSpec

if TYPE_CHECKING:
    from rlsgen.runtime.guard.checker import Checker


class Writes:
    """Checks a statement that writes."""

    def __init__(self, checker: Checker, spec: Spec) -> None:
        self._checker = checker
        self._spec = spec
        self._source = pb.Node()  # of the last SET (a, b) = …

    def insert(self, node: Any) -> None:
        """INSERT INTO table (columns) VALUES … or SELECT …"""
        checker = self._checker
        checker.known(node, 0)
        item, relation = self._target(node.relation, "insert")
        if node.override != pb.OVERRIDING_NOT_SET:
            raise checker.text.refused("OVERRIDING is not allowed", reason="statement")
        ctes = checker.queries.with_clause(node, None, {}, 0)
        names = self._named_columns(node, relation)
        if not node.HasField("select_stmt"):
            raise checker.text.refused("INSERT needs VALUES or SELECT", reason="statement", hint="name the columns")
        source = unwrap_node(node.select_stmt)
        if isinstance(source, pb.SelectStmt) and source.values_lists:
            self._values(source, ctes)
        else:
            checker.queries.nested(node.select_stmt, None, ctes, 0)
        for column, value in self._context_values(relation, names):
            node.cols.add().res_target.name = column
            _append(source, value)
        self._returning(node, relation, Level(None, ctes, [item], [(out, item) for out in item.columns]))

    def update(self, node: Any) -> None:
        """UPDATE table SET column = … FROM … WHERE …"""
        checker = self._checker
        checker.known(node, 0)
        item, relation = self._target(node.relation, "update")
        level = self._level(node, item, node.from_clause)
        for each in node.target_list:
            target = each.res_target
            checker.known(target, 0)
            at = checker.place(target, 0)
            self._writable(relation, target.name, "updatable", at)
            self._steps(target, level, at)
            if not target.val.HasField("set_to_default"):
                self._assigned(target.val, level, at)
        self._finish(node, relation, item, level)

    def delete(self, node: Any) -> None:
        """DELETE FROM table USING … WHERE …"""
        self._checker.known(node, 0)
        item, relation = self._target(node.relation, "delete")
        if not relation.deletable:
            raise self._checker.text.refused(f"{relation.name} cannot be deleted from", reason="statement")
        level = self._level(node, item, node.using_clause)
        self._finish(node, relation, item, level)

    def _target(self, table: Any, command: Command) -> tuple[Item, Relation]:
        checker = self._checker
        checker.known(table, table.location)
        relation = checker.relation(table.schemaname or None, table.relname, table.location)
        declared = relation.declared
        if not isinstance(declared, TableSpec) or command not in declared.allow:
            hint = (
                f"the spec's `allow` for it is: {', '.join(declared.allow)}" if isinstance(declared, TableSpec) else ""
            )
            message = f"{command.upper()} is not allowed on {relation.name}"
            raise checker.text.refused(message, reason="statement", at=table.location, hint=hint)
        if table.alias.colnames:
            raise checker.text.refused("the table to be written cannot rename its columns", reason="statement")
        schema = None if table.alias.aliasname else relation.name.schema
        columns = tuple(Out(column.name) for column in relation.columns)
        item = Item(table.alias.aliasname or table.relname, columns, schema=schema, relation=relation)
        table.schemaname, table.relname = relation.name
        return item, relation

    def _level(self, node: Any, item: Item, entries: Any) -> Level:
        ctes = self._checker.queries.with_clause(node, None, {}, 0)
        level = Level(None, ctes, [item], [(out, item) for out in item.columns])
        self._checker.queries.from_clause(entries, level, 0)
        return level

    def _finish(self, node: Any, relation: Relation, item: Item, level: Level) -> None:
        checker = self._checker
        if node.HasField("where_clause"):
            checker.walk(node.where_clause, level, 0)
        self._returning(node, relation, level)
        checker.queries.settle(node, level)
        if item.whole and relation.unreadable:
            message = f"{display(item.name)} as a whole has columns that cannot be read"
            raise checker.text.refused(message, reason="column", hint="name the columns")
        declared = relation.declared
        if (
            checker.twins
            and node.HasField("where_clause")
            and isinstance(declared, TableSpec)
            and declared.check is None
        ):
            conditions = checker.binder.conditions(checker.twins.of(relation), item.name)
            if conditions:
                add_condition(node, conditions)

    def _assigned(self, value: pb.Node, level: Level, at: int) -> None:
        """The value of SET; of SET (a, b) = (…, DEFAULT) too."""
        if not value.HasField("multi_assign_ref"):
            self._checker.walk(value, level, at)
            return
        part = value.multi_assign_ref
        self._checker.known(part, at)
        if part.colno > 1:  # the tree has a copy of the source for every column
            part.source.CopyFrom(self._source)
            return
        source = unwrap_node(part.source)
        members = source.args if isinstance(source, pb.RowExpr) else [part.source]
        for each in members:
            if not each.HasField("set_to_default"):
                self._checker.walk(each, level, at)
        self._source = part.source

    def _steps(self, target: Any, level: Level, at: int) -> None:
        for step in target.indirection:
            if not step.HasField("a_indices"):
                message = "a field of a column cannot be set alone"
                raise self._checker.text.refused(message, reason="column", at=at, hint="set the whole column")
            self._checker.walk(step, level, at)

    def _named_columns(self, node: Any, relation: Relation) -> list[str]:
        if not node.cols:
            hint = f"INSERT INTO {display(relation.name.name)} ({_shown(relation)}) …"
            raise self._checker.text.refused("INSERT must name its columns", reason="statement", hint=hint)
        names = []
        for each in node.cols:
            target = each.res_target
            self._checker.known(target, 0)
            at = self._checker.place(target, 0)
            self._writable(relation, target.name, "insertable", at)
            self._steps(target, Level(None, {}), at)
            names.append(target.name)
        return names

    def _writable(self, relation: Relation, name: str, right: str, at: int) -> None:
        column = relation.column(name)
        if column is not None and getattr(column, right):
            return
        text = self._checker.text
        if column is None:
            known = [each.name for each in relation.columns]
            message = f"the column {display(name)} of {relation.name} does not exist"
            raise text.refused(message, reason="column", at=at, hint=suggestion(name, known))
        message = f"the column {display(name)} of {relation.name} cannot be written"
        raise text.refused(message, reason="column", at=at, hint="it gets its value by itself: leave it out")

    def _values(self, source: Any, ctes: Any) -> None:
        """VALUES, in which DEFAULT may stand."""
        checker = self._checker
        level = Level(None, checker.queries.with_clause(source, None, ctes, 0))
        checker.known(source, 0)
        for row in source.values_lists:
            for value in row.list.items:
                if not value.HasField("set_to_default"):
                    checker.walk(value, level, 0)
        checker.each([*source.sort_clause, source.limit_count, source.limit_offset], level, 0)

    def _context_values(self, relation: Relation, names: list[str]) -> list[tuple[str, pb.Node]]:
        """The filter's context columns that the INSERT does not name, each with its value, bound."""
        declared = relation.declared
        governing = (declared.check or declared.filter) if isinstance(declared, TableSpec) else None
        added: dict[str, pb.Node] = {}
        for name, field in equalities(self._spec, relation.name, governing) if governing else ():
            column = relation.column(name)
            if column is None or not column.insertable or name in names or name in added:
                continue
            found = equal(relation, name, field)
            twin = found.twin if found else Twin(field.name, _oid(field.base))
            cast = ("pg_catalog", found.cast) if found and found.cast else None
            added[name] = self._checker.binder.value(twin, cast)
        return list(added.items())

    def _returning(self, node: Any, relation: Relation, level: Level) -> None:
        """RETURNING; its star becomes the columns that may be read."""
        if not node.HasField("returning_clause"):
            return
        checker, clause = self._checker, node.returning_clause
        checker.known(clause, 0)
        if clause.options:
            raise checker.text.refused("RETURNING WITH is not allowed", reason="statement", hint="use old and new")
        own = level.items[0]
        for name in ("old", "new"):
            if not any(item.name == name for item in level.items):
                level.items.append(Item(name, own.columns, relation=relation))
        checker.queries.targets(clause.exprs, level, 0)
        targets = []
        for each in clause.exprs:
            targets += self._expanded(each, level)
        del clause.exprs[:]
        clause.exprs.extend(targets)
        if any(item.whole and item.relation is relation for item in level.items) and relation.unreadable:
            raise checker.text.refused(
                "the row has columns that cannot be read", reason="column", hint="name the columns"
            )

    def _expanded(self, node: pb.Node, level: Level) -> list[pb.Node]:
        value = node.res_target.val
        if not (value.HasField("column_ref") and value.column_ref.fields[-1].HasField("a_star")):
            copy = pb.Node()
            copy.CopyFrom(node)
            return [copy]
        names = words(value.column_ref.fields)[:-1]
        item = level.item(names[-1]) if names else None
        columns = [(out, item) for out in item.columns] if item else level.columns
        if not (item.complete if item else level.complete):
            raise self._checker.text.refused(
                "what * stands for here cannot be seen", reason="column", hint="name the columns"
            )
        expanded = []
        for out, each in columns:
            target = pb.Node()
            target.res_target.val.CopyFrom(column_ref(out.name, each.name if each else ""))
            expanded.append(target)
        return expanded


def _append(source: Any, value: pb.Node) -> None:
    """One more column in every row of a query."""
    if source.op != pb.SETOP_NONE:
        _append(source.larg, value)
        _append(source.rarg, value)
    elif source.values_lists:
        for row in source.values_lists:
            row.list.items.add().CopyFrom(value)
    else:
        source.target_list.add().res_target.val.CopyFrom(value)


def _shown(relation: Relation) -> str:
    names = [display(column.name) for column in relation.columns if column.insertable]
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


def _oid(base: str) -> int:
    return {"integer": 23, "bigint": 20, "uuid": 2950, "text": 25, "boolean": 16, "date": 1082, "timestamptz": 1184}[
        base
    ]
