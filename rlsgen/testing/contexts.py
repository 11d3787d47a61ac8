"""What the fixtures give: conversations as an application has them, and the database alone under a context."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import psycopg

from rlsgen.runtime.async_pool import AsyncConversation, AsyncConversationPool
from rlsgen.runtime.pool import Conversation, ConversationPool
from rlsgen.testing.database import IsolatedDatabase
from rlsgen.testing.server import Connection

_SEAL = "SELECT rlsgen.set_context(%s)"


class Conversations:
    """Conversations with one database; its pool is opened by the first."""

    def __init__(self, database: IsolatedDatabase) -> None:
        self._database = database
        self._pool: ConversationPool | None = None

    def __call__(self, context: Mapping[str, object], user: str = "") -> Conversation:
        """A conversation of a user; see ConversationPool.conversation.

        Raises:
            InvalidContext: the context does not fit the spec.
        """
        return self.pool.conversation(context, user)

    @property
    def pool(self) -> ConversationPool:
        """What your application makes of its settings."""
        if self._pool is None:
            self._pool = self._database.pool()
        return self._pool

    def __enter__(self) -> Conversations:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.close()


class AsyncConversations:
    """The same for asyncio; each `async with` has a pool of its own, in the loop that it runs in."""

    def __init__(self, database: IsolatedDatabase) -> None:
        self._database = database

    @asynccontextmanager
    async def __call__(self, context: Mapping[str, object], user: str = "") -> AsyncIterator[AsyncConversation]:
        """A conversation of a user; see AsyncConversationPool.conversation.

        Raises:
            InvalidContext: the context does not fit the spec.
        """
        database = self._database
        async with (
            AsyncConversationPool(
                database.dsn(database.conversation), database.spec, database.signing_key,
                known_holes="warn", max_size=2,
            ) as pool,
            pool.conversation(context, user) as talk,
        ):  # fmt: skip
            yield talk


class AsContext:
    """Connections of the conversation role with a context: what holds here, the database holds, without any guard."""

    def __init__(self, database: IsolatedDatabase) -> None:
        self._database = database

    def __call__(self, context: Mapping[str, object]) -> InContext:
        """For `with` and `async with`: a psycopg connection in a transaction with this context, rolled back at the end.

        The context ends with the transaction: after a commit or rollback of your own there is none.

        Raises:
            InvalidContext: the context does not fit the spec.
        """
        database = self._database
        return InContext(database.dsn(database.conversation), database.token(context))


@dataclass(slots=True)
class InContext(AbstractContextManager[Connection], AbstractAsyncContextManager[psycopg.AsyncConnection[Any]]):
    """One transaction under a context, for either kind of code."""

    _dsn: str = field(repr=False)
    _token: str = field(repr=False)
    _connection: Connection | None = None
    _async_connection: psycopg.AsyncConnection[Any] | None = None

    def __enter__(self) -> Connection:
        connection: Connection = psycopg.connect(self._dsn, prepare_threshold=None)
        self._connection = connection
        try:
            connection.execute(_SEAL, [self._token])
        except BaseException:
            connection.close()
            raise
        return connection

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()  # which rolls back

    async def __aenter__(self) -> psycopg.AsyncConnection[Any]:
        connection = await psycopg.AsyncConnection[Any].connect(self._dsn, prepare_threshold=None)
        self._async_connection = connection
        try:
            await connection.execute(_SEAL, [self._token])
        except BaseException:
            await connection.close()
            raise
        return connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._async_connection is not None:
            await self._async_connection.close()
