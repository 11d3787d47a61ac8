"""The dialect: psycopg's, with numbered parameters, our connections, our reflection, and no questions to a catalog."""

from __future__ import annotations

from typing import Any

from psycopg.pq import Format
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg, PGExecutionContext_psycopg
from sqlalchemy.engine import URL, Connection, ExceptionContext
from sqlalchemy.engine.interfaces import IsolationLevel
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import AsyncAdaptedQueuePool

from rlsgen.runtime.result import Adapters
from rlsgen.runtime.sqlalchemy.legs import Adapted
from rlsgen.runtime.sqlalchemy.link import LEVELS, Cursor, Link
from rlsgen.runtime.sqlalchemy.reflection import Reflection
from rlsgen.runtime.sqlalchemy.source import Source, showing

_TIMESTAMPTZ = 1184


class Context(PGExecutionContext_psycopg):
    """One execution of SQLAlchemy's."""

    def create_server_side_cursor(self) -> Any:
        """What `stream_results` and `yield_per` get: rows as they arrive, without a cursor at the server."""
        return self._dbapi_connection.cursor(True)


class ConversationDialect(Reflection, PGDialect_psycopg):  # type: ignore[misc]
    """For engines of `create_conversation_engine`, and none else."""

    driver = "rlsgen"
    supports_statement_cache = True
    execution_ctx_cls = Context

    def __init__(self, source: Source | None = None, time_zone: str = "UTC", **options: Any) -> None:
        if source is None:
            raise ArgumentError("engines for conversations are made by create_conversation_engine")
        super().__init__(  # type: ignore[no-untyped-call]
            paramstyle="numeric_dollar", use_native_hstore=False, **options
        )
        self.source = source
        adapters: Any = self._psycopg_adapters_map  # with the engine's own JSON functions
        adapters.register_loader("timestamptz", Adapters(time_zone).adapters.get_loader(_TIMESTAMPTZ, Format.TEXT))
        self._adapted = Adapted(adapters)

    # Connections

    @classmethod
    def get_async_dialect_cls(cls, url: URL) -> type[ConversationDialect]:
        """The same for `create_async_conversation_engine`."""
        return AsyncConversationDialect

    def create_connect_args(self, url: URL) -> Any:
        """Nothing: the source knows how to connect."""
        return [], {}

    def connect(self, *arguments: Any, **options: Any) -> Any:
        """A connection to a healthy database."""
        with showing():
            return Link(self.source, self._adapted)

    def on_connect(self) -> Any:
        """Nothing: notices of the server go nowhere."""
        return

    def initialize(self, connection: Connection) -> None:
        """What other dialects ask the server, from what is known."""
        version = _link(connection).server_version
        self.server_version_info = (version // 10_000, version % 10_000)
        self.default_schema_name = self.source.default_schema
        self.default_isolation_level = LEVELS[0]
        self.supports_virtual_generated_columns = version >= 180_000

    def do_ping(self, dbapi_connection: Any) -> bool:
        """Whether it looks alive."""
        alive: bool = dbapi_connection.alive()
        return alive

    def do_terminate(self, dbapi_connection: Any) -> None:
        """Close without waiting."""
        dbapi_connection.terminate()

    def is_disconnect(self, e: Any, connection: Any, cursor: Any) -> bool:
        """Whether a connection is of no more use."""
        return connection is not None and bool(connection.closed)

    # Transactions

    def do_rollback(self, dbapi_connection: Any) -> None:
        """Also what the pool does with a connection that comes back."""
        dbapi_connection.rollback()

    def do_savepoint(self, connection: Connection, name: str) -> None:
        """SAVEPOINT."""
        _link(connection).savepoint("savepoint", name)

    def do_rollback_to_savepoint(self, connection: Connection, name: str) -> None:
        """ROLLBACK TO SAVEPOINT."""
        _link(connection).savepoint("rollback", name)

    def do_release_savepoint(self, connection: Connection, name: str) -> None:
        """RELEASE SAVEPOINT."""
        _link(connection).savepoint("release", name)

    def do_begin_twophase(self, connection: Connection, xid: Any) -> None:
        """Refused."""
        raise ArgumentError("conversations have no two-phase transactions")

    def get_isolation_level_values(self, dbapi_connection: Any) -> tuple[IsolationLevel, ...]:
        """All but AUTOCOMMIT: a context lives in a transaction."""
        return LEVELS

    def get_isolation_level(self, dbapi_connection: Any) -> IsolationLevel:
        """That of transactions to come."""
        level: IsolationLevel = dbapi_connection.level
        return level

    def set_isolation_level(self, dbapi_connection: Any, level: str) -> None:
        """For transactions to come."""
        if level not in LEVELS:
            raise ArgumentError(f"conversations have no isolation level {level}: a context lives in a transaction")
        dbapi_connection.level = level

    def detect_autocommit_setting(self, dbapi_connection: Any) -> bool:
        """Never."""
        return False

    def get_readonly(self, connection: Any) -> bool:
        """Whether transactions to come are READ ONLY."""
        read_only: bool = connection.read_only
        return read_only

    def set_readonly(self, connection: Any, value: bool) -> None:
        """For transactions to come; READ WRITE only if the engine was made so: SQLAlchemy resets it to False."""
        connection.read_only = bool(value) or not self.source.writes

    def get_deferrable(self, connection: Any) -> bool:
        """Never."""
        return False

    def set_deferrable(self, connection: Any, value: bool) -> None:
        """Refused."""
        if value:
            raise ArgumentError("conversations have no deferrable transactions")


class AsyncConversationDialect(ConversationDialect):
    """The same within SQLAlchemy's greenlets."""

    is_async = True
    supports_statement_cache = True
    has_terminate = True
    poolclass = AsyncAdaptedQueuePool


def _link(connection: Connection) -> Link:
    link = connection.connection.dbapi_connection
    assert isinstance(link, Link)  # noqa: S101
    return link


def closed_with(context: ExceptionContext) -> None:
    """Tell SQLAlchemy when an error closed the connection, so that it opens another one."""
    cursor: Any = getattr(context.execution_context, "cursor", None)
    if isinstance(cursor, Cursor) and cursor.connection.closed:
        context.is_disconnect = True
        context.invalidate_pool_on_disconnect = False


def come_back(link: Any, record: Any) -> None:
    """A connection that was closed meanwhile does not wait in the pool."""
    if link is not None and link.closed:
        record.invalidate()


registry.register("postgresql.rlsgen", "rlsgen.runtime.sqlalchemy.dialect", "ConversationDialect")
