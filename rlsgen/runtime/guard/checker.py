"""The walk over a statement's tree: every node is known, allowed and qualified, or the statement is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message
from postgast import pg_query_pb2 as pb
from postgast import unwrap_node

from rlsgen.identifiers import display
from rlsgen.runtime.guard.grammar import FIELDS, REASONS
from rlsgen.runtime.guard.names import Allowed
from rlsgen.runtime.guard.naming import Results, Rows
from rlsgen.runtime.guard.queries import Queries
from rlsgen.runtime.guard.scope import Item, Level, Row
from rlsgen.runtime.guard.sizes import check_size
from rlsgen.runtime.guard.text import Text, suggestion, words
from rlsgen.runtime.guard.twins import Binder, Twins
from rlsgen.runtime.schema import Relation, Schema

SYSTEM_COLUMNS = frozenset({"cmax", "cmin", "ctid", "tableoid", "xmax", "xmin"})
_CATALOGS = ("pg_catalog", "information_schema", "pg_toast", "rlsgen", "rlsgen_private")


class Checker:
    """Checks one statement, and changes its tree into what runs."""

    def __init__(self, text: Text, schema: Schema, allowed: Allowed, twins: Twins | None, parameters: int) -> None:
        self.text = text
        self.schema = schema
        self.allowed = allowed
        self.twins = twins
        self.binder = Binder(parameters)
        self.results = Results()
        self.rows = Rows(self.results, _composites(schema))
        self.relations: list[Relation] = []  # in order of appearance
        self.parameters: set[int] = set()
        self.queries = Queries(self)

    def walk(self, message: Message, level: Level, at: int) -> None:
        """Check a message and everything below it."""
        kind = message.DESCRIPTOR.name
        if kind == "Node":
            if message.WhichOneof("node") is None:
                return
            message = unwrap_node(message)
            kind = message.DESCRIPTOR.name
        at = self.place(message, at)
        handler = _HANDLERS.get(kind)
        if handler is not None:
            self.known(message, at)
            handler(self, message, level, at)
        else:
            self.below(message, level, at)

    def below(self, message: Message, level: Level, at: int) -> None:
        """Check that a message is known, and walk what it has."""
        for value in self.known(message, at):
            if isinstance(value, Message):
                self.walk(value, level, at)
            elif not isinstance(value, str | int | float):
                self.each(value, level, at)

    def each(self, messages: Any, level: Level, at: int) -> None:
        """Walk several."""
        for message in messages:
            self.walk(message, level, at)

    def known(self, message: Message, at: int) -> list[Any]:
        """What a message's fields hold, all of which are allowed.

        Raises:
            StatementRefused: the type of the message, or a field that it carries, is not.
        """
        kind = message.DESCRIPTOR.name
        fields = FIELDS.get(kind)
        if fields is None:
            what = REASONS.get(kind, f"{_spoken(kind)} is not allowed")
            raise self.text.refused(what, reason="statement", at=at)
        found = []
        for descriptor, value in message.ListFields():
            if descriptor.name not in fields:
                what = REASONS.get(descriptor.name, f"{descriptor.name} of {_spoken(kind)} is not allowed")
                raise self.text.refused(what, reason="statement", at=at)
            found.append(value)
        return found

    @staticmethod
    def place(message: Message, at: int) -> int:
        """Where a message stands in the text: its own location, or that of what it is in."""
        own = getattr(message, "location", 0)
        return own if own > 0 else at

    # Names ----------------------------------------------------------------------------------------------------------

    def column(self, node: Any, level: Level, at: int) -> None:
        """A.B.C, or a row, or a star."""
        names = words(node.fields)
        if names[-1] in SYSTEM_COLUMNS:
            message = f"{names[-1]} is a system column, which tells of storage and of other transactions"
            raise self.text.refused(message, reason="column", at=at, hint="order by a column of the table's own")
        if len(names) > 3:
            raise self.text.refused(REASONS["catalogname"], reason="column", at=at)
        if node.fields[-1].HasField("a_star"):
            item = self.star(node, level, at)
            for each in [item] if item else level.items:
                each.whole = True
            return
        if len(names) == 1:
            self._alone(names[0], level, at)
            return
        item = self.qualifier(names[:-1], level, at)
        if len(names) == 3:
            del node.fields[0]  # its alias is the table's name
        if item.column(names[-1]) is None:
            self._guessed(item, names[-1], at)

    def star(self, node: Any, level: Level, at: int) -> Item | None:
        """`*` or `a.*`; gives what it is qualified with."""
        names = words(node.fields)[:-1]
        if not names:
            return None
        if len(names) > 2:
            raise self.text.refused(REASONS["catalogname"], reason="column", at=at)
        item = self.qualifier(names, level, at)
        if len(names) == 2:
            del node.fields[0]
        return item

    def _alone(self, name: str, level: Level, at: int) -> None:
        found = level.unqualified(name)
        if isinstance(found, Item):
            found.whole = True
        elif found is None:
            if (item := level.item(name)) is not None:
                item.whole = True
            self.unknown(name, level, at)

    def unknown(self, name: str, level: Level, at: int) -> None:
        """A name of no column that is seen. Postgres denies a hidden column, and so tells of it, where the table itself
        stands in FROM: such a table is replaced, or, where it is written to, nothing unknown passes.

        Raises:
            StatementRefused: the statement writes to a table with hidden columns.
        """
        *_, outermost = level.outwards()
        written = outermost.items[0] if outermost.items and outermost.items[0].node is None else None
        hidden = written.relation.unreadable if written is not None and written.relation is not None else ()
        if hidden and name not in level.outputs:
            raise self.text.refused(f"the column {display(name)} does not exist", reason="column", at=at)
        for each in level.outwards() if name in self.schema.unreadable else ():
            for item in each.items:
                item.whole = item.whole or (item.relation is not None and name in item.relation.unreadable)

    def qualifier(self, names: list[str], level: Level, at: int) -> Item:
        """What stands before the last dot.

        Raises:
            StatementRefused: nothing in FROM has this name.
        """
        found = level.item(names[-1], names[0] if len(names) == 2 else None)
        if found is None:
            shown = ".".join(display(name) for name in names)
            hint = suggestion(names[-1], level.names(), "a table is named by its alias where it has one")
            raise self.text.refused(f"{shown} is not in FROM at this place", reason="column", at=at, hint=hint)
        return found

    def _guessed(self, item: Item, name: str, at: int) -> None:
        if item.guessed and name == item.name:
            item.certain = True
            return
        shown = f"{display(item.name)}.{display(name)}"
        if item.complete:
            hint = suggestion(name, (column.name for column in item.columns), _listed(item))
            raise self.text.refused(f"the column {shown} does not exist", reason="column", at=at, hint=hint)
        hint = f"name the columns: AS {display(item.name)} (a, b), or leave the qualifier out"
        raise self.text.refused(f"whether {shown} is a column cannot be seen", reason="column", at=at, hint=hint)

    def indirection(self, node: Any, level: Level, at: int) -> None:
        """(row).column and array[1]: a field must be known to be one, or Postgres would call a function."""
        self.walk(node.arg, level, at)
        row = self.rows.of(node.arg, level)
        for step in node.indirection:
            if step.HasField("string") and row is not None and row.array:
                row = None
            if step.HasField("string") and (row is None or step.string.sval not in [out.name for out in row.columns]):
                name = display(step.string.sval)
                known = [out.name for out in row.columns] if row else []
                hint = suggestion(
                    step.string.sval, known, "write the function's name first, or name the column in FROM"
                )
                raise self.text.refused(f"{name} is not known to be a column here", reason="column", at=at, hint=hint)
            self.walk(step, level, at)
            row = self.rows.inside(row, [step])

    def relation(self, schema: str | None, name: str, at: int) -> Relation:
        """The usable relation that a name in FROM means.

        Raises:
            StatementRefused: there is none; whether it is hidden or does not exist is not said.
        """
        found = self.schema.resolve(schema or None, name)
        if found is not None:
            if found not in self.relations:
                self.relations.append(found)
            return found
        shown = f"{display(schema)}.{display(name)}" if schema else display(name)
        in_catalog = (schema or "").startswith("pg_") or schema in _CATALOGS or (not schema and name.startswith("pg_"))
        if in_catalog:
            message = f"{shown} is not available: conversations see data, not the database's catalogs"
            hint = "`rlsgen describe` shows what may be used"
            raise self.text.refused(message, reason="relation", at=at, hint=hint)
        known = {each.name: each for each in self.schema.relations}
        hint = suggestion(name, known, "")
        raise self.text.refused(f"the table {shown} is not available", reason="relation", at=at, hint=hint)

    # Expressions ----------------------------------------------------------------------------------------------------

    def call(self, node: Any, level: Level, at: int) -> None:
        """A function's call."""
        self.allowed.function(self.text, node, at)
        check_size(self.text, node, at)
        if words(node.funcname)[-1] == "pg_typeof" and id(node) not in self.queries.shown:
            hint = "write pg_typeof(…)::text"
            raise self.text.refused("pg_typeof must be cast to text", reason="function", at=at, hint=hint)
        self.below(node, level, at)

    def cast(self, node: Any, level: Level, at: int) -> None:
        """A cast. Only as text does pg_typeof not look types up by name."""
        inner = unwrap_node(node.arg) if node.HasField("arg") else None
        if isinstance(inner, pb.FuncCall) and words(node.type_name.names)[-1] in ("text", "varchar"):
            self.queries.shown[id(inner)] = inner
        self.below(node, level, at)

    def type_name(self, node: Any, level: Level, at: int) -> None:
        """A type's name."""
        self.allowed.type(self.text, node, at)
        self.each(node.typmods, level, at)

    def expression(self, node: Any, level: Level, at: int) -> None:
        """An operator between values."""
        self.allowed.expression(self.text, node, at)
        for side in (node.lexpr, node.rexpr):
            self.walk(side, level, at)

    def sort(self, node: Any, level: Level, at: int) -> None:
        """ORDER BY … USING <."""
        if node.use_op:
            self.allowed.operator(self.text, node.use_op, at)
        self.walk(node.node, level, at)

    def sub_link(self, node: Any, level: Level, at: int) -> None:
        """A sub-query as a value."""
        if node.oper_name:
            self.allowed.operator(self.text, node.oper_name, at)
        if node.HasField("testexpr"):
            self.walk(node.testexpr, level, at)
        self.queries.nested(node.subselect, level, level.ctes, at)

    def json_query(self, node: Any, level: Level, at: int) -> None:
        """JSON_ARRAY(SELECT …)."""
        self.queries.nested(node.query, level, level.ctes, at)
        if node.HasField("output"):
            self.walk(node.output, level, at)

    def value_function(self, node: Any, level: Level, at: int) -> None:
        """CURRENT_DATE and its kin."""
        self.allowed.value_function(self.text, node, at)

    def collation(self, node: Any, level: Level, at: int) -> None:
        """COLLATE."""
        self.allowed.collation(self.text, node, at)
        if node.HasField("arg"):
            self.walk(node.arg, level, at)

    def parameter(self, node: Any, level: Level, at: int) -> None:
        """$1."""
        if not node.number:
            hint = "parameters are written $1, $2"
            raise self.text.refused("? is not a parameter", reason="parameters", at=at, hint=hint)
        self.parameters.add(node.number)

    def default(self, node: Any, level: Level, at: int) -> None:
        """DEFAULT where it must not stand; where it may, nobody walks there."""
        raise self.text.refused(REASONS["SetToDefault"], reason="statement", at=at)

    def select(self, node: Any, level: Level, at: int) -> None:
        """A query at a place where none was expected."""
        raise self.text.refused("a query cannot stand here", reason="statement", at=at)


_HANDLERS: dict[str, Callable[[Checker, Any, Level, int], None]] = {
    "A_Expr": Checker.expression,
    "A_Indirection": Checker.indirection,
    "CollateClause": Checker.collation,
    "ColumnRef": Checker.column,
    "FuncCall": Checker.call,
    "JsonArrayQueryConstructor": Checker.json_query,
    "ParamRef": Checker.parameter,
    "SQLValueFunction": Checker.value_function,
    "SelectStmt": Checker.select,
    "SetToDefault": Checker.default,
    "SortBy": Checker.sort,
    "SubLink": Checker.sub_link,
    "TypeCast": Checker.cast,
    "TypeName": Checker.type_name,
    **dict.fromkeys(
        ("RangeVar", "RangeSubselect", "RangeFunction", "RangeTableFunc", "JsonTable", "JoinExpr", "WithClause",
         "CommonTableExpr", "InsertStmt", "UpdateStmt", "DeleteStmt", "ReturningClause", "ReturningOption"),
        Checker.select,
    ),
}  # fmt: skip


def _composites(schema: Schema) -> dict[tuple[str, ...], Row]:
    """The row types that casts may name: those of readable columns."""
    return {}


def _spoken(kind: str) -> str:
    """`CreateTableAsStmt` as CREATE TABLE AS."""
    spaced = "".join(f" {letter}" if letter.isupper() else letter for letter in kind.removesuffix("Stmt"))
    return spaced.replace("_", "").strip().upper()


def _listed(item: Item) -> str:
    names = ", ".join(display(column.name) for column in item.columns[:20])
    return f"its columns are: {names}" if names else ""
