"""Which relations a statement reads or writes, by its syntax tree. What only changes the schema touches no rows."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import postgast
from google.protobuf.message import DecodeError, Message
from postgast import pg_query_pb2 as pb

from rlsgen.identifiers import Sql, identifier
from rlsgen.runtime.guard.deep import deep

_WITH_ROWS = (
    pb.SelectStmt, pb.InsertStmt, pb.UpdateStmt, pb.DeleteStmt, pb.MergeStmt, pb.CopyStmt, pb.TruncateStmt,
    pb.ExplainStmt, pb.PrepareStmt, pb.DeclareCursorStmt, pb.CreateTableAsStmt,
)  # fmt: skip


@functools.lru_cache(maxsize=1024)
def touched(text: str) -> frozenset[Sql] | None:
    """The relations as they are written, quoted for Postgres; None if it is nested too deeply to be read.

    What is no SQL touches nothing: the server will say so. What a function or a named prepared statement does inside
    is not in the text, and not found here.
    """
    try:
        return deep(lambda: frozenset(_relations(postgast.parse(text))))
    except postgast.PgQueryError:
        return frozenset()
    except DecodeError:  # protobuf reads 100 levels of messages
        return None


def _relations(tree: Any) -> Iterator[Sql]:
    for statement in tree.stmts:
        inner = postgast.unwrap_node(statement.stmt)
        if isinstance(inner, _WITH_ROWS):
            yield from _walk(inner, frozenset())


def _walk(message: Message, hidden: frozenset[str]) -> Iterator[Sql]:
    """Every relation under a node but the WITH queries that are in scope there: `hidden`."""
    if isinstance(message, pb.RangeVar):
        if message.schemaname or message.relname not in hidden:
            name = identifier(message.relname)
            yield Sql(f"{identifier(message.schemaname)}.{name}") if message.schemaname else name
        return
    inner = hidden
    if "with_clause" in message.DESCRIPTOR.fields_by_name and message.HasField("with_clause"):
        clause: Any = message.with_clause  # type: ignore[attr-defined]
        names = [each.common_table_expr.ctename for each in clause.ctes]
        for number, each in enumerate(clause.ctes):  # without RECURSIVE, a WITH query sees those before it
            before = names if clause.recursive else names[:number]
            yield from _walk(each.common_table_expr, hidden.union(before))
        inner = hidden.union(names)
    for field, value in message.ListFields():
        if field.message_type is None or field.name in ("with_clause", "into", "into_clause"):  # INTO makes a new table
            continue
        written = field.name == "relation"  # of INSERT, UPDATE, DELETE, MERGE and COPY: never a WITH query
        nodes: Any = (value,) if isinstance(value, Message) else value
        for child in nodes:
            if isinstance(child, Message):
                yield from _walk(child, frozenset() if written else inner)
