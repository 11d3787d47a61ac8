"""What goes to the server besides the text: transactions, settings, context, parameters; and how to connect."""

from __future__ import annotations

import math
import select
from collections.abc import Sequence
from typing import Any, LiteralString

from psycopg import AsyncConnection, Connection, Error
from psycopg.abc import Buffer
from psycopg.adapt import PyFormat, Transformer
from psycopg.conninfo import conninfo_to_dict

from rlsgen.errors import StatementRefused
from rlsgen.identifiers import Sql, fill, identifiers, join, literal
from rlsgen.spec.model import Spec

MAX_PARAMETERS = 32_767
"""Postgres takes twice as many; the twins need a few."""
READ = b"BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY"
WRITE = b"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
_SETTINGS = {
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "standard_conforming_strings": "on",
    "row_security": "on",
    "client_encoding": "UTF8",
    "idle_in_transaction_session_timeout": "60000",
}
"""What changes how a text is read, whose rows it sees, or how the values that we load are spelled.

Each costs 4 µs, every time. What only a database's owner has a reason to change (xmlbinary, array_nulls...) stays.
"""


def dump(parameters: Sequence[object]) -> tuple[Sequence[Buffer | None], Sequence[int], Sequence[int]]:
    """Values, types and formats as psycopg dumps them, independent of any connection.

    Raises:
        StatementRefused: a value has no form in Postgres.
    """
    if not parameters:
        return (), (), ()
    if len(parameters) > MAX_PARAMETERS:
        message = f"there are {len(parameters):,} parameters, and {MAX_PARAMETERS:,} are allowed"
        raise StatementRefused(message, reason="parameters", hint="bind an array: id = ANY ($1)")
    transformer = Transformer()
    try:
        values = transformer.dump_sequence(parameters, [PyFormat.AUTO] * len(parameters))
    except (Error, ValueError, OverflowError) as error:
        kinds = ", ".join(type(each).__name__ for each in parameters)
        hint = f"they are of the types {kinds}; text must not contain NUL or lone surrogates"
        raise StatementRefused("a parameter has no form in Postgres", reason="parameters", hint=hint) from error
    return values, transformer.types or (), transformer.formats or ()


def connection_settings(dsn: str, timeout: float) -> dict[str, Any]:
    """How psycopg connects: never in a transaction of its own, never preparing by name, and not waiting for ever."""
    settings: dict[str, Any] = {"autocommit": True, "prepare_threshold": None}
    if "connect_timeout" not in conninfo_to_dict(dsn):
        settings["connect_timeout"] = max(2, round(timeout))
    return settings


def is_alive(connection: Connection[Any] | AsyncConnection[Any]) -> bool:
    """Look, without waiting, whether an idle connection is still there: servers say something only before they go."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return not poll.poll(0)


def bounds(text: str) -> None:
    """What cannot even be sent, without the guard.

    Raises:
        StatementRefused: it is empty, or contains what Postgres cannot take.
    """
    if not text.strip():
        raise StatementRefused("the statement is empty", reason="empty", text=text)
    if (nul := text.find("\x00")) >= 0:
        raise StatementRefused("the statement contains a NUL character", reason="text", text=text, offset=nul)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        message = "the statement contains a lone surrogate, which is no character"
        raise StatementRefused(message, reason="text", text=text, offset=error.start) from None


def context_statement(
    spec: Spec, time_zone: str, *, seconds: float | None, lock_seconds: float, token: bool = True
) -> bytes:
    """One SELECT that makes all local settings and, last, the context: `$1` is the token."""
    settings = {
        "search_path": f"pg_catalog, {identifiers(spec.schemas)}, pg_temp",
        "TimeZone": time_zone,
        **_SETTINGS,
        "lock_timeout": f"{math.ceil(lock_seconds * 1000)}",
    }
    if seconds is not None:  # else the server's own stays
        settings["statement_timeout"] = f"{math.ceil(seconds * 1000)}"
    call: LiteralString = "pg_catalog.set_config({}, {}, true)"
    calls = [fill(call, literal(name), literal(value)) for name, value in settings.items()]
    if token:
        calls.append(Sql("rlsgen.set_context($1), pg_catalog.right($1, 43)"))
    return fill("SELECT {}", join(", ", calls)).encode()
