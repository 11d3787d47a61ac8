"""The same engine for asyncio: sessions, streams, cancellation."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, inspect, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import selectinload

from rlsgen.errors import ContextRefused, LimitReached, QueryTimeout, StatementRefused
from rlsgen.runtime.sqlalchemy import conversation, health
from rlsgen.spec.model import Limits
from tests.runtime.conftest import Place
from tests.sqlalchemy.conftest import ALDER, BIRCH
from tests.sqlalchemy.models import Note, Order
from tests.sqlalchemy.test_streams import ENDLESS, MANY, active
from tests.support.clusters import wait_until

RunAsync = Callable[..., Any]


def test_sessions(run_async: RunAsync) -> None:
    async def main(engine: AsyncEngine) -> None:
        for context, organisation in ((ALDER, 1), (BIRCH, 2)):
            with conversation(engine, context):
                async with AsyncSession(engine) as session:
                    query = select(Order).options(selectinload(Order.user)).limit(20)
                    orders = (await session.scalars(query)).all()
                    assert {each.user.organisation_id for each in orders} == {organisation}
                    session.expire_all()
                    assert await session.run_sync(operator.attrgetter("bind")) is engine.sync_engine
        found = health(engine)
        assert found is not None
        assert found.healthy

    run_async(main)


def test_writes(run_async: RunAsync, place: Place) -> None:
    async def main(engine: AsyncEngine) -> None:
        with conversation(engine, ALDER):
            async with AsyncSession(engine) as session, session.begin():
                session.add_all([Note(user_id="user_1", title=f"async {n}") for n in range(5)])
                await session.flush()
                async with session.begin_nested() as nested:
                    session.add(Note(user_id="user_1", title="async undone"))
                    await session.flush()
                    await nested.rollback()
            async with engine.begin() as connection:
                gone = await connection.execute(text("DELETE FROM notes WHERE title LIKE 'async %' RETURNING title"))
                assert len(gone.all()) == 5

    run_async(main, writes=True)
    assert place.owner().execute("SELECT count(*) FROM notes WHERE title LIKE 'async %'").fetchone() == (0,)


def test_streams(run_async: RunAsync) -> None:
    async def main(engine: AsyncEngine) -> None:
        with conversation(engine, ALDER):
            async with engine.connect() as connection:
                result = await connection.stream(text(MANY))
                count = 0
                async for _ in result:
                    count += 1
                assert count == 300_000
            async with engine.connect() as connection:
                result = await connection.stream(text(MANY))
                assert len(await result.fetchmany(3)) == 3
            async with AsyncSession(engine) as session:
                orders = await session.stream_scalars(select(Order).execution_options(yield_per=100))
                seen = [each.organisation_id async for each in orders]
                assert len(seen) == 3_605
                assert set(seen) == {1}

    run_async(main)


def test_outside_of_a_block_and_hostile_text(run_async: RunAsync) -> None:
    async def main(engine: AsyncEngine) -> None:
        async with engine.connect() as connection:
            with pytest.raises(ContextRefused):
                await connection.execute(text("SELECT 1"))
        with conversation(engine, ALDER):
            async with engine.connect() as connection:
                with pytest.raises(StatementRefused):
                    await connection.exec_driver_sql("COMMIT; BEGIN READ WRITE; DELETE FROM notes")
                assert await connection.scalar(text("SELECT count(*) FROM organisations")) == 1

    run_async(main)


def test_reflection(run_async: RunAsync) -> None:
    async def main(engine: AsyncEngine) -> None:
        async with engine.connect() as connection:
            names = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
        assert "orders" in names
        assert "api_keys" not in names

    run_async(main)


def test_cancelled_tasks_cancel_at_the_server(run_async: RunAsync, place: Place) -> None:
    async def main(engine: AsyncEngine) -> None:
        async def endless() -> None:
            with conversation(engine, BIRCH):
                async with engine.connect() as connection:
                    await connection.execute(text(ENDLESS))

        for _ in range(3):
            task = asyncio.create_task(endless())
            while not active(place):
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            wait_until(lambda: not active(place), "the server has stopped")
        with conversation(engine, ALDER):
            async with engine.connect() as connection:
                assert set((await connection.scalars(select(Order.organisation_id))).all()) == {1}

    run_async(main, pool_size=1, max_overflow=0)


def test_timeouts_leave_the_loop_free(run_async: RunAsync) -> None:
    async def main(engine: AsyncEngine) -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        with conversation(engine, ALDER):
            async with engine.connect() as connection:
                with pytest.raises(QueryTimeout):
                    await connection.execute(text(ENDLESS))
                await connection.rollback()
                assert await connection.scalar(text("SELECT 1")) == 1
        ticking.cancel()
        assert ticks > 20

    run_async(main, limits=Limits(seconds=0.5))


def test_one_connection_is_not_for_two_tasks(run_async: RunAsync) -> None:
    async def main(engine: AsyncEngine) -> None:
        with conversation(engine, ALDER):
            async with engine.connect() as connection:
                await connection.scalar(text("SELECT 1"))
                counted = select(func.count()).select_from(Order)
                answers = await asyncio.gather(*(connection.scalar(counted) for _ in range(8)), return_exceptions=True)
        assert 3_605 in answers
        assert all(each == 3_605 or isinstance(each, SQLAlchemyError) for each in answers)

    run_async(main)


def test_turns(run_async: RunAsync) -> None:
    async def main(engine: AsyncEngine) -> None:
        async def ask() -> object:
            async with engine.connect() as connection:
                return await connection.scalar(select(func.count()).select_from(Order))

        with conversation(engine, ALDER):
            assert set(await asyncio.gather(*(ask() for _ in range(12)))) == {3_605}
            async with engine.connect() as connection, engine.connect() as other:
                result = await connection.stream(text(MANY))
                await result.fetchmany(1)
                with pytest.raises(LimitReached):
                    await other.scalar(text("SELECT 1"))
                await result.close()

    run_async(main, limits=Limits(per="organisationId", concurrent=1), pool_timeout=0.5, pool_size=12)
