"""Many conversations at once over two connections: no row of another organisation is ever seen."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from rlsgen.runtime.sqlalchemy import conversation
from tests.runtime.conftest import Place
from tests.sqlalchemy.conftest import MakeEngine
from tests.support.pooler import pgbouncer, program

ROWS = "SELECT organisation_id FROM orders ORDER BY id LIMIT 200"
HOSTILE = [
    "COMMIT; SET app.organisation_id = '1'",
    "COMMIT",
    "SELECT set_config('app.organisation_id', '1', false)",
    "PREPARE theft AS SELECT 1",
    "SELECT 1 / 0",
    "SELECT * FROM api_keys",
    "SELECT pg_advisory_lock(1)",
]


def context_of(number: int) -> dict[str, object]:
    return {"organisationId": number % 30 + 1, "userId": f"user_{number}"}


def attacking(guard: bool) -> AbstractContextManager[object]:
    """With the guard every attack is an error; without it some run, to no avail."""
    return pytest.raises(SQLAlchemyError) if guard else suppress(SQLAlchemyError)


def talk(engine: Engine, number: int, *, guard: bool) -> int:
    """One conversation: how many rows were seen, all of them its own."""
    dice, own, seen = random.Random(number), number % 30 + 1, 0
    with conversation(engine, context_of(number)):
        for _ in range(3):
            with engine.connect() as connection:
                if dice.random() < 0.4:
                    with attacking(guard):
                        connection.exec_driver_sql(dice.choice(HOSTILE))
                    connection.rollback()
                rows = connection.exec_driver_sql(ROWS).scalars().all()
                assert set(rows) <= {own}, f"{own} saw {set(rows)}"
                seen += len(rows)
    return seen


async def talk_async(engine: AsyncEngine, number: int, *, guard: bool) -> int:
    dice, own, seen = random.Random(number), number % 30 + 1, 0
    with conversation(engine, context_of(number)):
        for _ in range(3):
            async with engine.connect() as connection:
                if dice.random() < 0.4:
                    with attacking(guard):
                        await connection.exec_driver_sql(dice.choice(HOSTILE))
                    await connection.rollback()
                rows = (await connection.exec_driver_sql(ROWS)).scalars().all()
                assert set(rows) <= {own}, f"{own} saw {set(rows)}"
                seen += len(rows)
    return seen


# Without the guard, engines refuse to go through a pooler.
@pytest.fixture(params=[("direct", True), ("direct", False), ("pooler", True)], ids=str)
def way(request: pytest.FixtureRequest) -> tuple[str, bool]:
    found: tuple[str, bool] = request.param
    return found


@pytest.fixture
def guard(way: tuple[str, bool]) -> bool:
    return way[1]


@pytest.fixture
def dsn(way: tuple[str, bool], place: Place) -> Any:
    """The database's, and PgBouncer's in front of it, in transaction mode with two connections."""
    if way[0] == "pooler" and program() is None:
        pytest.skip("PgBouncer is not installed; .ci/run installs it")
    with pgbouncer(place.database.server.base, size=2) if way[0] == "pooler" else nullcontext() as running:
        yield place.dsn if running is None else running.dsn(place.database.name)


def test_threads(make_engine: MakeEngine, dsn: str, guard: bool) -> None:
    engine = make_engine(dsn=dsn, guard=guard, pool_size=2, max_overflow=0, pool_timeout=60)
    with ThreadPoolExecutor(24) as threads:
        assert sum(threads.map(lambda number: talk(engine, number, guard=guard), range(120))) > 30_000


def test_tasks(run_async: Callable[..., Any], dsn: str, guard: bool) -> None:
    async def main(engine: AsyncEngine) -> int:
        dice = random.Random(5)
        tasks = [asyncio.create_task(talk_async(engine, number, guard=guard)) for number in range(200)]
        for victim in dice.sample(tasks, 40):
            await asyncio.sleep(dice.random() * 0.02)
            victim.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        wrong = [each for each in done if not isinstance(each, int | asyncio.CancelledError)]
        assert wrong == []
        return sum(each for each in done if isinstance(each, int))

    assert run_async(main, dsn=dsn, guard=guard, pool_size=2, max_overflow=0, pool_timeout=60) > 30_000


def test_the_check_would_see_a_leak(make_engine: MakeEngine, place: Place, own_place: Place) -> None:
    """On a database whose tables have lost their row security, and without the guard's twins."""
    owner = own_place.owner()
    engine = make_engine(place=own_place, guard=False)
    assert talk(engine, 1, guard=False) > 0
    owner.execute("ALTER TABLE orders DISABLE ROW LEVEL SECURITY")
    with pytest.raises(AssertionError, match="saw"):
        talk(engine, 1, guard=False)
