"""Large results: constant memory, limits, and streams that are left."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from rlsgen.errors import ContextRefused, LimitReached, QueryTimeout, StatementError
from rlsgen.runtime.sqlalchemy import conversation
from rlsgen.spec.model import Limits
from tests.runtime.conftest import Place
from tests.sqlalchemy.conftest import ALDER, BIRCH, MakeEngine
from tests.sqlalchemy.models import Order
from tests.support.clusters import wait_until

MANY = "SELECT n, repeat('x', 100) AS filler FROM generate_series(1, 300000) AS n"
ENDLESS = "SELECT count(*) FROM orders a, orders b, orders c"


def active(place: Place) -> list[str]:
    """What conversations make the server do now."""
    asked = "SELECT query FROM pg_stat_activity WHERE usename = 'nl_conversation' AND state = 'active' AND datname = %s"
    with place.superuser() as superuser:
        return [query for (query,) in superuser.execute(asked, (place.database.name,))]


def peak(engine: Engine, **options: Any) -> tuple[int, int]:
    """Rows, and the most bytes that Python held at a time."""
    with conversation(engine, ALDER), engine.connect().execution_options(**options) as connection:
        tracemalloc.start()
        try:
            rows = sum(1 for _ in connection.execute(text(MANY)))
            return rows, tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("options", [{"stream_results": True}, {"yield_per": 500}])
def test_streams_take_constant_memory(engine: Engine, options: dict[str, Any]) -> None:
    rows, most = peak(engine, **options)
    assert rows == 300_000
    assert most < 4_000_000


def test_without_streaming_all_of_it_is_held(engine: Engine) -> None:
    rows, most = peak(engine)
    assert rows == 300_000
    assert most > 40_000_000


def test_orm_yield_per(engine: Engine) -> None:
    with conversation(engine, BIRCH), Session(engine) as session:
        seen = 0
        for part in session.scalars(select(Order).execution_options(yield_per=50)).partitions():
            assert {each.organisation_id for each in part} == {2}
            seen += len(part)
        assert seen > 300


def test_no_cursor_is_declared_at_the_server(place: Place, engine: Engine) -> None:
    with conversation(engine, ALDER), engine.connect().execution_options(stream_results=True) as connection:
        rows = connection.execute(text(MANY))
        rows.fetchone()
        found = active(place)
        assert len(found) == 1
        assert "DECLARE" not in found[0]
        assert "repeat" in found[0]


def test_a_stream_that_is_left_is_cancelled(make_engine: MakeEngine, place: Place) -> None:
    engine = make_engine(pool_size=1, max_overflow=0)
    with conversation(engine, ALDER):
        with engine.connect().execution_options(stream_results=True) as connection:
            connection.execute(text(MANY)).fetchmany(3)
        wait_until(lambda: not active(place), "the server has stopped")
        with engine.connect() as connection:  # the pool has a new one
            assert connection.scalar(text("SELECT count(*) FROM organisations")) == 1


def test_a_stream_that_is_left_ends_its_transaction(engine: Engine) -> None:
    with conversation(engine, ALDER), engine.connect() as connection:
        rows = connection.execution_options(stream_results=True).execute(text(MANY))
        rows.fetchone()
        rows.close()
        with pytest.raises(SQLAlchemyError, match=r"connection was closed|rolled back"):
            connection.execute(text("SELECT 1"))
        connection.rollback()
        assert connection.scalar(text("SELECT 1")) == 1


def test_a_stream_ends_with_its_block(engine: Engine) -> None:
    with engine.connect().execution_options(stream_results=True) as connection:
        with conversation(engine, ALDER):
            rows = connection.execute(text(MANY))
            rows.fetchone()
        with pytest.raises(ContextRefused, match="is over"):
            rows.all()


@pytest.mark.parametrize("streaming", [False, True])
def test_too_many_rows_are_an_error(make_engine: MakeEngine, streaming: bool) -> None:
    engine = make_engine(limits=Limits(rows=100))
    with conversation(engine, ALDER):
        with engine.connect().execution_options(stream_results=streaming) as connection:
            assert len(connection.execute(text("SELECT id FROM orders LIMIT 100")).all()) == 100
            with pytest.raises(StatementError, match="more than 100 rows") as caught:
                connection.execute(text("SELECT id FROM orders LIMIT 101")).all()
            assert "LIMIT" in caught.value.hint
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT 1")) == 1


def test_too_many_bytes_are_an_error(make_engine: MakeEngine) -> None:
    engine = make_engine(limits=Limits(bytes=10_000))
    with conversation(engine, ALDER), engine.connect() as connection:
        with pytest.raises(StatementError, match="more than 10,000 bytes"):
            connection.execute(text("SELECT repeat('x', 1000) FROM generate_series(1, 20)"))
        connection.rollback()
        assert connection.scalar(text("SELECT repeat('x', 1000)")) == "x" * 1_000


def test_seconds(make_engine: MakeEngine) -> None:
    engine = make_engine(limits=Limits(seconds=0.4), pool_size=1, max_overflow=0)
    with conversation(engine, ALDER), engine.connect() as connection:
        with pytest.raises(QueryTimeout, match=r"0\.4 s"):
            connection.execute(text(ENDLESS))
        connection.rollback()
        assert connection.scalar(text("SELECT 1")) == 1


def test_statements_per_minute(make_engine: MakeEngine) -> None:
    engine = make_engine(limits=Limits(per="organisationId", per_minute=3))
    with conversation(engine, ALDER), engine.connect() as connection:
        for _ in range(3):
            connection.execute(text("SELECT 1"))
        with pytest.raises(LimitReached) as caught:
            connection.execute(text("SELECT 1"))
        assert caught.value.limit == "per_minute"
        connection.rollback()
    with conversation(engine, BIRCH), engine.connect() as connection:
        assert connection.scalar(text("SELECT 1")) == 1


def test_statements_at_a_time(make_engine: MakeEngine) -> None:
    engine = make_engine(limits=Limits(per="organisationId", concurrent=1), pool_timeout=0.2)
    with conversation(engine, ALDER), engine.connect() as connection, engine.connect() as other:
        rows = connection.execution_options(stream_results=True).execute(text(MANY))
        rows.fetchone()
        with pytest.raises(LimitReached) as caught:
            other.execute(text("SELECT 1"))
        assert caught.value.limit == "concurrent"
        rows.close()
        other.rollback()
        assert other.scalar(text("SELECT 1")) == 1
