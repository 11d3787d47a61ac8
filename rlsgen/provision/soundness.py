"""What in a filter lets a conversation see others' rows although Postgres enforces it to the letter.

A policy runs over every row, under settings that the conversation chooses: TimeZone decides which times are equal, and
an error about one row shows its value, whoever's it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from google.protobuf.message import Message
from postgast import pg_query_pb2 as pb
from postgast import unwrap_node

from rlsgen.errors import Problem
from rlsgen.identifiers import display
from rlsgen.provision.resolve import Table
from rlsgen.spec.filters import expression, offset
from rlsgen.spec.model import ContextField, FilterText

_TEXTS = frozenset({"text", "character varying", "bpchar", "name"})
_JSONS = frozenset({"json", "jsonb"})
_TO_TEXT = frozenset({"text", "varchar", "bpchar", "name", "citext"})  # as the grammar calls them
_EXTRACTING = frozenset({"->>", "#>>"})
_WITHOUT_ZONE = frozenset({"date", "timestamp without time zone"})
_WITH_ZONE = frozenset({"timestamptz", "timestamp with time zone"})


def soundness_problems(table: Table, text: FilterText, fields: Mapping[str, ContextField]) -> Iterator[Problem]:
    """What is wrong with one filter or check. `fields` by their names in lower case."""
    types = {column.name: column.base for column in table.relation.columns}
    for message in _own_nodes(unwrap_node(expression(text))):
        if isinstance(message, pb.TypeCast):
            target = message.type_name.names[-1].string.sval
            safe = _safe_targets(unwrap_node(message.arg), types)
            if safe is not None and target not in safe:
                yield Problem(
                    f"filter of {table.name}: a row whose text is no {target} would end every conversation's query"
                    " with an error that shows that text",
                    text.position(offset(text, message.location)),
                    "compare texts: cast the context's value, as in payload ->> 'tenant' = userContext.tenantId::text",
                )
        elif isinstance(message, pb.A_Expr):
            yield from _zone_problems(table, text, message, types, fields)


def _zone_problems(
    table: Table, text: FilterText, node: pb.A_Expr, types: Mapping[str, str], fields: Mapping[str, ContextField]
) -> Iterator[Problem]:
    sides = [each for side in (node.lexpr, node.rexpr) for each in _members(unwrap_node(side))]
    columns = [name for side in sides if (name := _column(side)) in types]
    compared = [field for side in sides if (field := _field(side, fields)) is not None]
    for name, field in ((name, field) for name in columns for field in compared if name is not None):
        both = {types[name], field.base}
        if both & _WITHOUT_ZONE and both & _WITH_ZONE:
            yield Problem(
                f"filter of {table.name}: how {display(name)}, a {types[name]}, compares with {field.name},"
                f" a {field.base}, depends on TimeZone, which a conversation can set",
                text.position(offset(text, node.location)),
                f"say which zone: {display(name)} AT TIME ZONE 'UTC'; or compare a date with a date",
            )


def _own_nodes(message: Message) -> Iterator[Message]:
    """A message and everything below it, sub-queries left out: they stand on the policies of what they read."""
    yield message
    if isinstance(message, pb.SubLink):
        return
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None:
            for child in (value,) if isinstance(value, Message) else value:
                yield from _own_nodes(unwrap_node(child))


def _members(message: Message) -> Iterator[Message]:
    if isinstance(message, pb.List):
        yield from (unwrap_node(item) for item in message.items)
    else:
        yield message


def _safe_targets(message: Message, types: Mapping[str, str]) -> frozenset[str] | None:
    """The types that what an expression gives can be cast to without fail; None where that is not known (functions)."""
    if isinstance(message, pb.A_Expr):
        return _TO_TEXT if message.name[-1].string.sval in _EXTRACTING else None
    held = types.get(_column(message) or "")
    return _TO_TEXT if held in _TEXTS else _TO_TEXT | _JSONS if held in _JSONS else None


def _column(message: Message) -> str | None:
    """The name of a column, unless it is a field of the context."""
    if isinstance(message, pb.ColumnRef) and message.fields[-1].HasField("string"):
        first: str = message.fields[0].string.sval
        name: str = message.fields[-1].string.sval
        return None if first.lower() == "usercontext" else name
    return None


def _field(message: Message, fields: Mapping[str, ContextField]) -> ContextField | None:
    if isinstance(message, pb.ColumnRef) and len(message.fields) == 2:
        first, last = (part.string.sval.lower() for part in message.fields)
        return fields.get(last) if first == "usercontext" else None
    return None
