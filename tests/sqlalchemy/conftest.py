"""A provisioned shop, and engines on it that are disposed of at the end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from rlsgen.runtime.sqlalchemy import create_async_conversation_engine, create_conversation_engine
from rlsgen.spec.load import load_spec
from rlsgen.spec.model import Limits
from tests.runtime.conftest import POLICIES, Place, provisioned
from tests.support.postgres import Database, Databases, Server

ALDER = {"organisationId": 1, "teamId": 1, "userId": "user_1"}
BIRCH = {"organisationId": 2, "teamId": 4, "userId": "user_301"}

MakeEngine = Callable[..., Engine]
MakeAsyncEngine = Callable[..., AsyncEngine]
_QUIET: dict[str, Any] = {"known_holes": "warn", "limits": Limits()}  # embedded servers have known holes


@pytest.fixture(scope="session")
def place(server: Server, shop_template: str) -> Iterator[Place]:
    """The shop that most tests talk to. What they change they change back."""
    databases = Databases(server, f"alchemy_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.getpid()}")
    yield provisioned(databases(template=shop_template), load_spec(POLICIES))
    databases.drop()


@pytest.fixture
def own_place(shop: Database) -> Place:
    """A provisioned shop that a test may break."""
    return provisioned(shop, load_spec(POLICIES))


@pytest.fixture
def make_engine(place: Place) -> Iterator[MakeEngine]:
    """`make_engine(**options)`: an engine on the shop, or on `place=`."""
    made: list[Engine] = []

    def make(**options: Any) -> Engine:
        where = options.pop("place", place)
        dsn = options.pop("dsn", where.dsn)
        made.append(create_conversation_engine(dsn, where.spec, where.key, **_QUIET | options))
        return made[-1]

    yield make
    for engine in made:
        engine.dispose()


@pytest.fixture
def engine(make_engine: MakeEngine) -> Engine:
    """As most applications have it: it only reads."""
    return make_engine()


@pytest.fixture
def writer(make_engine: MakeEngine) -> Engine:
    """One that may write what the spec allows."""
    return make_engine(writes=True)


@pytest.fixture
def run_async(place: Place) -> Callable[..., Any]:
    """`run_async(test, **options)`: `await test(engine)` in an event loop and on an engine of its own."""

    def run(test: Callable[[AsyncEngine], Any], **options: Any) -> Any:
        where = options.pop("place", place)
        dsn = options.pop("dsn", where.dsn)

        async def main() -> Any:
            engine = create_async_conversation_engine(dsn, where.spec, where.key, **_QUIET | options)
            try:
                return await test(engine)
            finally:
                await engine.dispose()

        return asyncio.run(main())

    return run
