"""One message to a raw connection, as an attacker would send it, and everything that comes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import pq, waiting
from psycopg.generators import fetch, send

CANCEL_SECONDS = 5.0
INTERVAL_SECONDS = 0.1  # how often Ctrl-C is looked for
_FAILED = (pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.PIPELINE_ABORTED)


@dataclass(frozen=True, slots=True)
class Reply:
    """The rows of the last result (lines of a COPY count as rows), and the SQLSTATE of the error; empty if none."""

    rows: tuple[tuple[str | None, ...], ...]
    state: str


def message(connection: psycopg.Connection[Any], text: str, *, extended: bool) -> Reply:
    """Send a text by the simple protocol, or as one statement of the extended one, and read the reply to its end.

    Raises:
        psycopg.OperationalError: the connection was lost.
    """
    raw = connection.pgconn
    if extended:
        raw.send_query_params(text.encode(), None)
    else:
        raw.send_query(text.encode())
    try:
        return _reply(raw)
    except BaseException:
        if not connection.closed:  # Ctrl-C, mostly: the server must not go on with it
            connection.cancel_safe(timeout=CANCEL_SECONDS)
        raise


def _reply(raw: pq.abc.PGconn) -> Reply:
    rows: tuple[tuple[str | None, ...], ...] = ()
    state = ""
    waiting.wait(send(raw), raw.socket, INTERVAL_SECONDS)
    while (result := waiting.wait(fetch(raw), raw.socket, INTERVAL_SECONDS)) is not None:
        if result.status == pq.ExecStatus.COPY_OUT:
            rows = _copied(raw)
        elif result.status == pq.ExecStatus.COPY_IN:
            raw.put_copy_end(b"nothing to copy")
        elif result.status in _FAILED:
            state = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"?????").decode()
        elif result.status == pq.ExecStatus.TUPLES_OK:
            rows = tuple(_row(result, number) for number in range(result.ntuples))
    return Reply(rows, state)


def _row(result: pq.abc.PGresult, number: int) -> tuple[str | None, ...]:
    cells = (result.get_value(number, column) for column in range(result.nfields))
    return tuple(None if cell is None else cell.decode(errors="replace") for cell in cells)


def _copied(raw: pq.abc.PGconn) -> tuple[tuple[str | None, ...], ...]:
    lines: list[tuple[str | None, ...]] = []
    while True:
        length, data = raw.get_copy_data(0)
        if length <= 0:
            return tuple(lines)
        lines.append((bytes(data).decode(errors="replace").rstrip("\n"),))
