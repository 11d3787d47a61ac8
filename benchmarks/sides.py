"""The sides that benchmarks/runtime.py compares: a conversation, what one writes by hand with psycopg, a bare query.

Each is a context manager that gives a function, which asks a query for a tenant: for threads, and for asyncio.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg_pool import AsyncConnectionPool, ConnectionPool
from tenants import TENANTS

from rlsgen import AsyncConversationPool, ConversationPool
from rlsgen.demo.server import Server
from rlsgen.demo.shop import CONVERSATION, OWNER
from rlsgen.runtime.token import SigningKey, mint
from rlsgen.spec.model import Spec

DATABASE = "bench"

Ask = Callable[[LiteralString, int], object]
"""Asks a query for a tenant."""
AskAsync = Callable[[LiteralString, int], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Place:
    """A provisioned database, and what it takes to talk to it."""

    server: Server
    spec: Spec
    key: SigningKey
    folder: Path
    rows: int

    def dsn(self, role: str = CONVERSATION) -> str:
        """The database, as a role."""
        return self.server.dsn(DATABASE, role)

    def token(self, tenant: int) -> str:
        """What one mints by hand."""
        return mint(self.key, self.spec.context, {"organisationId": tenant})


@contextmanager
def conversations(place: Place, dsn: str = "", size: int = 1, **options: Any) -> Iterator[Ask]:
    """Ours."""
    with ConversationPool(
        dsn or place.dsn(), place.spec, place.key, min_size=size, max_size=size, known_holes="warn", **options
    ) as pool:
        talks = {tenant: pool.conversation({"organisationId": tenant}) for tenant in TENANTS.values()}
        yield lambda query, tenant: talks[tenant].query(query).rows


@contextmanager
def by_hand(
    place: Place, dsn: str = "", size: int = 1, threshold: int | None = None, *, bind: bool = False
) -> Iterator[Ask]:
    """The transaction of four statements. `bind`: the query's $1 is the tenant."""
    with ConnectionPool(dsn or place.dsn(), kwargs=_settings(threshold), min_size=size, max_size=size) as pool:
        pool.wait()

        def ask(query: LiteralString, tenant: int) -> object:
            with pool.connection() as connection:
                connection.execute("BEGIN READ ONLY")
                connection.execute("SELECT rlsgen.set_context($1)", [place.token(tenant)])
                rows = connection.execute(query, [tenant] if bind else None).fetchall()
                connection.execute("ROLLBACK")
                return rows

        yield ask


@contextmanager
def bare(place: Place, dsn: str = "") -> Iterator[Ask]:
    """One query and nothing else: nothing is protected. As the owner, who needs no context."""
    with ConnectionPool(dsn or place.dsn(OWNER), kwargs=_settings(None), min_size=1, max_size=1) as pool:
        pool.wait()

        def ask(query: LiteralString, tenant: int) -> object:
            with pool.connection() as connection:
                return connection.execute(query).fetchall()

        yield ask


@asynccontextmanager
async def conversations_async(place: Place, dsn: str = "", size: int = 1) -> AsyncIterator[AskAsync]:
    """Ours."""
    async with AsyncConversationPool(
        dsn or place.dsn(), place.spec, place.key, min_size=size, max_size=size, known_holes="warn"
    ) as pool:
        talks = {tenant: pool.conversation({"organisationId": tenant}) for tenant in TENANTS.values()}

        async def ask(query: LiteralString, tenant: int) -> object:
            return (await talks[tenant].query(query)).rows

        yield ask


@asynccontextmanager
async def by_hand_async(
    place: Place, dsn: str = "", size: int = 1, threshold: int | None = None
) -> AsyncIterator[AskAsync]:
    """The transaction of four statements."""
    pool: AsyncConnectionPool[psycopg.AsyncConnection[Any]] = AsyncConnectionPool(
        dsn or place.dsn(), kwargs=_settings(threshold, asynchronous=True), min_size=size, max_size=size, open=False
    )
    async with pool:
        await pool.wait()

        async def ask(query: LiteralString, tenant: int) -> object:
            async with pool.connection() as connection:
                await connection.execute("BEGIN READ ONLY")
                await connection.execute("SELECT rlsgen.set_context($1)", [place.token(tenant)])
                rows = await (await connection.execute(query)).fetchall()
                await connection.execute("ROLLBACK")
                return rows

        yield ask


@asynccontextmanager
async def bare_async(place: Place, dsn: str = "") -> AsyncIterator[AskAsync]:
    """One query and nothing else: nothing is protected. As the owner, who needs no context."""
    pool: AsyncConnectionPool[psycopg.AsyncConnection[Any]] = AsyncConnectionPool(
        dsn or place.dsn(OWNER), kwargs=_settings(None, asynchronous=True), min_size=1, max_size=1, open=False
    )
    async with pool:
        await pool.wait()

        async def ask(query: LiteralString, tenant: int) -> object:
            async with pool.connection() as connection:
                return await (await connection.execute(query)).fetchall()

        yield ask


def _settings(threshold: int | None, *, asynchronous: bool = False) -> dict[str, Any]:
    # Statements that are prepared by name can be replaced by untrusted SQL, and fail behind poolers.
    raw = psycopg.AsyncRawCursor if asynchronous else psycopg.RawCursor  # the fastest: it looks for no placeholders
    return {"autocommit": True, "prepare_threshold": threshold, "cursor_factory": raw}
