"""Syntax trees: compared without their places, and written back as SQL that is known to say the same.

libpg_query's deparser drops parentheses that matter: `(a OR b) IS NULL` becomes `a OR b IS NULL`,
`(a = b) IN (c)` becomes `a = b IN (c)` (libpg_query 18, in postgast 0.2). So its output is parsed again and compared;
where it differs, the tree is written piece by piece, each in parentheses, and compared once more.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import postgast
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message
from postgast import pg_query_pb2 as pb

from rlsgen.errors import RlsgenError

# Where an operand stands, and what loses its parentheses there.
_OPERANDS: dict[type[Message], tuple[str, ...]] = {
    pb.A_Expr: ("lexpr", "rexpr"),
    pb.A_Indirection: ("arg",),
    pb.BoolExpr: ("args",),
    pb.BooleanTest: ("arg",),
    pb.CollateClause: ("arg",),
    pb.FuncCall: ("args",),
    pb.JsonIsPredicate: ("expr",),
    pb.List: ("items",),
    pb.NullTest: ("arg",),
    pb.RangeTableFunc: ("docexpr", "rowexpr"),
    pb.SubLink: ("testexpr",),
    pb.TypeCast: ("arg",),
    pb.XmlExpr: ("args",),
}
_COMPOUND = (
    pb.A_Expr, pb.A_Indirection, pb.BoolExpr, pb.BooleanTest, pb.CaseExpr, pb.CollateClause, pb.JsonIsPredicate,
    pb.NullTest, pb.SetToDefault, pb.SubLink, pb.TypeCast, pb.XmlExpr,
)  # fmt: skip
_PLACES = ("location", "list_start", "list_end", "rexpr_list_start", "rexpr_list_end", "stmt_location", "stmt_len")


class DeparseError(RlsgenError):
    """A tree cannot be written as SQL that means the same."""


def same(one: Message, other: Message) -> bool:
    """Whether two trees are equal but for the places that their nodes came from."""
    return bool(one == other or _placeless(one) == _placeless(other))


def identity(tree: Message) -> bytes:
    """The same bytes for trees that are `same`, others for all others of that type."""
    found: bytes = _placeless(tree).SerializeToString(deterministic=True)
    return found


def expression_to_sql(node: pb.Node) -> str:
    """The SQL text of an expression. Put it into parentheses before you put it next to anything.

    Raises:
        DeparseError: no text was found that would be read as the same expression.
    """
    return statement_to_sql(_select(node)).removeprefix("SELECT ")


def statement_to_sql(statement: pb.ParseResult) -> str:
    """The SQL text of a parsed statement, or of several.

    Raises:
        DeparseError: no text was found that would be read as the same statement.
    """
    for write in (postgast.deparse, _in_pieces):
        try:
            text: str = write(statement)
            if same(statement, postgast.parse(text)):
                return text
        except (postgast.PgQueryError, DecodeError):
            continue  # what was written is no SQL, or too deep for protobuf
    raise DeparseError("libpg_query cannot write this SQL so that it means the same", hint="write it in another way")


def _in_pieces(statement: pb.ParseResult) -> str:
    """The statement with every compound operand in parentheses: each is written alone, and a name holds its place."""
    copy = pb.ParseResult()
    copy.CopyFrom(statement)
    prefix = "rlsgen_piece_"
    while prefix.encode() in copy.SerializeToString():
        prefix += "x_"
    pieces: dict[str, str] = {}
    _cut(copy, prefix, pieces)
    text: str = postgast.deparse(copy)
    for name, piece in reversed(pieces.items()):  # the outermost came last
        text = text.replace(name, f"({piece})")
    return text


def _cut(message: Message, prefix: str, pieces: dict[str, str]) -> None:
    """Replace compound operands by names, the innermost first."""
    operands = _OPERANDS.get(type(message), ())
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None:
            continue
        nodes: Iterable[Any] = (value,) if isinstance(value, Message) else value
        for child in nodes:
            inner = postgast.unwrap_node(child)
            _cut(inner, prefix, pieces)
            if descriptor.name in operands and _loses_parentheses(inner, message):
                name = f"{prefix}{len(pieces)}_"
                pieces[name] = postgast.deparse(_select(child)).removeprefix("SELECT ")
                child.Clear()
                child.column_ref.fields.add().string.sval = name


def _loses_parentheses(node: Message, parent: Message) -> bool:
    """Not constants and calls, but for AT TIME ZONE. The deparser crashes where it expects one and finds a name."""
    if isinstance(parent, pb.A_Indirection):
        return True
    if isinstance(node, pb.FuncCall):
        return bool(node.funcformat == pb.COERCE_SQL_SYNTAX and node.funcname[-1].string.sval == "timezone")
    return isinstance(node, _COMPOUND)


def _select(node: pb.Node) -> pb.ParseResult:
    statement = pb.ParseResult()
    statement.CopyFrom(_frame())
    statement.stmts[0].stmt.select_stmt.target_list[0].res_target.val.CopyFrom(node)
    return statement


@functools.cache
def _frame() -> pb.ParseResult:
    frame: pb.ParseResult = postgast.parse("SELECT 1")
    return frame


def _placeless(message: Message) -> Message:
    """The message as one of a type without places. Done by protobuf itself: ten times as fast as a walk in Python."""
    copy: Message = _placeless_type(message.DESCRIPTOR.name)()
    copy.ParseFromString(message.SerializeToString())
    copy.DiscardUnknownFields()
    return copy


@functools.cache
def _placeless_type(name: str) -> Any:
    return message_factory.GetMessageClass(_placeless_pool().FindMessageTypeByName(f"{pb.DESCRIPTOR.package}.{name}"))


@functools.cache
def _placeless_pool() -> descriptor_pool.DescriptorPool:
    """libpg_query's message types, less the fields that hold places."""
    file = descriptor_pb2.FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(file)
    for kind in file.message_type:
        kept = [field for field in kind.field if field.name not in _PLACES]
        del kind.field[:]
        kind.field.extend(kept)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool
