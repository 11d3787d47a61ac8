"""SQLAlchemy for conversations: engines whose transactions are sealed and whose statements are guarded.

    engine = create_conversation_engine(dsn, spec="policies.yaml", signing_key=key)
    with conversation(engine, {"organisationId": 1, "userId": "ann"}, user="ann"), Session(engine) as session:
        session.scalars(select(Order).where(Order.total > 100)).all()

docs/sqlalchemy.md says what holds, and what differs from other engines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import event
from sqlalchemy.engine import URL, Engine, create_engine
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from rlsgen.runtime.conversation import Options
from rlsgen.runtime.health import Health, KnownHoles
from rlsgen.runtime.sqlalchemy.dialect import ConversationDialect, closed_with, come_back
from rlsgen.runtime.sqlalchemy.shells import Tasks, Threads
from rlsgen.runtime.sqlalchemy.source import Block, Source, entered, showing
from rlsgen.runtime.token import SigningKey
from rlsgen.spec.model import Limits, Spec

__all__ = ["conversation", "create_async_conversation_engine", "create_conversation_engine", "health"]

_OURS = ("creator", "async_creator", "connect_args", "module", "paramstyle", "source", "plugins", "use_native_hstore")
_DEFAULTS = {
    "pool_pre_ping": True,  # a look at the socket, without asking the server
    "insertmanyvalues_page_size": 100,  # rows of one INSERT: the guard takes no texts of any length
}
_MANY = 1_000  # connections of a pool without a bound


def create_conversation_engine(
    dsn: str | URL,
    spec: Spec | Path | str,
    signing_key: SigningKey | str,
    *,
    writes: bool = False,
    guard: bool = True,
    twins: bool = True,
    known_holes: KnownHoles = "refuse",
    limits: Limits | None = None,
    time_zone: str = "UTC",
    self_check_seconds: float = 60.0,
    lock_seconds: float = 5.0,
    literals: bool = False,
    **engine_options: Any,
) -> Engine:
    """An engine on which statements run in conversations only. It connects when it is first used.

    Args:
        dsn: the conversation role's, as libpq takes it; a URL of SQLAlchemy's does as well.
        spec: policies.yaml, as its path or loaded.
        signing_key: as `rlsgen keys create` shows it.
        writes: whether transactions are READ WRITE, for what the spec allows.
        guard: whether statements are checked. Without it the database still refuses foreign rows.
        twins: whether filters are added to statements, for better plans.
        known_holes: "warn" lets servers pass whose own row security is known to have holes.
        limits: instead of the spec's. Rows and bytes raise here: half an answer would pass for a whole one.
        time_zone: of sessions and of the times that they return.
        self_check_seconds: how often the database is checked again, before a transaction.
        lock_seconds: how long a statement waits for a lock.
        literals: whether the audit log has statements with their constants.
        engine_options: SQLAlchemy's: pool_size, max_overflow, pool_timeout, poolclass, echo, json_serializer...

    Raises:
        SpecError: the spec cannot be used.
        KeyProblem: the signing key is malformed.
        sqlalchemy.exc.ArgumentError: an option of SQLAlchemy's that is decided here.
    """
    options = _options(
        engine_options,
        writes=writes,
        guard=guard,
        twins=twins,
        known_holes=known_holes,
        limits=limits,
        time_zone=time_zone,
        self_check_seconds=self_check_seconds,
        lock_seconds=lock_seconds,
        literals=literals,
    )
    text, url = _addresses(dsn)
    source = Source(text, spec, signing_key, options, Threads())
    return _prepared(create_engine(url, source=source, time_zone=time_zone, **_DEFAULTS | engine_options))


def create_async_conversation_engine(
    dsn: str | URL,
    spec: Spec | Path | str,
    signing_key: SigningKey | str,
    *,
    writes: bool = False,
    guard: bool = True,
    twins: bool = True,
    known_holes: KnownHoles = "refuse",
    limits: Limits | None = None,
    time_zone: str = "UTC",
    self_check_seconds: float = 60.0,
    lock_seconds: float = 5.0,
    literals: bool = False,
    **engine_options: Any,
) -> AsyncEngine:
    """The same for asyncio: arguments and errors are those of `create_conversation_engine`."""
    options = _options(
        engine_options,
        writes=writes,
        guard=guard,
        twins=twins,
        known_holes=known_holes,
        limits=limits,
        time_zone=time_zone,
        self_check_seconds=self_check_seconds,
        lock_seconds=lock_seconds,
        literals=literals,
    )
    text, url = _addresses(dsn)
    source = Source(text, spec, signing_key, options, Tasks())
    engine = create_async_engine(url, source=source, time_zone=time_zone, **_DEFAULTS | engine_options)
    _prepared(engine.sync_engine)
    return engine


@contextmanager
def conversation(engine: Engine | AsyncEngine, context: Mapping[str, object], user: str = "") -> Iterator[str]:
    """A block whose statements on this engine are one user's; gives the conversation's id, as the audit log has it.

    It holds for this thread or task and for what inherits its context variables (tasks, `asyncio.to_thread`), until
    it is left. A plain `with`, in asynchronous code too: it waits for nothing. Transactions end inside of it.

    Args:
        engine: of `create_conversation_engine` or `create_async_conversation_engine`.
        context: a value for each of the spec's context fields; None or absent where it is optional.
        user: who it is, for the audit log.

    Raises:
        InvalidContext: the context does not fit the spec.
        ContextRefused: a block for this engine is open here already.
        sqlalchemy.exc.ArgumentError: it is another kind of engine.
    """
    source = _source(engine)
    with showing():
        block = Block(source, source.core.talk(context, user))
    with entered(block):
        yield block.talk.id


def health(engine: Engine | AsyncEngine) -> Health | None:
    """What the last self-check found, good or bad; None before the first connection."""
    return _source(engine).core.health


def _source(engine: Engine | AsyncEngine) -> Source:
    dialect = engine.dialect
    if not isinstance(dialect, ConversationDialect):
        raise ArgumentError("this engine was not made by create_conversation_engine")
    return dialect.source


def _options(engine_options: Mapping[str, Any], **chosen: Any) -> Options:
    for name in _OURS:
        if name in engine_options:
            raise ArgumentError(f"{name} is not an option of conversation engines")
    overflow = engine_options.get("max_overflow", 10)
    bounded = overflow >= 0 and engine_options.get("poolclass") is not NullPool
    size = engine_options.get("pool_size", 5) + overflow if bounded else _MANY
    return Options(max_size=size, timeout=engine_options.get("pool_timeout", 30.0), **chosen)


def _addresses(dsn: str | URL) -> tuple[str, URL]:
    """For libpq, and for people: without what is secret, and without what only libpq understands."""
    text = dsn.render_as_string(hide_password=False) if isinstance(dsn, URL) else dsn
    scheme, separator, rest = text.partition("://")
    if separator and "+" in scheme:
        text = f"postgresql://{rest}"
    known = conninfo_to_dict(text)
    port = str(known.get("port", ""))
    url = URL.create(
        "postgresql+rlsgen",
        username=str(known["user"]) if "user" in known else None,
        host=str(known["host"]) if "host" in known else None,
        port=int(port) if port.isdigit() else None,
        database=str(known["dbname"]) if "dbname" in known else None,
    )
    return text, url


def _prepared(engine: Engine) -> Engine:
    event.listen(engine, "handle_error", closed_with)
    event.listen(engine.pool, "checkin", come_back)
    return engine
