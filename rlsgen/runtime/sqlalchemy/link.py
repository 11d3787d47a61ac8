"""A connection and its cursors as SQLAlchemy sees them (PEP 249): every transaction sealed, every statement guarded."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any

from psycopg.pq import TransactionStatus
from sqlalchemy.engine.interfaces import IsolationLevel

from rlsgen.errors import Closed, ContextRefused, QueryFailed, RlsgenError, StatementRefused
from rlsgen.identifiers import fill, identifier
from rlsgen.runtime import failures
from rlsgen.runtime.session import Failed, Interrupted, Order, Row
from rlsgen.runtime.sqlalchemy.legs import END_SECONDS, Adapted, Ending, Leg, Step, end_failed
from rlsgen.runtime.sqlalchemy.source import Block, Source, current, showing
from rlsgen.runtime.wire import is_alive

LEVELS: tuple[IsolationLevel, ...] = ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE", "READ UNCOMMITTED")
_IDLE, _FAILED = TransactionStatus.IDLE, TransactionStatus.INERROR
Arrival = tuple[Leg, list[Row]]


class Link:
    """One connection. A transaction begins with its first statement and belongs to the block that made it.

    It is closed for good by whatever interrupts a statement: SQLAlchemy's pool opens another one.
    """

    def __init__(self, source: Source, adapted: Adapted) -> None:
        self._source = source
        self._adapted = adapted
        self._connection = source.connect()
        self._free = threading.Lock()  # held while a statement runs, or its rows are coming
        self._owner: Block | None = None  # whose transaction is open
        self._stream: Cursor | None = None
        self._unguarded = False  # something ran in this transaction that the guard had not seen
        self.level = LEVELS[0]
        self.read_only = not source.writes

    # What SQLAlchemy calls

    @property
    def closed(self) -> bool:
        """Whether nothing can be done with it any more."""
        return bool(self._connection.closed)

    @property
    def server_version(self) -> int:
        """180006 for 18.6."""
        return int(self._connection.info.server_version)

    def cursor(self, streaming: bool = False) -> Cursor:
        """A cursor; `streaming`: rows are fetched as they are asked for."""
        return Cursor(self, streaming)

    def commit(self) -> None:
        """End the transaction; if it could write, what it wrote stands.

        Raises:
            ContextRefused: the block that it belongs to was left; it is rolled back.
            QueryFailed: it was not committed, or that is unknown.
        """
        with showing():
            if self._owner is None or self.read_only or self._status == _IDLE:
                self.rollback()
                return
            obstacle = self._obstacle(self._owner)
            if obstacle is not None:
                self.rollback()
                raise obstacle
            self._end(b"COMMIT")

    def rollback(self) -> None:
        """End the transaction without a trace. Needs no block."""
        with showing():
            if self._stream is not None:
                self._stream.close()
            if self.closed or (self._status == _IDLE and not self._unguarded):
                self._owner = None
                return
            self._end(b"ROLLBACK")

    def savepoint(self, verb: str, name: str) -> None:
        """SAVEPOINT, RELEASE or ROLLBACK TO, as ORM sessions do it."""
        templates = {
            "savepoint": fill("SAVEPOINT {}", identifier(name)),
            "release": fill("RELEASE SAVEPOINT {}", identifier(name)),
            "rollback": fill("ROLLBACK TO SAVEPOINT {}", identifier(name)),
        }
        with showing(), self._occupied():
            block = self._mine(free=verb == "rollback")
            order = self._opening(block, templates[verb].encode())
            leg = Leg(self._connection.pgconn, order, self._adapted, ours=True)
            try:
                self._drive(leg.run())
            except Failed as failed:
                raise end_failed(self._source.core, failed, verb) from None
            except Interrupted:
                raise failures.lost(writes=False) from None
            finally:
                self._keep(leg.clean)

    def close(self) -> None:
        """Close it; what still runs is cancelled first."""
        if not self.closed and self._connection.pgconn.transaction_status == TransactionStatus.ACTIVE:
            self._source.shell.abort(self._connection)
        self._connection.pgconn.finish()
        self._owner = None

    def terminate(self) -> None:
        """Close it at once, without waiting for anything."""
        self._connection.pgconn.finish()
        self._owner = None

    def alive(self) -> bool:
        """Whether it looks alive, without asking the server."""
        if not self.closed and not is_alive(self._connection):
            self.terminate()
        return not self.closed

    # What cursors call

    def work(self, text: str, sets: Sequence[Sequence[object]]) -> Generator[Arrival]:
        """Run a text once for each set of parameters; gives rows as they arrive.

        Left before its end, it cancels the statement and closes the connection, since rows are still coming.
        """
        with self._occupied():
            block = self._mine()
            core, shell = self._source.core, self._source.shell
            with Step(core, block.talk, text, sets[0] if sets else (), self._adapted) as step:
                ticket = shell.turn(step, core.admission)
                try:
                    step.check()
                    for parameters in sets:
                        yield from self._run(block, step, parameters)
                finally:
                    core.admission.leave(ticket)

    def _run(self, block: Block, step: Step, parameters: Sequence[object]) -> Generator[Arrival]:
        begin = self._begin(block)
        leg = step.leg(self._connection.pgconn, begin, parameters)
        self._unguarded = self._unguarded or step.statement is None
        try:
            rows = self._drive(leg.begin())
            while rows is not None:
                if leg.truncated:
                    raise step.too_much(leg)
                yield leg, rows
                if not block.open:
                    raise ContextRefused("the conversation that this statement belongs to is over")
                rows = self._drive(leg.rows())
            self._drive(leg.end())
        except Failed as failed:
            self._source.suspect(failed)
            raise step.failed(failed) from None
        except Interrupted as error:
            self._keep(clean=False)
            raise step.interrupted(error) from None
        finally:
            self._keep(leg.clean)
        yield leg, []

    def _mine(self, *, free: bool = False) -> Block:
        """The current block, which a running transaction must belong to; `free`: or no block, for undoing."""
        if self.closed:
            hint = "roll back, or close this connection, and begin anew"
            raise Closed("this connection was closed, since a statement on it was interrupted", hint=hint)
        if free and self._owner is not None:
            return self._owner
        block = current(self._source)
        if self._owner is None and self._status == _IDLE:
            self._source.examine(self._connection)
        elif self._owner is not block:
            hint = "commit or roll back before a conversation block is left, and before the next one begins"
            raise ContextRefused("this transaction was begun in another conversation", hint=hint)
        return block

    def _obstacle(self, owner: Block) -> RlsgenError | None:
        """Why a transaction cannot be committed."""
        if self._stream is not None:
            return StatementRefused("nothing was committed: a result was still being streamed", reason="busy")
        if self.closed or self._status == _FAILED:
            message = "nothing was committed: an earlier statement of this transaction failed"
            return QueryFailed(message, sqlstate="25P02", hint="roll back after an error, and begin anew")
        try:
            if current(self._source) is owner:
                return None
        except ContextRefused:
            pass  # as if it were another's
        return ContextRefused("nothing was committed: the conversation of this transaction is over")

    def _begin(self, block: Block) -> bytes:
        """What begins the transaction; empty if it runs already."""
        if self._status != _IDLE:
            return b""
        self._owner = block
        access = "READ ONLY" if self.read_only else "READ WRITE"
        return f"BEGIN ISOLATION LEVEL {self.level} {access}".encode()

    def _opening(self, block: Block, text: bytes) -> Order:
        """An order of our own in the block's transaction."""
        core, begin = self._source.core, self._begin(block)
        token = core.token(block.talk, core.known.fields) if begin else None
        return Order(begin, core.sealed, text, token, deadline=_soon())

    def _end(self, what: bytes) -> None:
        with self._occupied():
            ending = Ending(self._connection.pgconn, what, discard=self._unguarded)
            try:
                self._drive(ending.go())
            except Failed as failed:
                raise end_failed(self._source.core, failed, what.decode()) from None
            except Interrupted:
                if what == b"COMMIT":
                    raise failures.lost(writes=True) from None
            finally:
                self._owner = None
                self._unguarded = False
                self._keep(ending.clean)
        if what == b"COMMIT" and ending.ended != what:
            raise QueryFailed("nothing was committed", sqlstate="25P02")

    @property
    def _status(self) -> TransactionStatus:
        return TransactionStatus(self._connection.pgconn.transaction_status)

    def _drive(self, generator: Any) -> Any:
        return self._source.shell.drive(generator, self._connection)

    def _keep(self, clean: bool) -> None:
        """Close the connection unless it came out clean."""
        if not clean and not self.closed:
            self._source.shell.abort(self._connection)

    def _occupied(self) -> _Occupied:
        return _Occupied(self._free)


def _soon() -> float:
    return time.monotonic() + END_SECONDS


class _Occupied:
    """One statement at a time."""

    __slots__ = ("_lock",)

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            message = "this connection is busy: a result is being streamed from it, or another thread or task uses it"
            hint = "read the stream to its end first; lazy loads and selectinload in between need another session"
            raise StatementRefused(message, reason="busy", hint=hint)

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class Cursor:
    """What runs one text at a time, and gives its rows: all at once, or as they are asked for."""

    arraysize = 1

    def __init__(self, link: Link, streaming: bool) -> None:
        self.connection = link
        self.description: list[tuple[Any, ...]] | None = None
        self.rowcount = -1
        self._streaming = streaming
        self._rows: deque[Row] = deque()
        self._arriving: Generator[Arrival] | None = None

    def execute(self, text: str, parameters: Sequence[object] = ()) -> None:
        """Run a text; `$1` to `$n` in it are the parameters."""
        self._start(text, [parameters])
        if not self._streaming:
            while self._pull():
                pass
        elif self._pull():
            self.connection._stream = self if self._arriving is not None else None

    def executemany(self, text: str, sets: Iterable[Sequence[object]]) -> None:
        """Run a text for each set of parameters; `rowcount` is the sum, and rows are not kept."""
        self._start(text, list(sets))
        while self._pull():
            self._rows.clear()

    def fetchone(self) -> Row | None:
        """The next row; None after the last one."""
        while not self._rows and self._pull():
            pass
        return self._rows.popleft() if self._rows else None

    def fetchmany(self, size: int | None = None) -> list[Row]:
        """The next rows, as many."""
        most = self.arraysize if size is None else size
        while len(self._rows) < most and self._pull():
            pass
        return [self._rows.popleft() for _ in range(min(most, len(self._rows)))]

    def fetchall(self) -> list[Row]:
        """The rest."""
        while self._pull():
            pass
        rows = list(self._rows)
        self._rows.clear()
        return rows

    def __iter__(self) -> Iterator[Row]:
        while (row := self.fetchone()) is not None:
            yield row

    def close(self) -> None:
        """Forget the rows. A stream that is left before its end is cancelled, and its connection closed."""
        self._rows.clear()
        arriving, self._arriving = self._arriving, None
        if arriving is not None:
            arriving.close()
        self._ended()

    async def _async_soft_close(self) -> None:
        """What SQLAlchemy's asyncio calls when it has a whole result: nothing, the rows are here."""

    def setinputsizes(self, *_: object) -> None:
        """Nothing: Postgres knows its types."""

    def setoutputsize(self, *_: object) -> None:
        """Nothing."""

    def _start(self, text: str, sets: list[Sequence[object]]) -> None:
        self.close()
        self.description, self.rowcount = None, -1
        self._arriving = self.connection.work(text, sets)

    def _pull(self) -> bool:
        """Wait for more rows; false when all have come."""
        if self._arriving is None:
            return False
        try:
            with showing():
                leg, rows = next(self._arriving)
        except BaseException as error:
            self._ended()
            if isinstance(error, StopIteration):
                return False
            raise
        if leg.fields and self.description is None:
            self.description = [(name, oid, None, None, None, None, None) for name, oid in leg.fields]
        if leg.clean and leg.affected is not None:
            self.rowcount = max(self.rowcount, 0) + leg.affected
        self._rows.extend(rows)
        return True

    def _ended(self) -> None:
        self._arriving = None
        if self.connection._stream is self:
            self.connection._stream = None
