"""Statements in a transaction that goes on: flights without an end, and ends of their own. No I/O."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from psycopg import Error, OperationalError, capabilities, pq
from psycopg.abc import AdaptContext, Buffer, PQGen
from psycopg.adapt import AdaptersMap, PyFormat, Transformer
from psycopg.pq import TransactionStatus
from psycopg.waiting import Ready, Wait

from rlsgen.errors import QueryFailed, RlsgenError, StatementError, StatementRefused
from rlsgen.runtime import failures
from rlsgen.runtime.conversation import Core, Talk
from rlsgen.runtime.run import GRACE_SECONDS, Run
from rlsgen.runtime.session import CHUNK, Failed, Flight, Lost, Order, Row, Surprise

END_SECONDS = 30.0
"""How long COMMIT, ROLLBACK and savepoints may take before the connection is given up."""

_CHUNKS = capabilities.has_stream_chunked()
_ENDS = frozenset(["COMMIT", "ROLLBACK", "BEGIN", "START TRANSACTION", "PREPARE TRANSACTION"])
_INSIDE = frozenset([TransactionStatus.INTRANS, TransactionStatus.INERROR])
_TEXT_OID = (25,)


class Adapted(AdaptContext):
    """How one dialect's values become Postgres' and back, independent of any connection."""

    def __init__(self, adapters: AdaptersMap) -> None:
        self._adapters = adapters

    @property
    def adapters(self) -> AdaptersMap:
        """The dialect's."""
        return self._adapters

    @property
    def connection(self) -> None:
        """None: nothing that a session has set matters."""
        return


class Leg(Flight):
    """One statement: `order.begin` and the context go ahead of it unless it is empty, and no end follows.

    `clean` is true afterwards if the transaction is open still, failed or not. `ours`: the text is a savepoint's.
    """

    __slots__ = ("_first", "_ours")

    def __init__(self, pgconn: pq.abc.PGconn, order: Order, adapted: AdaptContext, *, ours: bool = False) -> None:
        super().__init__(pgconn, order, adapted)
        self._first = bool(order.begin)
        self._ours = ours

    def begin(self) -> PQGen[list[Row] | None]:
        """Send everything, and read up to the first rows; None if there are none to come."""
        if self._first:
            return (yield from super().begin())
        yield from self._send()
        if _CHUNKS:
            self._pgconn.set_chunked_rows_mode(CHUNK)
        else:
            self._pgconn.set_single_row_mode()
        return (yield from self.rows())

    def end(self) -> PQGen[None]:
        """Read what follows the text."""
        if self.cut:
            return
        yield from self._sync()
        self._pgconn.exit_pipeline_mode()
        if not self._ours and self.command in _ENDS:
            raise Surprise
        self.clean = self._pgconn.transaction_status in _INSIDE
        if self._failure is not None:
            raise self._failure

    def _send(self) -> PQGen[None]:
        order, pgconn = self._order, self._pgconn
        try:
            pgconn.enter_pipeline_mode()
            if self._first:
                pgconn.send_query_params(order.begin, None)
                pgconn.send_query_params(order.context, [order.token], _TEXT_OID)
            pgconn.send_query_params(order.text, order.values, order.types, order.formats)
            pgconn.pipeline_sync()
            self.sent = True
            while pgconn.flush():
                ready = yield Wait.RW
                if ready & Ready.R:
                    pgconn.consume_input()
                self._hurry(order.deadline)
        except OperationalError as error:
            raise Lost from error


class Ending(Flight):
    """COMMIT or ROLLBACK (`order.begin`), by itself; `ended` says which of them the server did."""

    __slots__ = ()

    def __init__(self, pgconn: pq.abc.PGconn, what: bytes, *, discard: bool) -> None:
        super().__init__(pgconn, Order(what, b"", b"", discard=discard, deadline=time.monotonic() + END_SECONDS))

    def go(self) -> PQGen[None]:
        """Send it, and read the answer."""
        yield from self._send()
        yield from self._step("end")
        yield from self._sync()
        if self._order.discard:
            yield from self._step("discard")
            yield from self._sync()
        self._pgconn.exit_pipeline_mode()
        self.clean = self._pgconn.transaction_status == TransactionStatus.IDLE
        if self._failure is not None:
            self.clean = self.clean and self._failure.step == "end"
            raise self._failure

    def _send(self) -> PQGen[None]:
        order, pgconn = self._order, self._pgconn
        try:
            pgconn.enter_pipeline_mode()
            pgconn.send_query_params(order.begin, None)
            pgconn.pipeline_sync()
            if order.discard:
                pgconn.send_query_params(b"DISCARD ALL", None)
                pgconn.pipeline_sync()
            self.sent = True
            while pgconn.flush():
                yield Wait.W
                self._hurry(order.deadline)
        except OperationalError as error:
            raise Lost from error


class Step(Run):
    """One call of SQLAlchemy's: a text with parameters, or with several sets of them."""

    __slots__ = ("_adapted",)

    def __init__(self, core: Core, talk: Talk, text: str, parameters: Sequence[object], adapted: AdaptContext) -> None:
        super().__init__(core, talk, text, parameters)
        self._adapted = adapted

    def __enter__(self) -> Step:
        super().__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """As of every statement; a stream that is left before its end was allowed all the same."""
        super().__exit__(kind, None if isinstance(error, GeneratorExit) else error, at)

    @property
    def writes(self) -> bool:
        """False: what it writes stands only once the transaction is committed, and goes with the connection."""
        return False

    def leg(self, pgconn: pq.abc.PGconn, begin: bytes, parameters: Sequence[object]) -> Leg:
        """The flight on a connection: the clock of the limits starts. `begin` is empty within a transaction."""
        self._parameters = parameters
        core, known, statement = self._core, self._core.known, self.statement
        values, types, formats = self._values()
        self._taken = time.monotonic()
        self._waited = self._waited or self._taken - self._started
        seconds = core.limits.seconds
        order = Order(
            begin=begin,
            context=core.sealed,
            text=(self.text if statement is None else statement.sql).encode(),
            token=core.token(self._talk, known.fields) if begin else None,
            values=values,
            types=types,
            formats=formats,
            rows=core.limits.rows,
            bytes=core.limits.bytes,
            deadline=None if seconds is None else self._taken + seconds + GRACE_SECONDS,
        )
        self._flight = leg = Leg(pgconn, order, self._adapted)
        return leg

    def failed(self, failed: Failed, located: Failed | None = None) -> RlsgenError:
        """Ours for an error of the server. Places in the text are known where the text itself ran."""
        if failed.diagnosis.sqlstate == "25P02":
            message = "an earlier statement of this transaction failed"
            return QueryFailed(message, sqlstate="25P02", text=self.text, hint="roll back, and begin anew")
        return super().failed(failed, located)

    def too_much(self, leg: Leg) -> StatementError:
        """The limits of rows or bytes cut it. Half an answer would pass for a whole one here, so it is none."""
        limits = self._core.limits
        full = limits.rows is not None and leg.row_count >= limits.rows
        most = f"{limits.rows:,} rows" if full else f"{limits.bytes:,} bytes"
        return StatementError(f"the answer has more than {most}", text=self.text, hint="add a LIMIT, or aggregate")

    def _values(self) -> tuple[Sequence[Buffer | None], Sequence[int], Sequence[int]]:
        values, types, formats = _dump(self._parameters, self._adapted)
        twins = self.statement.twins if self.statement is not None else ()
        context = self._talk.context
        bound = [None if (value := context.get(each.field)) is None else str(value).encode() for each in twins]
        return [*values, *bound], [*types, *(each.type_oid for each in twins)], [*formats, *([0] * len(twins))]


def end_failed(core: Core, failed: Failed, what: str) -> RlsgenError:
    """Ours for a COMMIT, ROLLBACK or savepoint that failed: a deferred constraint, a serialization failure."""
    schema = core.known.schema
    return failures.explain(failed, failures.Case(what, None, schema, None, 0.0, writes=what == "COMMIT"))


def _dump(
    parameters: Sequence[object], adapted: AdaptContext
) -> tuple[Sequence[Buffer | None], Sequence[int], Sequence[int]]:
    if not parameters:
        return (), (), ()
    transformer = Transformer(adapted)
    try:
        values = transformer.dump_sequence(parameters, [PyFormat.AUTO] * len(parameters))
    except (Error, ValueError, OverflowError) as error:
        kinds = ", ".join(type(each).__name__ for each in parameters)
        hint = f"they are of the types {kinds}; text must not contain NUL or lone surrogates"
        raise StatementRefused("a parameter has no form in Postgres", reason="parameters", hint=hint) from error
    return values, transformer.types or (), transformer.formats or ()
