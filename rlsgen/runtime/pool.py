"""Conversations for threads: the pool, its conversations, and how their statements get their turn and connection."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import psycopg
from psycopg.waiting import wait
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from rlsgen.errors import Closed, RlsgenError
from rlsgen.runtime import failures
from rlsgen.runtime.conversation import CANCEL_SECONDS, Core, Options, Talk, logger
from rlsgen.runtime.describe import Description
from rlsgen.runtime.health import Health, KnownHoles
from rlsgen.runtime.limits import Ticket
from rlsgen.runtime.result import Result, Row
from rlsgen.runtime.run import INTERVAL_SECONDS, RECONNECT_SECONDS, Run
from rlsgen.runtime.session import Failed, Flight, Interrupted
from rlsgen.runtime.streams import Stream
from rlsgen.runtime.token import SigningKey
from rlsgen.runtime.trace import Trace, Tracing
from rlsgen.runtime.wire import connection_settings, is_alive
from rlsgen.spec.model import Limits, Spec

_Connection = psycopg.Connection[Any]


class ConversationPool:
    """Connections of the conversation role, and the conversations that share them. Thread-safe. Make it after a fork.

    It checks the database when it is made and every `self_check_seconds` afterwards.
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
        settings = connection_settings(dsn, timeout)
        with _connected(dsn, settings) as connection:
            self._inspect(connection).require()
        self._connections = ConnectionPool(
            dsn, kwargs=settings, min_size=min_size, max_size=max_size, timeout=timeout,
            reconnect_timeout=RECONNECT_SECONDS, open=False, name="rlsgen",
        )  # fmt: skip
        self._connections.open()
        self._wake = threading.Event()
        watched = (weakref.ref(self), self._wake, self_check_seconds)
        self._watch = threading.Thread(target=_watch, args=watched, daemon=True, name="rlsgen-self-check")
        self._watch.start()

    def conversation(self, context: Mapping[str, object], user: str = "") -> Conversation:
        """A conversation of one user, which holds no connection while nothing runs.

        Args:
            context: a value for each of the spec's context fields; None or absent where it is optional.
            user: who it is, for the audit log.

        Raises:
            InvalidContext: the context does not fit the spec.
            Closed: the pool is closed, or was made before a fork.
        """
        return Conversation(self, self._core.talk(context, user))

    def health(self) -> Health:
        """What the last self-check found, good or bad."""
        self._core.require_open()
        return self._core.health or self.check()

    def check(self) -> Health:
        """Do the self-check now. Bad health is returned, not raised; conversations raise it.

        Raises:
            QueryFailed: the database cannot be reached.
            ServerError: it does not answer.
        """
        self._core.require_open()
        connection = self._take(self._core.options.timeout)
        try:
            return self._inspect(connection)
        finally:
            self._connections.putconn(connection)

    def close(self) -> None:
        """Close all connections; statements that run come to their end. May be called twice."""
        if self._core.closed:
            return
        self._core.closed = True
        self._wake.set()
        self._connections.close()
        if self._watch is not threading.current_thread():
            self._watch.join(CANCEL_SECONDS)

    def __enter__(self) -> ConversationPool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # What conversations use

    @contextmanager
    def _stream(self, talk: Talk, text: str, parameters: Sequence[object]) -> Iterator[Stream]:
        with Run(self._core, talk, text, parameters) as run:
            ticket = self._turn(run)
            try:
                run.check(streamed=True)
                stream = Stream(self, run, ticket, self._take(run.patience))
                with stream._closing():
                    yield stream
            finally:
                self._core.admission.leave(ticket)

    def _query(self, run: Run) -> Result:
        with run:
            ticket = self._turn(run)
            try:
                run.check()
                return run.result(self._fly(run))
            finally:
                self._core.admission.leave(ticket)

    def _turn(self, run: Run) -> Ticket:
        waiting = threading.Lock()  # an Event takes ten times as long to make
        waiting.acquire()
        ticket = run.enter(waiting.release)
        if not ticket.granted:
            try:
                waiting.acquire(timeout=run.patience)
            except BaseException:
                self._core.admission.abandon(ticket)
                raise
        if ticket.granted:
            return ticket
        error = run.starved()
        self._core.admission.abandon(ticket)
        raise error

    def _take(self, seconds: float) -> _Connection:
        until = time.monotonic() + max(seconds, 0.01)
        while (left := until - time.monotonic()) > 0:
            try:
                connection = self._connections.getconn(min(left, RECONNECT_SECONDS))
            except PoolTimeout:
                continue  # asking anew makes the pool try to connect anew, at once
            except PoolClosed:
                raise Closed("this pool is closed", hint="open another one") from None
            if is_alive(connection):
                return connection
            connection.close()
            self._connections.putconn(connection)
        raise failures.unreachable()

    def _fly(self, run: Run) -> list[Row]:
        connection = self._take(run.patience)
        flight: Flight | None = None
        try:
            flight = run.fly(connection.pgconn)
            return wait(flight.run(), connection.fileno(), INTERVAL_SECONDS)
        except Failed as failed:
            raise self._failed(run, connection, flight, failed) from None
        except Interrupted as error:
            self._interrupt(run, connection, flight)
            raise run.interrupted(error) from None
        finally:
            self._give_back(run, connection, flight)

    def _failed(self, run: Run, connection: _Connection, flight: Flight | None, failed: Failed) -> RlsgenError:
        if failed.diagnosis.sqlstate in failures.STALE and self._core.suspect():
            self._wake.set()
        order = run.locating(failed)
        if order is None or flight is None or not flight.clean:
            return run.failed(failed)
        flight.clean = False
        question = Flight(connection.pgconn, order)
        try:
            wait(question.run(), connection.fileno(), INTERVAL_SECONDS)
        except Failed as located:
            return run.failed(failed, located)
        except Interrupted:
            return run.failed(failed)
        finally:
            flight.clean = question.clean
        return run.failed(failed)

    @staticmethod
    def _interrupt(run: Run, connection: _Connection, flight: Flight | None) -> None:
        """Cancel from outside, wait until the cancel has returned, learn what became of a write, close."""
        try:
            connection.cancel_safe(timeout=CANCEL_SECONDS)
            if flight is not None and flight.sent and run.writes:
                wait(flight.settle(time.monotonic() + CANCEL_SECONDS), connection.fileno(), INTERVAL_SECONDS)
        except (psycopg.Error, Interrupted, Failed) as error:
            logger.info("while cancelling: %s", type(error).__name__)
        finally:
            connection.close()

    def _give_back(self, run: Run, connection: _Connection, flight: Flight | None) -> None:
        try:
            if flight is not None and not flight.clean and not connection.closed:
                self._interrupt(run, connection, flight)
        finally:
            self._connections.putconn(connection)

    def _inspect(self, connection: _Connection) -> Health:
        answers = []
        for order in self._core.inspections():
            flight = Flight(connection.pgconn, order)
            try:
                answers.append(wait(flight.run(), connection.fileno(), INTERVAL_SECONDS))
            except (Failed, Interrupted) as error:
                raise self._core.unreadable(error) from None
            finally:
                if not flight.clean:
                    connection.close()
        return self._core.inspected(answers[0], answers[1], connection.pgconn.backend_pid)


class Conversation:
    """One user's statements, each in a transaction of its own. Thread-safe; holds no connection while nothing runs."""

    def __init__(self, pool: ConversationPool, talk: Talk) -> None:
        self._pool = pool
        self._talk = talk
        self._closed = False

    @property
    def id(self) -> str:
        """What the audit log calls it."""
        return self._talk.id

    def query(self, text: str, parameters: Sequence[object] = ()) -> Result:
        """Run one statement; `$1` to `$n` in it are the parameters.

        Raises:
            StatementRefused: it was not run, or not allowed by the server: denied, which is not "no rows".
            QueryTimeout: it took too long.
            QueryFailed: the database could not run it.
            ContextRefused: the database refused the context.
            LimitReached: too many statements.
            Unhealthy: the self-check forbids conversations with this database.
            Closed: the conversation or the pool is closed.
        """
        self._require_open()
        return self._pool._query(Run(self._pool._core, self._talk, text, parameters))

    def explain(self, text: str, parameters: Sequence[object] = (), *, analyze: bool = False) -> Trace:
        """What Postgres' plan does with the filters, for operators: it must not reach customers or a model.

        With `analyze` the statement also runs, and its rows are thrown away. Raises what `query` raises.
        """
        self._require_open()
        tracing = Tracing(self._pool._core, self._talk, text, parameters, analyze=analyze)
        return tracing.trace(self._pool._query(tracing))

    def describe(self, tables: Sequence[str] = (), *, filters: bool = False) -> Description:
        """The schema as this conversation may see it, for a model's prompt: `to_markdown()`. Runs nothing.

        Raises:
            RlsgenError: one of `tables`, all if there are none, is not there for conversations.
            Unhealthy: the self-check forbids conversations with this database.
        """
        self._require_open()
        return self._pool._core.describe(self._talk, tables, filters=filters)

    def stream(self, text: str, parameters: Sequence[object] = ()) -> AbstractContextManager[Stream]:
        """Run one reading statement, and get its rows as they arrive, within the limits, in constant memory.

        `with conversation.stream(text) as rows: for row in rows: ...`. Raises what `query` raises, at `with` or later.
        """
        self._require_open()
        return self._pool._stream(self._talk, text, parameters)

    def close(self) -> None:
        """End the conversation. May be called twice."""
        self._closed = True

    def _require_open(self) -> None:
        if self._closed:
            raise Closed("this conversation is closed", hint="open another one")

    def __enter__(self) -> Conversation:
        self._require_open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _connected(dsn: str, settings: Mapping[str, Any]) -> _Connection:
    try:
        return psycopg.connect(dsn, **settings)
    except psycopg.OperationalError as error:
        raise failures.no_connection(error) from None


def _watch(reference: weakref.ref[ConversationPool], wake: threading.Event, seconds: float) -> None:
    """The self-check in the background, for as long as the pool is there."""
    while True:
        wake.wait(seconds)
        pool = reference()
        if pool is None or pool._core.closed:
            return
        wake.clear()
        try:
            pool.check()
        except RlsgenError as error:
            logger.warning("self-check: %s", error)
        del pool
