"""Whether a refused statement could have run at all: a misspelled table is refused as well, and that proves nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from psycopg.pq import DiagnosticField, ExecStatus

from rlsgen.errors import StatementRefused
from rlsgen.identifiers import fill, identifiers

if TYPE_CHECKING:
    from rlsgen.testing.database import IsolatedDatabase

_UNREADABLE = ("syntax", "text", "empty", "parameters")
_NAMES = ("relation", "column", "function", "operator", "type")
_UNDEFINED = ("42P01", "42703", "42883", "42704", "3F000")
"""SQLSTATEs of a table, column, function or operator, type, and schema that do not exist."""

_open: list[IsolatedDatabase] = []


@contextmanager
def open_for_tests(database: IsolatedDatabase) -> Iterator[None]:
    """The time in which refusals may be about this database."""
    _open.append(database)
    try:
        yield
    finally:
        _open.remove(database)


def mistake(refusal: StatementRefused, expected: str) -> str:
    """Why nobody could run the statement; empty if somebody could, or where no database is there to be asked.

    Args:
        refusal: what the guard said.
        expected: the reason that the test wants, so that it can ask for a syntax error.
    """
    if refusal.reason in _UNREADABLE:
        return "" if refusal.reason == expected else refusal.message
    if refusal.reason not in _NAMES or not refusal.text:
        return ""
    said = [_undefined(each, refusal.text) for each in _open]
    return said[0] if said and all(said) else ""


def _undefined(database: IsolatedDatabase, text: str) -> str:
    """What the server, which only parses it, does not know of, though it is an administrator who asks."""
    with database.server.administer(database.name) as connection:
        connection.execute(fill("SET search_path = {}", identifiers(database.spec.schemas)).encode())
        result = connection.pgconn.prepare(b"", text.encode())
    if result.status == ExecStatus.COMMAND_OK:
        return ""
    state = result.error_field(DiagnosticField.SQLSTATE) or b""
    message = result.error_field(DiagnosticField.MESSAGE_PRIMARY) or b""
    return message.decode() if state.decode() in _UNDEFINED else ""
