"""Waiting, for threads and for tasks: the same calls, which for tasks are made inside of SQLAlchemy's greenlets."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Protocol, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.waiting import wait, wait_async
from sqlalchemy.exc import MissingGreenlet
from sqlalchemy.util import await_only

from rlsgen.runtime.conversation import CANCEL_SECONDS, logger
from rlsgen.runtime.limits import Admission, Ticket
from rlsgen.runtime.run import Run

INTERVAL_SECONDS = 0.1
"""How often a waiting statement looks at the clock, and lets Ctrl-C through."""

Connection = psycopg.Connection[Any] | psycopg.AsyncConnection[Any]
T = TypeVar("T")


class Shell(Protocol):
    """What an engine does by waiting."""

    def connect(self, dsn: str, settings: dict[str, Any]) -> Connection:
        """A new connection. Raises psycopg's OperationalError."""

    def drive(self, generator: PQGen[T], connection: Connection) -> T:
        """Run a generator of the session core to its end."""

    def turn(self, run: Run, admission: Admission) -> Ticket:
        """A ticket that is granted. Raises LimitReached."""

    def abort(self, connection: Connection) -> None:
        """Cancel what runs from outside, wait until the cancel has returned, and close."""


class Threads:
    """For `Engine`."""

    def connect(self, dsn: str, settings: dict[str, Any]) -> Connection:
        """See Shell."""
        return psycopg.connect(dsn, **settings)

    def drive(self, generator: PQGen[T], connection: Connection) -> T:
        """See Shell."""
        return wait(generator, connection.pgconn.socket, INTERVAL_SECONDS)

    def turn(self, run: Run, admission: Admission) -> Ticket:
        """See Shell."""
        granted = threading.Event()
        ticket = run.enter(granted.set)
        try:
            if not ticket.granted:
                granted.wait(run.patience)
        except BaseException:
            admission.abandon(ticket)
            raise
        return _granted(ticket, run, admission)

    def abort(self, connection: Connection) -> None:
        """See Shell."""
        assert isinstance(connection, psycopg.Connection)  # noqa: S101
        try:
            connection.cancel_safe(timeout=CANCEL_SECONDS)
        except psycopg.Error as error:
            logger.info("while cancelling: %s", type(error).__name__)
        finally:
            connection.close()


class Tasks:
    """For `AsyncEngine`."""

    def __init__(self) -> None:
        self._aborting: set[asyncio.Task[None]] = set()

    def connect(self, dsn: str, settings: dict[str, Any]) -> Connection:
        """See Shell."""
        connection: Connection = await_only(psycopg.AsyncConnection.connect(dsn, **settings))
        return connection

    def drive(self, generator: PQGen[T], connection: Connection) -> T:
        """See Shell."""
        return await_only(wait_async(generator, connection.pgconn.socket, INTERVAL_SECONDS))

    def turn(self, run: Run, admission: Admission) -> Ticket:
        """See Shell."""
        loop = asyncio.get_running_loop()
        granted = loop.create_future()

        def wake() -> None:
            if not granted.done():
                granted.set_result(None)

        ticket = run.enter(lambda: loop.call_soon_threadsafe(wake))
        try:
            if not ticket.granted:
                await_only(asyncio.wait([granted], timeout=run.patience))
        except BaseException:
            admission.abandon(ticket)
            raise
        return _granted(ticket, run, admission)

    def abort(self, connection: Connection) -> None:
        """See Shell. The work goes on to its end if the caller's task is cancelled meanwhile."""
        try:
            await_only(self._surely(connection))
        except MissingGreenlet:  # the garbage collector's doing: nobody can wait here
            connection.pgconn.finish()

    async def _surely(self, connection: Connection) -> None:
        task = asyncio.create_task(_abort(connection))
        self._aborting.add(task)
        task.add_done_callback(self._aborting.discard)
        await asyncio.shield(task)


def _granted(ticket: Ticket, run: Run, admission: Admission) -> Ticket:
    """The ticket if it holds a turn now; else it is given up."""
    if ticket.granted:
        return ticket
    error = run.starved()
    admission.abandon(ticket)
    raise error


async def _abort(connection: Connection) -> None:
    assert isinstance(connection, psycopg.AsyncConnection)  # noqa: S101
    try:
        await connection.cancel_safe(timeout=CANCEL_SECONDS)
    except psycopg.Error as error:
        logger.info("while cancelling: %s", type(error).__name__)
    finally:
        await connection.close()
