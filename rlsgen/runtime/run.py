"""One statement, from its text to its result or error: what both pools do with it, without I/O."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from psycopg import pq
from psycopg.abc import Buffer

from rlsgen.errors import ContextRefused, LimitReached, QueryTimeout, RlsgenError, StatementRefused, Unhealthy
from rlsgen.runtime import failures
from rlsgen.runtime.audit import Decision
from rlsgen.runtime.conversation import CANCEL_SECONDS, Core, Knowledge, Talk
from rlsgen.runtime.limits import Ticket, Wake
from rlsgen.runtime.result import Result, ResultColumn, Row
from rlsgen.runtime.session import Failed, Flight, Interrupted, Lost, Order, Overdue, Unreadable
from rlsgen.runtime.statement import AppliedFilter, Statement
from rlsgen.runtime.wire import READ, WRITE, bounds, dump

INTERVAL_SECONDS = 0.1
"""How often a waiting statement looks at the clock, and lets Ctrl-C through."""
RECONNECT_SECONDS = 1.0
"""How long connecting is tried before it is begun anew."""
GRACE_SECONDS = 0.5
"""How long the deadline from outside comes after the server's own, which leaves the connection usable."""


class Run:
    """One statement, from its text to its end. A context manager, that audits the end, whatever it is."""

    __slots__ = (
        "_began", "_core", "_flight", "_given", "_known", "_parameters", "_started", "_taken", "_talk", "_waited",
        "statement", "text",
    )  # fmt: skip

    def __init__(self, core: Core, talk: Talk, text: str, parameters: Sequence[object]) -> None:
        self._core = core
        self._talk = talk
        self._given: object = text
        self.text = _text(text)
        self._parameters = parameters
        self.statement: Statement | None = None
        self._known: Knowledge | None = None
        self._flight: Flight | None = None
        self._began = time.time()
        self._started = time.monotonic()
        self._waited = 0.0
        self._taken = 0.0

    def __enter__(self) -> Run:
        self._core.require_open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        decision = _decision(error)
        if self._core.audit.enabled(decision):
            self._record(decision, error)

    def check(self, *, streamed: bool = False) -> None:
        """Let the guard look at the text; what is streamed only reads.

        Raises:
            StatementRefused: it must not run.
            Unhealthy: nothing must run on this database.
        """
        self._known = known = self._core.known
        if not isinstance(self._given, str):
            raise StatementRefused(f"a statement is text (str), not {type(self._given).__name__}", reason="text")
        if not isinstance(self._parameters, list | tuple):
            raise StatementRefused("parameters must be a list or a tuple", reason="parameters", text=self.text)
        if known.guard is not None:
            self.statement = known.guard.check(self.text, len(self._parameters), key=self._talk.key)
            if self.statement.writes and not self._core.writes:
                hint = "the pool was made with writes=False"
                raise StatementRefused("statements may only read here", reason="statement", text=self.text, hint=hint)
        else:
            bounds(self.text)
        if streamed and self.writes:
            message, hint = "a statement that writes is not streamed", "use query()"
            raise StatementRefused(message, reason="statement", text=self.text, hint=hint)

    def enter(self, wake: Wake) -> Ticket:
        """Line up for a turn.

        Raises:
            LimitReached: too many came before.
        """
        return self._core.admission.enter(self._talk.key, time.monotonic(), wake)

    def starved(self) -> LimitReached:
        """No turn came in time."""
        waited = time.monotonic() - self._started
        turns = self._core.options.max_size
        if self._core.admission.running >= turns:
            message = f"all {turns} connections of this pool were busy for {waited:.1f} s"
            return LimitReached(message, limit="pool", hint="try again later, or make the pool larger")
        concurrent = self._core.limits.concurrent
        share = f"{concurrent} at a time are allowed" if concurrent is not None else "the other turns are for others"
        message = f"no statement of this {self._core.limits.per} ended for {waited:.1f} s, and {share}"
        return LimitReached(message, limit="concurrent", hint="try again when one of them is done")

    @property
    def patience(self) -> float:
        """Seconds that are left to wait for a turn and a connection."""
        return max(0.0, self._core.options.timeout - (time.monotonic() - self._started))

    @property
    def writes(self) -> bool:
        """Whether the transaction is READ WRITE and committed."""
        if self.statement is not None:
            return self.statement.writes
        return self._core.writes

    def fly(self, pgconn: pq.abc.PGconn) -> Flight:
        """The flight on a connection: the clock of the limits starts."""
        self._taken = time.monotonic()
        self._waited = self._taken - self._started
        self._flight = Flight(pgconn, self.order(), self._core.adapters)
        return self._flight

    def order(self) -> Order:
        """What is sent."""
        core, known = self._core, self._known
        assert known is not None, "check comes first"  # noqa: S101
        limits, statement = core.limits, self.statement
        values, types, formats = self._values()
        return Order(
            begin=WRITE if self.writes else READ,
            context=core.sealed,
            text=statement.sql.encode() if statement is not None else self.text.encode(),
            token=core.token(self._talk, known.fields),
            values=values,
            types=types,
            formats=formats,
            commit=self.writes,
            discard=statement is None,
            rows=limits.rows,
            bytes=limits.bytes,
            deadline=self._taken + limits.seconds + GRACE_SECONDS if limits.seconds is not None else None,
        )

    @property
    def remaining(self) -> float | None:
        """Seconds until the deadline from outside; None without a limit."""
        seconds = self._core.limits.seconds
        return None if seconds is None else max(0.0, self._taken + seconds + GRACE_SECONDS - time.monotonic())

    @property
    def columns(self) -> tuple[ResultColumn, ...]:
        """Of the result, as soon as the flight knows them."""
        if self._flight is None or self._known is None:
            return ()
        return self._known.names.columns(self._flight.fields)

    @property
    def filters(self) -> tuple[AppliedFilter, ...]:
        """What decided about rows, as the guard knows it."""
        return self.statement.filters if self.statement is not None else ()

    def result(self, rows: list[Row]) -> Result:
        """The result, once the flight has ended."""
        flight = self._flight
        assert flight is not None, "fly comes first"  # noqa: S101
        count = flight.affected if flight.affected is not None and not flight.fields else flight.row_count
        return Result(
            rows=rows,
            columns=self.columns,
            filters=self.filters,
            truncated=flight.truncated,
            elapsed=time.monotonic() - self._taken,
            command=flight.command,
            row_count=count,
        )

    def locating(self, failed: Failed) -> Order | None:
        """An order that asks for the true place of an error: what ran is a deparse, the caller knows the original."""
        if failed.step != "text" or failed.diagnosis.position is None or self.statement is None:
            return None
        if self.statement.sql == self.text:
            return None
        _, types, _ = dump(self._parameters)
        return Order(
            READ, self._core.plain, self.text.encode(), types=types, parse_only=True,
            deadline=time.monotonic() + CANCEL_SECONDS,
        )  # fmt: skip

    def failed(self, failed: Failed, located: Failed | None = None) -> RlsgenError:
        """Ours for an error of the server; `located` is what the order of `locating` failed with."""
        position = failed.diagnosis.position if self.statement is None or self.statement.sql == self.text else None
        if located is not None and located.diagnosis.sqlstate == failed.diagnosis.sqlstate:
            position = located.diagnosis.position
            failed = located if located.step == "text" else failed
        known, elapsed = self._known, time.monotonic() - self._taken
        schema = known.schema if known is not None else None
        seconds = self._core.limits.seconds
        offset = position - 1 if position is not None else None
        case = failures.Case(self.text, self.statement, schema, seconds, elapsed, self.writes, offset)
        return failures.explain(failed, case)

    def interrupted(self, error: Interrupted) -> RlsgenError:
        """Ours for a flight that did not come to its end, once the connection was cancelled and closed."""
        flight = self._flight
        sent = flight is not None and flight.sent
        hint = ""
        if self.writes and sent and flight is not None:
            ended = {b"COMMIT": "its changes were committed", b"ROLLBACK": "nothing was changed"}
            hint = ended.get(flight.ended, failures.UNKNOWN_HINT)
        if isinstance(error, Overdue):
            return failures.timeout(self._core.limits.seconds or 0.0, hint=hint)
        if isinstance(error, Unreadable):
            return failures.unreadable()
        if isinstance(error, Lost):
            return failures.lost(writes=self.writes and sent)
        return failures.surprise(self.text)

    def _values(self) -> tuple[Sequence[Buffer | None], Sequence[int], Sequence[int]]:
        values, types, formats = dump(self._parameters)
        if self.statement is None or not self.statement.twins:
            return values, types, formats
        twins = self.statement.twins
        context = self._talk.context
        bound = [None if (value := context.get(each.field)) is None else str(value).encode() for each in twins]
        return [*values, *bound], [*types, *(each.type_oid for each in twins)], [*formats, *([0] * len(twins))]

    def _record(self, decision: Decision, error: BaseException | None) -> None:
        flight, known = self._flight, self._known
        reason = getattr(error, "reason", "") or getattr(error, "limit", "") or (type(error).__name__ if error else "")
        event = self._core.audit.event(
            self.text,
            self.statement,
            time=self._began,
            conversation=self._talk.id,
            user=self._talk.user,
            context=self._talk.context,
            decision=decision,
            reason=reason,
            sqlstate=getattr(error, "sqlstate", ""),
            rows=flight.row_count if flight is not None else None,
            bytes=flight.bytes if flight is not None else None,
            truncated=flight.truncated if flight is not None else False,
            elapsed_ms=(time.monotonic() - self._taken) * 1000 if flight is not None else None,
            waited_ms=self._waited * 1000 if known is not None else None,
        )
        self._core.audit.record(event)


def _text(given: object) -> str:
    return given if isinstance(given, str) else ""


def _decision(error: BaseException | None) -> Decision:
    match error:
        case None:
            return "allowed"
        case LimitReached():
            return "limited"
        case QueryTimeout():
            return "timeout"
        case StatementRefused() | ContextRefused() | Unhealthy():
            return "refused"
        case _:
            return "failed"
