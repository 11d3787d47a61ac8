"""Rows as they arrive, in constant memory: what `stream()` gives, for threads and for asyncio."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.waiting import wait, wait_async

from rlsgen.errors import Closed, RlsgenError
from rlsgen.runtime.limits import Ticket
from rlsgen.runtime.result import ResultColumn, Row
from rlsgen.runtime.run import INTERVAL_SECONDS, Run
from rlsgen.runtime.session import Failed, Flight, Interrupted, Overdue
from rlsgen.runtime.statement import AppliedFilter

if TYPE_CHECKING:
    from rlsgen.runtime.async_pool import AsyncConversationPool
    from rlsgen.runtime.pool import ConversationPool

_Connection = psycopg.Connection[Any]
_AsyncConnection = psycopg.AsyncConnection[Any]
_T = TypeVar("_T")


class Streamed:
    """The rows of one statement as they arrive: iterate once. Until it is left, it holds a turn and a connection.

    If the spec limits seconds, then the time that the caller takes between rows counts: whoever is too slow gets
    QueryTimeout, and the connection goes to others.
    """

    def __init__(self, run: Run, ticket: Ticket) -> None:
        self._run = run
        self._ticket = ticket
        self._error: RlsgenError | None = None
        self._flight: Flight | None = None
        self._next: list[Row] | None = None

    @property
    def columns(self) -> tuple[ResultColumn, ...]:
        """As in a result; known from the start."""
        return self._run.columns

    @property
    def filters(self) -> tuple[AppliedFilter, ...]:
        """As in a result; known from the start."""
        return self._run.filters

    @property
    def truncated(self) -> bool:
        """Whether the limits cut it; known after the last row."""
        return self._flight is not None and self._flight.truncated

    @property
    def row_count(self) -> int:
        """Rows that arrived until now."""
        return self._flight.row_count if self._flight is not None else 0


class Stream(Streamed):
    """For threads: `for row in stream`."""

    def __init__(self, pool: ConversationPool, run: Run, ticket: Ticket, connection: _Connection) -> None:
        super().__init__(run, ticket)
        self._pool = pool
        self._connection: _Connection | None = connection
        self._lock = threading.Lock()  # between whoever reads and the clock
        self._timer: threading.Timer | None = None

    def __iter__(self) -> Iterator[Row]:
        """The rows.

        Raises:
            QueryTimeout: the limit of seconds passed while the statement ran, or while the caller was busy.
            QueryFailed: the database failed on the way; rows that came before are not the answer.
        """
        while self._next is not None:
            yield from self._next
            self._advance()

    @contextmanager
    def _closing(self) -> Iterator[None]:
        try:
            self._begin()
            yield
        finally:
            if self._timer is not None:
                self._timer.cancel()
            with self._lock:
                self._release()

    def _begin(self) -> None:
        connection = self._connection
        if connection is None:
            return
        self._flight = self._run.fly(connection.pgconn)
        self._next = self._wait(connection, self._flight.begin())
        if self._next is None:
            self._finish(connection)
        elif (seconds := self._run.remaining) is not None:
            self._timer = threading.Timer(seconds, self._expire)
            self._timer.daemon = True
            self._timer.start()

    def _advance(self) -> None:
        with self._lock:
            if self._error is not None:
                raise self._error
            if self._connection is None or self._flight is None:
                raise Closed("this result is closed", hint="read it inside of its with block")
            self._next = self._wait(self._connection, self._flight.rows())
            if self._next is None:
                self._finish(self._connection)

    def _finish(self, connection: _Connection) -> None:
        if self._flight is not None:
            self._wait(connection, self._flight.end())
        self._release()

    def _wait(self, connection: _Connection, steps: PQGen[_T]) -> _T:
        try:
            return wait(steps, connection.fileno(), INTERVAL_SECONDS)
        except Failed as failed:
            raise self._pool._failed(self._run, connection, self._flight, failed) from None
        except Interrupted as error:
            self._pool._interrupt(self._run, connection, self._flight)
            raise self._run.interrupted(error) from None

    def _expire(self) -> None:
        """The clock: somebody holds a connection, and reads no more. While somebody reads, the flight looks itself."""
        if self._lock.acquire(blocking=False):
            try:
                if self._connection is not None:
                    self._error = self._run.interrupted(Overdue())
                    self._release()
                    self._pool._core.admission.leave(self._ticket)
            finally:
                self._lock.release()

    def _release(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool._give_back(self._run, connection, self._flight)


class AsyncStream(Streamed):
    """For asyncio: `async for row in stream`."""

    def __init__(self, pool: AsyncConversationPool, run: Run, ticket: Ticket, connection: _AsyncConnection) -> None:
        super().__init__(run, ticket)
        self._pool = pool
        self._connection: _AsyncConnection | None = connection
        self._lock = asyncio.Lock()  # between whoever reads and the clock
        self._timer: asyncio.TimerHandle | None = None

    async def __aiter__(self) -> AsyncIterator[Row]:
        """The rows.

        Raises:
            QueryTimeout: the limit of seconds passed while the statement ran, or while the caller was busy.
            QueryFailed: the database failed on the way; rows that came before are not the answer.
        """
        while self._next is not None:
            for row in self._next:
                yield row
            await self._advance()

    @asynccontextmanager
    async def _closing(self) -> AsyncIterator[None]:
        try:
            await self._begin()
            yield
        finally:
            if self._timer is not None:
                self._timer.cancel()
            await self._release()

    async def _begin(self) -> None:
        connection = self._connection
        if connection is None:
            return
        self._flight = self._run.fly(connection.pgconn)
        self._next = await self._wait(connection, self._flight.begin())
        if self._next is None:
            await self._finish(connection)
        elif (seconds := self._run.remaining) is not None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._expire)

    async def _advance(self) -> None:
        async with self._lock:
            if self._error is not None:
                raise self._error
            if self._connection is None or self._flight is None:
                raise Closed("this result is closed", hint="read it inside of its with block")
            self._next = await self._wait(self._connection, self._flight.rows())
            if self._next is None:
                await self._finish(self._connection)

    async def _finish(self, connection: _AsyncConnection) -> None:
        if self._flight is not None:
            await self._wait(connection, self._flight.end())
        await self._release()

    async def _wait(self, connection: _AsyncConnection, steps: PQGen[_T]) -> _T:
        try:
            return await wait_async(steps, connection.fileno(), INTERVAL_SECONDS)
        except Failed as failed:
            raise await self._pool._failed(self._run, connection, self._flight, failed) from None
        except Interrupted as error:
            await self._pool._surely(self._pool._interrupt(self._run, connection, self._flight))
            raise self._run.interrupted(error) from None

    def _expire(self) -> None:
        """The clock: somebody holds a connection, and reads no more. While somebody reads, the flight looks itself."""
        if self._connection is not None and not self._lock.locked():
            self._error = self._run.interrupted(Overdue())
            connection, self._connection = self._connection, None
            work = self._pool._give_back(self._run, connection, self._flight)
            task = asyncio.ensure_future(self._pool._surely(work))
            task.add_done_callback(lambda _: self._pool._core.admission.leave(self._ticket))

    async def _release(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._pool._surely(self._pool._give_back(self._run, connection, self._flight))
