"""Conversations for asyncio: the twin of `pool`, for one event loop, which it never blocks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import psycopg
from psycopg.waiting import wait_async
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from rlsgen.errors import Closed, RlsgenError
from rlsgen.runtime import failures
from rlsgen.runtime.conversation import CANCEL_SECONDS, Core, Options, Talk, logger
from rlsgen.runtime.describe import Description
from rlsgen.runtime.guard.deep import SHORT
from rlsgen.runtime.health import Health, KnownHoles
from rlsgen.runtime.limits import Ticket
from rlsgen.runtime.result import Result, Row
from rlsgen.runtime.run import INTERVAL_SECONDS, RECONNECT_SECONDS, Run
from rlsgen.runtime.session import Failed, Flight, Interrupted
from rlsgen.runtime.streams import AsyncStream
from rlsgen.runtime.token import SigningKey
from rlsgen.runtime.trace import Trace, Tracing
from rlsgen.runtime.wire import connection_settings, is_alive
from rlsgen.spec.model import Limits, Spec

_Connection = psycopg.AsyncConnection[Any]


class AsyncConversationPool:
    """Connections of the conversation role, and the conversations that share them, in one event loop.

    `async with AsyncConversationPool(...) as pool:`, or `await pool.open()` and `await pool.close()`. It checks the
    database when it is opened and every `self_check_seconds` afterwards.
    """

    def __init__(
        self,
        dsn: str,
        spec: Spec | Path | str,
        signing_key: SigningKey | str,
        *,
        min_size: int = 1,
        max_size: int = 8,
        timeout: float = 10.0,
        guard: bool = True,
        twins: bool = True,
        writes: bool | None = None,
        time_zone: str = "UTC",
        limits: Limits | None = None,
        known_holes: KnownHoles = "refuse",
        self_check_seconds: float = 60.0,
        lock_seconds: float = 5.0,
        literals: bool = False,
    ) -> None:
        options = Options(
            max_size=max_size, timeout=timeout, guard=guard, twins=twins, writes=writes, time_zone=time_zone,
            limits=limits, known_holes=known_holes, self_check_seconds=self_check_seconds, lock_seconds=lock_seconds,
            literals=literals,
        )  # fmt: skip
        self._core = Core(spec, signing_key, options, dsn)
        self._dsn = dsn
        self._min_size = min_size
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connections: AsyncConnectionPool[_Connection] | None = None
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._watch: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect, and check the database. May be called twice.

        Raises:
            Unhealthy: this database, role or server must not be used.
            ServerError: the database cannot be reached, or does not answer.
            Closed: the pool was closed.
        """
        self._core.require_open()
        if self._connections is not None:
            return
        self._loop = asyncio.get_running_loop()
        options = self._core.options
        settings = connection_settings(self._dsn, options.timeout)
        try:
            connection = await psycopg.AsyncConnection.connect(self._dsn, **settings)
        except psycopg.OperationalError as error:
            raise failures.no_connection(error) from None
        async with connection:
            (await self._inspect(connection)).require()
        self._connections = AsyncConnectionPool(
            self._dsn, kwargs=settings, min_size=self._min_size, max_size=options.max_size, timeout=options.timeout,
            reconnect_timeout=RECONNECT_SECONDS, open=False, name="rlsgen",
        )  # fmt: skip
        await self._connections.open()
        self._watch = asyncio.create_task(self._watching(), name="rlsgen-self-check")

    def conversation(self, context: Mapping[str, object], user: str = "") -> AsyncConversation:
        """A conversation of one user, which holds no connection while nothing runs.

        Args:
            context: a value for each of the spec's context fields; None or absent where it is optional.
            user: who it is, for the audit log.

        Raises:
            InvalidContext: the context does not fit the spec.
            Closed: the pool is closed, or was made before a fork.
        """
        return AsyncConversation(self, self._core.talk(context, user))

    async def health(self) -> Health:
        """What the last self-check found, good or bad."""
        self._core.require_open()
        return self._core.health or await self.check()

    async def check(self) -> Health:
        """Do the self-check now. Bad health is returned, not raised; conversations raise it.

        Raises:
            QueryFailed: the database cannot be reached.
            ServerError: it does not answer.
        """
        self._core.require_open()
        connection = await self._take(self._core.options.timeout)
        try:
            return await self._inspect(connection)
        finally:
            await self._surely(self._put(connection))

    async def close(self) -> None:
        """Close all connections; statements that run come to their end. May be called twice."""
        if self._core.closed:
            return
        self._core.closed = True
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._connections is not None:
            await self._connections.close()

    async def __aenter__(self) -> AsyncConversationPool:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    # What conversations use

    @asynccontextmanager
    async def _stream(self, talk: Talk, text: str, parameters: Sequence[object]) -> AsyncIterator[AsyncStream]:
        with Run(self._core, talk, text, parameters) as run:
            ticket = await self._turn(run)
            try:
                await _checked(run, streamed=True)
                stream = AsyncStream(self, run, ticket, await self._take(run.patience))
                async with stream._closing():
                    yield stream
            finally:
                self._core.admission.leave(ticket)

    async def _query(self, run: Run) -> Result:
        with run:
            ticket = await self._turn(run)
            try:
                await _checked(run)
                return run.result(await self._fly(run))
            finally:
                self._core.admission.leave(ticket)

    async def _turn(self, run: Run) -> Ticket:
        if asyncio.get_running_loop() is not self._loop:
            hint = "make a pool for each event loop, and open it there"
            raise Closed("this pool is not open in this event loop", hint=hint)
        granted = self._loop.create_future()
        ticket = run.enter(lambda: _grant(granted))
        if not ticket.granted:
            try:
                await asyncio.wait([granted], timeout=run.patience)
            except BaseException:
                self._core.admission.abandon(ticket)
                raise
        if ticket.granted:
            return ticket
        error = run.starved()
        self._core.admission.abandon(ticket)
        raise error

    async def _take(self, seconds: float) -> _Connection:
        if self._connections is None:
            raise Closed("this pool is not open", hint="use async with, or await open()")
        until = time.monotonic() + max(seconds, 0.01)
        while (left := until - time.monotonic()) > 0:
            try:
                connection = await self._connections.getconn(min(left, RECONNECT_SECONDS))
            except PoolTimeout:
                continue  # asking anew makes the pool try to connect anew, at once
            except PoolClosed:
                raise Closed("this pool is closed", hint="open another one") from None
            if is_alive(connection):
                return connection
            await connection.close()
            await self._surely(self._connections.putconn(connection))
        raise failures.unreachable()

    async def _put(self, connection: _Connection) -> None:
        if self._connections is not None:
            await self._connections.putconn(connection)

    async def _fly(self, run: Run) -> list[Row]:
        connection = await self._take(run.patience)
        flight: Flight | None = None
        try:
            flight = run.fly(connection.pgconn)
            return await wait_async(flight.run(), connection.fileno(), INTERVAL_SECONDS)
        except Failed as failed:
            raise await self._failed(run, connection, flight, failed) from None
        except Interrupted as error:
            await self._surely(self._interrupt(run, connection, flight))
            raise run.interrupted(error) from None
        finally:
            await self._surely(self._give_back(run, connection, flight))

    async def _failed(self, run: Run, connection: _Connection, flight: Flight | None, failed: Failed) -> RlsgenError:
        if failed.diagnosis.sqlstate in failures.STALE and self._core.suspect():
            self._wake.set()
        order = run.locating(failed)
        if order is None or flight is None or not flight.clean:
            return run.failed(failed)
        flight.clean = False
        question = Flight(connection.pgconn, order)
        try:
            await wait_async(question.run(), connection.fileno(), INTERVAL_SECONDS)
        except Failed as located:
            return run.failed(failed, located)
        except Interrupted:
            return run.failed(failed)
        finally:
            flight.clean = question.clean
        return run.failed(failed)

    @staticmethod
    async def _interrupt(run: Run, connection: _Connection, flight: Flight | None) -> None:
        """Cancel from outside, wait until the cancel has returned, learn what became of a write, close."""
        try:
            await connection.cancel_safe(timeout=CANCEL_SECONDS)
            if flight is not None and flight.sent and run.writes:
                settling = flight.settle(time.monotonic() + CANCEL_SECONDS)
                await wait_async(settling, connection.fileno(), INTERVAL_SECONDS)
        except (psycopg.Error, Interrupted, Failed) as error:
            logger.info("while cancelling: %s", type(error).__name__)
        finally:
            await connection.close()

    async def _give_back(self, run: Run, connection: _Connection, flight: Flight | None) -> None:
        try:
            if flight is not None and not flight.clean and not connection.closed:
                await self._interrupt(run, connection, flight)
        finally:
            await self._put(connection)

    async def _surely(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it to its end even if the caller's task is cancelled meanwhile."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.shield(task)

    async def _inspect(self, connection: _Connection) -> Health:
        answers = []
        for order in self._core.inspections():
            flight = Flight(connection.pgconn, order)
            try:
                answers.append(await wait_async(flight.run(), connection.fileno(), INTERVAL_SECONDS))
            except (Failed, Interrupted) as error:
                raise self._core.unreadable(error) from None
            finally:
                if not flight.clean:
                    await connection.close()
        backend = connection.pgconn.backend_pid
        return await asyncio.to_thread(
            self._core.inspected, answers[0], answers[1], backend
        )  # thousands of tables take their time

    async def _watching(self) -> None:
        """The self-check in the background."""
        while not self._core.closed:
            waking = asyncio.ensure_future(self._wake.wait())
            try:
                await asyncio.wait([waking], timeout=self._core.options.self_check_seconds)
            finally:
                waking.cancel()
            self._wake.clear()
            try:
                await self.check()
            except RlsgenError as error:
                logger.warning("self-check: %s", error)


class AsyncConversation:
    """One user's statements, each in a transaction of its own under the same context. Holds no connection."""

    def __init__(self, pool: AsyncConversationPool, talk: Talk) -> None:
        self._pool = pool
        self._talk = talk
        self._closed = False

    @property
    def id(self) -> str:
        """What the audit log calls it."""
        return self._talk.id

    async def query(self, text: str, parameters: Sequence[object] = ()) -> Result:
        """Run one statement; `$1` to `$n` in it are the parameters. Raises what `Conversation.query` raises."""
        self._require_open()
        return await self._pool._query(Run(self._pool._core, self._talk, text, parameters))

    async def explain(self, text: str, parameters: Sequence[object] = (), *, analyze: bool = False) -> Trace:
        """What Postgres' plan does with the filters, for operators only. As `Conversation.explain`."""
        self._require_open()
        tracing = Tracing(self._pool._core, self._talk, text, parameters, analyze=analyze)
        return tracing.trace(await self._pool._query(tracing))

    def describe(self, tables: Sequence[str] = (), *, filters: bool = False) -> Description:
        """The schema as this conversation may see it, for a model's prompt. As `Conversation.describe`."""
        self._require_open()
        return self._pool._core.describe(self._talk, tables, filters=filters)

    def stream(self, text: str, parameters: Sequence[object] = ()) -> AbstractAsyncContextManager[AsyncStream]:
        """Run one reading statement, and get its rows as they arrive, within the limits, in constant memory.

        `async with conversation.stream(text) as rows: async for row in rows: ...`
        """
        self._require_open()
        return self._pool._stream(self._talk, text, parameters)

    async def close(self) -> None:
        """End the conversation. May be called twice."""
        self._closed = True

    def _require_open(self) -> None:
        if self._closed:
            raise Closed("this conversation is closed", hint="open another one")

    async def __aenter__(self) -> AsyncConversation:
        self._require_open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()


async def _checked(run: Run, *, streamed: bool = False) -> None:
    """Long texts are looked at in a thread: parsing one can take as long as other tasks would notice."""
    if len(run.text) > SHORT:
        await asyncio.to_thread(run.check, streamed=streamed)
    else:
        run.check(streamed=streamed)


def _grant(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
