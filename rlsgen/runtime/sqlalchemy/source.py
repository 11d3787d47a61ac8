"""Where an engine's connections come from, what is known about their database, and which conversation is current."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

import psycopg
from sqlalchemy.exc import SQLAlchemyError

from rlsgen.errors import ContextRefused, RlsgenError, ServerError
from rlsgen.runtime import failures
from rlsgen.runtime.conversation import RECHECK_SECONDS, Core, Options, Talk
from rlsgen.runtime.schema import Schema
from rlsgen.runtime.session import Failed, Flight, Interrupted
from rlsgen.runtime.sqlalchemy.shells import Connection, Shell
from rlsgen.runtime.token import SigningKey
from rlsgen.runtime.wire import connection_settings
from rlsgen.spec.load import load_spec
from rlsgen.spec.model import Spec


class Source:
    """One engine's database: how to connect, the self-check, the guard. Thread-safe. It connects when it must."""

    def __init__(
        self, dsn: str, spec: Spec | Path | str, signing_key: SigningKey | str, options: Options, shell: Shell
    ) -> None:
        self._dsn = dsn
        self._spec = spec if isinstance(spec, Spec) else load_spec(Path(spec))
        self._key = signing_key if isinstance(signing_key, SigningKey) else SigningKey.parse(signing_key)
        self._options = options
        self._checked = float("-inf")  # when the last self-check began
        self._core: Core | None = None
        self._making = threading.Lock()
        self.shell = shell

    @property
    def core(self) -> Core:
        """Made when it is first used: an engine may be made before a fork, as long as it is used only after it."""
        core = self._core
        if core is not None:
            return core
        with self._making:
            if self._core is None:
                self._core = Core(self._spec, self._key, self._options, self._dsn)
            return self._core

    @property
    def default_schema(self) -> str:
        """Where unqualified names are looked for first."""
        return self._spec.schemas[0]

    @property
    def writes(self) -> bool:
        """Whether transactions may be READ WRITE."""
        return bool(self._options.writes)

    @property
    def schema(self) -> Schema:
        """What conversations may use.

        Raises:
            Unhealthy: nothing, on this database.
        """
        return self.core.known.schema

    def connect(self) -> Connection:
        """A new connection to a database that was found healthy.

        Raises:
            Unhealthy: the self-check says that it must not be used.
            ServerError: it cannot be reached or checked.
            QueryFailed: it could be reached earlier, and cannot any more.
        """
        self.core.require_open()
        try:
            connection = self.shell.connect(self._dsn, connection_settings(self._dsn, self._options.timeout))
        except psycopg.OperationalError as error:
            if self.core.health is not None:
                raise failures.unreachable() from None
            hint = "is the dsn the conversation role's?"
            raise ServerError(f"the database cannot be reached: {error}", hint=hint) from None
        try:
            self.examine(connection)
            self.core.known.health.require()
        except BaseException:
            connection.pgconn.finish()
            raise
        return connection

    def examine(self, connection: Connection) -> None:
        """Do the self-check on an idle connection, if its time has come. Bad health is kept, not raised.

        Raises:
            ServerError: it could not be done; the connection is closed.
        """
        now, health = time.monotonic(), self.core.health
        often = self._options.self_check_seconds
        if health is not None and now - self._checked < (often if health.healthy else min(often, RECHECK_SECONDS)):
            return
        self._checked = now
        answers = []
        for order in self.core.inspections():
            flight = Flight(connection.pgconn, order)
            try:
                answers.append(self.shell.drive(flight.run(), connection))
            except (Failed, Interrupted) as error:
                self._checked = float("-inf")  # the next one tries again
                raise self.core.unreadable(error) from None
            finally:
                if not flight.clean:
                    self.shell.abort(connection)
        self.core.inspected(answers[0], answers[1], connection.pgconn.backend_pid)

    def suspect(self, failed: Failed) -> None:
        """Let the next transaction check first, if a statement failed as if the database had changed."""
        if failed.diagnosis.sqlstate in failures.STALE and self.core.suspect():
            self._checked = float("-inf")


@dataclass(eq=False, slots=True)
class Block:
    """One `with conversation(...)`: open until it is left, also for threads and tasks that inherited it."""

    source: Source
    talk: Talk
    open: bool = True


_blocks: ContextVar[tuple[Block, ...]] = ContextVar("rlsgen_conversations", default=())


@contextmanager
def entered(block: Block) -> Iterator[None]:
    """Make it the current one of its engine.

    Raises:
        ContextRefused: there is one already.
    """
    outer = _blocks.get()
    if any(each.source is block.source and each.open for each in outer):
        message = "a conversation of this engine is open here already"
        raise shown(ContextRefused(message, hint="blocks are not nested: leave the first one before the next"))
    token = _blocks.set((*outer, block))
    try:
        yield
    finally:
        block.open = False
        with suppress(ValueError):  # left in another context than it was entered in: it is over all the same
            _blocks.reset(token)


def current(source: Source) -> Block:
    """The conversation block that a statement on this engine belongs to.

    Raises:
        ContextRefused: there is none, or it was left.
    """
    block = next((each for each in reversed(_blocks.get()) if each.source is source), None)
    if block is not None and block.open:
        return block
    hint = "put it into: with conversation(engine, {...}, user=...)"
    if block is not None:
        raise ContextRefused("the conversation that this statement belongs to is over", hint=hint)
    raise ContextRefused("this statement belongs to no conversation", hint=hint)


_BOTH: dict[str, type[RlsgenError]] = {}


def _both(kind: type[RlsgenError]) -> type[RlsgenError]:
    """A class of ours that is one of SQLAlchemy's as well."""
    facts = {"__doc__": kind.__doc__, "__module__": kind.__module__}
    return _BOTH.setdefault(kind.__name__, type(kind.__name__, (kind, SQLAlchemyError), facts))


def shown(error: RlsgenError) -> RlsgenError:
    """The same error, which `except SQLAlchemyError` catches as well: LangChain and pandas expect one of these."""
    if not isinstance(error, SQLAlchemyError):
        error.__class__ = _BOTH.get(type(error).__name__) or _both(type(error))
    return error


@contextmanager
def showing() -> Iterator[None]:
    """Errors that leave this block are shown ones."""
    try:
        yield
    except RlsgenError as error:
        shown(error)
        raise
