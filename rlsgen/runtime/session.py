"""One statement on one connection, without I/O: what is sent in one flight, what comes back, and how it ends.

The flight is `BEGIN`, the settings and the context, the text, Sync, `ROLLBACK` or `COMMIT`, Sync: unnamed statements of
the extended protocol in libpq's pipeline mode. Generators yield what they wait for and get what is ready, as psycopg's
own do; a thread or an event loop drives them (docs/runtime.md).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg import Error, OperationalError, capabilities, pq
from psycopg.abc import AdaptContext, Buffer, PQGen
from psycopg.adapt import Transformer
from psycopg.waiting import Ready, Wait

Row = tuple[Any, ...]
CHUNK = 200
"""Rows that arrive at a time, where libpq has chunks (from 17 on); elsewhere they come one by one."""

SIGNATURE = 43
"""Characters at a token's end that the context statement gives back: no two tokens are the same, and it names one."""

_CHUNKS = capabilities.has_stream_chunked()
_Status = pq.ExecStatus
_Transaction = pq.TransactionStatus
_SOME_ROWS = frozenset([_Status.SINGLE_TUPLE, _Status.TUPLES_CHUNK])
_BAD = frozenset([_Status.FATAL_ERROR, _Status.BAD_RESPONSE])
_COPY = frozenset([_Status.COPY_IN, _Status.COPY_OUT, _Status.COPY_BOTH])
_ENDS = frozenset([b"COMMIT", b"ROLLBACK", b"BEGIN", b"START TRANSACTION", b"PREPARE TRANSACTION"])
_TEXT_OID = (25,)
_WIDTHS = dict.fromkeys((16, 18, 20, 21, 23, 26, 700, 701, 1082, 1083, 1114, 1184, 1266), 8) | {2950: 16}


class Interrupted(Exception):
    """The flight did not come to its end: cancel it from outside, and close the connection."""


class Overdue(Interrupted):
    """The deadline passed."""


class Lost(Interrupted):
    """The connection broke."""


class Surprise(Interrupted):
    """The text did what no statement in a conversation may: COPY, or end the transaction that holds its context."""


class Unreadable(Interrupted):
    """A value has no Python form: a date before Christ, JSON nested too deeply."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """An error of the server: what we use of it. Detail, hint and context are never read."""

    sqlstate: str
    message: str
    position: int | None  # in characters of what was sent, from 1
    column: str
    function: str  # in the server's source: the same in all languages

    @classmethod
    def of(cls, result: pq.abc.PGresult) -> Diagnosis:
        """From an error result; what is not UTF-8 is replaced."""

        def read(code: pq.DiagnosticField) -> str:
            return (result.error_field(code) or b"").decode(errors="replace")

        position = read(pq.DiagnosticField.STATEMENT_POSITION)
        return cls(
            sqlstate=read(pq.DiagnosticField.SQLSTATE),
            message=read(pq.DiagnosticField.MESSAGE_PRIMARY),
            position=int(position) if position else None,
            column=read(pq.DiagnosticField.COLUMN_NAME),
            function=read(pq.DiagnosticField.SOURCE_FUNCTION),
        )


class Failed(Exception):
    """The server refused a step: begin, context, text or end. Whether the connection lives says `Flight.clean`."""

    def __init__(self, step: str, diagnosis: Diagnosis) -> None:
        super().__init__(step)
        self.step = step
        self.diagnosis = diagnosis


@dataclass(frozen=True, slots=True)
class Order:
    """What to send, and how much of the answer to take."""

    begin: bytes
    context: bytes  # the settings, and the context if there is a token, as $1
    text: bytes
    token: bytes | None = field(default=None, repr=False)
    values: Sequence[Buffer | None] = field(default=(), repr=False)
    types: Sequence[int] = ()
    formats: Sequence[int] = ()
    commit: bool = False
    discard: bool = False  # DISCARD ALL in the same flight
    parse_only: bool = False
    rows: int | None = None
    bytes: int | None = None
    deadline: float | None = None  # of time.monotonic()


class Flight:
    """One order on one connection: `begin`, then `rows` until it gives None, then `end`; or `run`, which is all three.

    Each raises Failed (after `end` was done) or Interrupted. Unless `clean` is true afterwards, the connection must not
    be used again; if `cut` is true, rows are still coming.
    """

    __slots__ = (
        "_done", "_failure", "_order", "_pgconn", "_transformer", "_weighed",
        "affected", "bytes", "clean", "command", "cut", "ended", "fields", "row_count", "sent", "truncated",
    )  # fmt: skip

    def __init__(self, pgconn: pq.abc.PGconn, order: Order, adapters: AdaptContext | None = None) -> None:
        self._pgconn = pgconn
        self._order = order
        self._transformer = Transformer(adapters)
        self._failure: Failed | None = None
        self._done = False  # nothing more of the text's answer is to come
        self._weighed: tuple[int, ...] = ()  # columns whose values' bytes are counted one by one
        self.sent = False  # all of it: the server may do it
        self.clean = False  # the connection is idle, and in no pipeline
        self.cut = False
        self.truncated = False
        self.ended = b""  # COMMIT or ROLLBACK, as the server says
        self.command = ""  # SELECT, INSERT... as the server says
        self.affected: int | None = None  # rows that it returned or wrote, as the server says
        self.row_count = 0  # rows that were taken
        self.bytes = 0  # of values that were taken, counted if there is a limit
        self.fields: tuple[tuple[str, int], ...] = ()  # name, type's oid

    def run(self) -> PQGen[list[Row]]:
        """All of it at once: the rows."""
        rows = yield from self.begin()
        if rows is None:
            rows = []
        else:
            while (more := (yield from self.rows())) is not None:
                rows += more
        yield from self.end()
        return rows

    def begin(self) -> PQGen[list[Row] | None]:
        """Send everything, and read up to the first rows; None if there are none to come."""
        yield from self._send()
        try:
            began = yield from self._step("begin")
        except Surprise as error:
            raise Lost from error
        if self._failure is None and began.command_status != b"BEGIN":
            # Not the text's doing: a pooler gave us the answer to somebody else's DISCARD ALL (PgBouncer 1.18 did).
            raise Lost
        sealed = yield from self._step("context")
        token = self._order.token
        # The answer must be to this very token: PgBouncer 1.18 can give one client's answers to another.
        if (
            token is not None
            and self._failure is None
            and (sealed.get_value(0, sealed.nfields - 1) != token[-SIGNATURE:])
        ):
            raise Lost
        if self._failure is None and not self._order.parse_only:
            if _CHUNKS:
                self._pgconn.set_chunked_rows_mode(CHUNK)
            else:
                self._pgconn.set_single_row_mode()
            return (yield from self.rows())
        yield from self._step("text")
        self._done = True
        return None

    def rows(self) -> PQGen[list[Row] | None]:
        """The next rows, within the limits; None after the last ones."""
        if self._done or self.cut:
            return None
        result = yield from self._result()
        if result is None or (status := result.status) in _COPY:
            raise self._astray()
        if status in _BAD:
            self._failure = Failed("text", Diagnosis.of(result))
        elif status == _Status.EMPTY_QUERY:  # an answer without an error, which would look like "no rows"
            self._failure = Failed("text", Diagnosis("42601", "the statement is empty", None, "", ""))
        elif status in _SOME_ROWS or result.ntuples:
            self._describe(result)
            self._conclude(result)
            return self._take(result)
        else:
            self._describe(result)
            self._conclude(result)
        if (more := (yield from self._result())) is not None:
            raise self._astray(more)
        self._done = True
        return None

    def end(self) -> PQGen[None]:
        """Read what follows the text."""
        while not self._done and self._order.commit:  # more rows than are taken: what the statement did stands
            yield from self.rows()
        if self.cut:
            return
        yield from self._sync()
        yield from self._step("end")
        yield from self._sync()
        kept = self._order.discard and not (yield from self._discarded())
        self._pgconn.exit_pipeline_mode()
        if self.command.encode() in _ENDS:
            raise Surprise
        self.clean = self._pgconn.transaction_status == _Transaction.IDLE and not kept
        if self._failure is not None:
            raise self._failure

    def settle(self, deadline: float) -> PQGen[None]:
        """After an interruption and a cancel: read on until `ended` says what became of a write, or nobody can."""
        while not self.ended:
            result = yield from self._result(deadline)
            if result is None:
                continue
            if result.status in _COPY:
                return
            if result.command_status in _ENDS:
                self.ended = result.command_status or b""

    def _send(self) -> PQGen[None]:
        order, pgconn = self._order, self._pgconn
        try:
            pgconn.enter_pipeline_mode()
            pgconn.send_query_params(order.begin, None)
            if order.token is None:
                pgconn.send_query_params(order.context, None)
            else:
                pgconn.send_query_params(order.context, [order.token], _TEXT_OID)
            if order.parse_only:
                pgconn.send_prepare(b"", order.text, order.types)
            else:
                pgconn.send_query_params(order.text, order.values, order.types, order.formats)
            pgconn.pipeline_sync()
            pgconn.send_query_params(b"COMMIT" if order.commit else b"ROLLBACK", None)
            pgconn.pipeline_sync()
            if order.discard:
                pgconn.send_query_params(b"DISCARD ALL", None)
                pgconn.pipeline_sync()
            self.sent = True
            while pgconn.flush():
                ready = yield Wait.RW
                if ready & Ready.R:
                    pgconn.consume_input()
                self._hurry(order.deadline)
        except OperationalError as error:
            raise Lost from error

    def _result(self, deadline: float | None = None) -> PQGen[pq.abc.PGresult | None]:
        pgconn = self._pgconn
        try:
            while pgconn.is_busy():
                ready = yield Wait.R
                if ready:
                    pgconn.consume_input()
                self._hurry(deadline or self._order.deadline)
            return pgconn.get_result()
        except OperationalError as error:
            raise self._astray() from error

    def _step(self, name: str) -> PQGen[pq.abc.PGresult]:
        """One statement of ours, which returns nothing that matters."""
        result = yield from self._result()
        if result is None:
            raise self._astray()
        if result.status in _BAD and self._failure is None:
            self._failure = Failed(name, Diagnosis.of(result))
        elif name == "end" and not self.ended:
            self.ended = result.command_status or b""
        if (more := (yield from self._result())) is not None:
            raise self._astray(more)
        return result

    def _discarded(self) -> PQGen[bool]:
        """Whether DISCARD ALL did its work; else that is no error of the statement, but the connection is not clean."""
        result = yield from self._result()
        if result is None or (yield from self._result()) is not None:
            raise self._astray()
        yield from self._sync()
        return result.status == _Status.COMMAND_OK

    def _sync(self) -> PQGen[None]:
        result = yield from self._result()
        if result is None or result.status != _Status.PIPELINE_SYNC:
            raise self._astray(result)

    def _astray(self, result: pq.abc.PGresult | None = None) -> Exception:
        """What to raise where the answer is another than must come: the connection broke, or the text broke the rules.

        The server's, or a pooler's, last words are the reason if there were any: an administrator ended it, or it is
        short of memory. But not about a COMMIT: what became of that is not known.
        """
        if self._failure is None and result is not None and result.status in _BAD:
            self._failure = Failed("end", Diagnosis.of(result))
        failure = self._failure
        if failure is not None and failure.diagnosis.sqlstate and not (failure.step == "end" and self._order.commit):
            return failure
        return Surprise() if failure is None and self._pgconn.status == pq.ConnStatus.OK else Lost()

    @staticmethod
    def _hurry(deadline: float | None) -> None:
        if deadline is not None and time.monotonic() > deadline:
            raise Overdue

    def _describe(self, result: pq.abc.PGresult) -> None:
        if self.fields:
            return
        self.fields = tuple(
            ((result.fname(index) or b"").decode(errors="replace"), result.ftype(index))
            for index in range(result.nfields)
        )
        self._weighed = tuple(index for index, (_, oid) in enumerate(self.fields) if oid not in _WIDTHS)
        self._transformer.set_pgresult(result)

    def _conclude(self, result: pq.abc.PGresult) -> None:
        """The command's tag, if this is the last result: a chunk that is not full, or an empty one."""
        if tag := result.command_status:
            self.command = tag.rstrip(b"0123456789 ").decode(errors="replace")
            self.affected = result.command_tuples

    def _take(self, result: pq.abc.PGresult) -> list[Row]:
        """The rows of a result as Python values, as many as the limits leave."""
        order, number = self._order, result.ntuples
        if self.truncated:
            number = 0
        if order.rows is not None and self.row_count + number > order.rows:
            number = order.rows - self.row_count
            self.truncated = True
        if order.bytes is not None:
            number = self._weigh(result, number, order.bytes)
        self.cut = self.truncated and not order.commit
        self.row_count += number
        try:
            self._transformer.set_pgresult(result, set_loaders=False)
            return self._transformer.load_rows(0, number, tuple)
        except (Error, ValueError, ArithmeticError, RecursionError) as error:
            raise Unreadable(str(error)) from error

    def _weigh(self, result: pq.abc.PGresult, number: int, most: int) -> int:
        """How many rows fit into so many bytes."""
        fixed = sum(_WIDTHS.get(oid, 0) for _, oid in self.fields)
        value_of, columns, taken = result.get_value, self._weighed, self.bytes
        for row in range(number):
            weight = fixed
            for column in columns:
                if value := value_of(row, column):
                    weight += len(value)
            if taken + weight > most:
                self.bytes, self.truncated = taken, True
                return row
            taken += weight
        self.bytes = taken
        return number
