"""What a filter's tree uses (context fields, relations, functions), and what in it a filter must not use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message
from postgast import pg_query_pb2 as pb
from postgast import unwrap_node

from rlsgen.identifiers import display
from rlsgen.spec.model import RelationRef

CONTEXT = "usercontext"  # as Postgres folds it
_OURS = ("rlsgen", "rlsgen_private")
_SETTINGS = ("current_setting", "set_config")
_VALUE_HINT = "write userContext.<field>, such as userContext.organisationId"


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that a filter must not use; `offset` counts characters."""

    offset: int
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found. `fields` are names as the filter spells them, each with its offset in characters."""

    fields: tuple[tuple[str, int], ...]
    relations: tuple[RelationRef, ...]
    functions: tuple[tuple[str | None, str], ...]
    faults: tuple[Fault, ...]


def inspect(tree: pb.Node, text: str, start: int) -> Inspection:
    """Look at every node of an expression's tree; `start` is how many bytes stood before `text` when it was parsed."""
    inspector = _Inspector(text, start)
    for message, location in _walk(tree, start):
        handler = _HANDLERS.get(type(message))
        if handler:
            handler(inspector, message, location)
    return Inspection(
        fields=tuple(inspector.fields),
        relations=tuple(dict.fromkeys(inspector.relations)),
        functions=tuple(dict.fromkeys(inspector.functions)),
        faults=tuple(inspector.faults),
    )


def _walk(tree: Message, location: int) -> Iterator[tuple[Message, int]]:
    """All messages but words, in the order of the text, each with its location or that of the nearest one around it."""
    stack = [(unwrap_node(tree), location)]
    while stack:
        message, around = stack.pop()
        own = getattr(message, "location", 0)
        here = own if own > 0 else around
        yield message, here
        children: list[Message] = []
        for descriptor, value in message.ListFields():
            if descriptor.message_type is None:
                continue
            nodes = (value,) if isinstance(value, Message) else value
            children.extend(child for each in nodes if type(child := unwrap_node(each)) is not pb.String)
        stack.extend((child, here) for child in reversed(children))


@dataclass(slots=True)
class _Inspector:
    text: str
    start: int
    fields: list[tuple[str, int]] = field(default_factory=list)
    relations: list[RelationRef] = field(default_factory=list)
    functions: list[tuple[str | None, str]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def offset(self, location: int) -> int:
        byte = max(location - self.start, 0)
        return byte if self.text.isascii() else len(self.text.encode()[:byte].decode(errors="replace"))

    def refuse(self, location: int, message: str, hint: str) -> None:
        self.faults.append(Fault(self.offset(location), message, hint))

    def column(self, node: pb.ColumnRef, location: int) -> None:
        parts = [_word(part) for part in node.fields]
        if parts[0].lower() == CONTEXT:
            if len(parts) == 2 and parts[1] != "*":
                self.fields.append((self.spelled(location, parts[1]), self.offset(location)))
            else:
                shown = ".".join(["userContext", *parts[1:]])
                self.refuse(location, f"{shown} is not a value of the context", _VALUE_HINT)
        elif len(parts) > 2 and CONTEXT in (part.lower() for part in parts[:-1]):
            self.refuse(location, "userContext is neither a schema nor a table", _VALUE_HINT)

    def spelled(self, location: int, folded: str) -> str:
        """A field as the filter spells it: `orgId`, although the tree says orgid."""
        rest = self.text[self.offset(location) :]
        at = rest.lower().find(folded.lower())
        return rest[at : at + len(folded)] if at >= 0 else folded

    def relation(self, node: pb.RangeVar, location: int) -> None:
        schema, name = node.schemaname or None, node.relname
        if node.catalogname:
            hint = "a table has at most a schema and a name"
            self.refuse(location, f"{node.catalogname} is named as a database", hint)
        elif schema in _OURS:
            self.refuse(location, f"a filter must not read the schema {schema}, which is rlsgen's own", _VALUE_HINT)
        elif name.lower() == CONTEXT:
            self.refuse(location, "userContext is never a table", _VALUE_HINT)
        else:
            self.relations.append(RelationRef(schema, name))

    def alias(self, node: pb.Alias, location: int) -> None:
        if node.aliasname.lower() == CONTEXT:  # an alias has no location of its own
            around = self.offset(location)
            found = self.text.lower().find(CONTEXT, around)
            self.faults.append(Fault(max(found, around), "userContext cannot be an alias", "choose another name"))

    def call(self, node: pb.FuncCall, location: int) -> None:
        parts = [_word(part) for part in node.funcname]
        schema, name = (parts[-2] if len(parts) > 1 else None), parts[-1]
        self.functions.append((schema, name))
        if name in _SETTINGS and schema in (None, "pg_catalog"):
            hint = "context values are written userContext.<field>; a session variable can be forged"
            self.refuse(location, f"a filter must not call {name}", hint)
        if node.HasField("over"):
            self.refuse(
                node.over.location, f"{name} … OVER is a window function, which a filter cannot have", "use a sub-query"
            )
        if node.HasField("agg_filter"):
            hint = "put the condition into the WHERE of the sub-query"
            self.refuse(location, f"{name} … FILTER is an aggregate's clause, which a filter cannot have", hint)
        self.qualified(parts, location)

    def qualified(self, parts: list[str], location: int) -> None:
        if len(parts) > 1 and parts[0] in _OURS:
            hint = "context values are written userContext.<field>"
            self.refuse(location, f"a filter must not use the schema {parts[0]}, which is rlsgen's own", hint)

    def type_name(self, node: pb.TypeName, location: int) -> None:
        self.qualified([_word(part) for part in node.names], location)

    def collation(self, node: pb.CollateClause, location: int) -> None:
        self.qualified([_word(part) for part in node.collname], location)

    def operator(self, node: pb.A_Expr, location: int) -> None:
        self.qualified([_word(part) for part in node.name], location)
        for left, right in _compared(node):
            for one, other in ((left, right), (right, left)):
                column = _cast_column(one)
                if column is not None and _is_context(other):
                    name = display(_word(column.fields[-1]))
                    message = f"the cast keeps Postgres from using an index on {name}"
                    self.refuse(column.location, message, "write it without: the value is cast instead")

    def select(self, node: pb.SelectStmt, location: int) -> None:
        if node.HasField("into_clause"):
            self.refuse(location, "a sub-query of a filter cannot create a table (INTO)", "remove INTO")
        if node.locking_clause:
            message = "a sub-query of a filter cannot lock rows (FOR UPDATE, FOR SHARE)"
            self.refuse(location, message, "remove the clause")
        if node.window_clause:
            self.refuse(location, "a sub-query of a filter cannot have windows", "remove the WINDOW clause")

    def with_clause(self, node: pb.WithClause, location: int) -> None:
        self.refuse(location, "a filter cannot have WITH", "write the query where it is used, as a sub-query in FROM")

    def parameter(self, node: pb.ParamRef, location: int) -> None:
        shown = f"${node.number}" if node.number else "?"
        self.refuse(location, f"{shown} is a parameter, and a filter has none", _VALUE_HINT)


_HANDLERS: dict[type[Message], Callable[[_Inspector, Any, int], None]] = {
    pb.ColumnRef: _Inspector.column,
    pb.RangeVar: _Inspector.relation,
    pb.Alias: _Inspector.alias,
    pb.FuncCall: _Inspector.call,
    pb.TypeName: _Inspector.type_name,
    pb.CollateClause: _Inspector.collation,
    pb.A_Expr: _Inspector.operator,
    pb.SelectStmt: _Inspector.select,
    pb.WithClause: _Inspector.with_clause,
    pb.ParamRef: _Inspector.parameter,
}


def _word(node: pb.Node) -> str:
    return node.string.sval if node.HasField("string") else "*"


def _compared(node: pb.A_Expr) -> Iterator[tuple[Message, Message]]:
    """The pairs of values that an operator compares: its sides, or one side with the members of a list or row."""
    left, right = unwrap_node(node.lexpr), unwrap_node(node.rexpr)
    if isinstance(left, pb.RowExpr) and isinstance(right, pb.RowExpr):
        yield from zip(map(unwrap_node, left.args), map(unwrap_node, right.args), strict=False)
    elif isinstance(right, pb.List):
        yield from ((left, unwrap_node(item)) for item in right.items)
    else:
        yield left, right


def _cast_column(node: Message) -> pb.ColumnRef | None:
    """The column under one or more casts."""
    if not isinstance(node, pb.TypeCast):
        return None
    while isinstance(node, pb.TypeCast):
        node = unwrap_node(node.arg)
    return node if isinstance(node, pb.ColumnRef) and not _is_context(node) else None


def _is_context(node: Message) -> bool:
    while isinstance(node, pb.TypeCast):
        node = unwrap_node(node.arg)
    return isinstance(node, pb.ColumnRef) and _word(node.fields[0]).lower() == CONTEXT
