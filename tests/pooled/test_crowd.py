"""Hundreds of conversations at once over few connections, hostile ones among them: nobody ever sees another's row.

`--crowd SECONDS` says for how long each crowd talks. What was seen is printed (`pytest -rP`, or -s).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from tests.pooled.crowd import Tally
from tests.pooled.drivers import AFTERWARDS, Trouble, serves_all, serves_all_async, tasks, threads, trouble
from tests.pooled.place import ORGANISATIONS, Place
from tests.support.pooler import PgBouncer

THREADS, TASKS = 200, 300
SIZE = 4  # connections, ours or the pooler's


@pytest.fixture
def seconds(pytestconfig: pytest.Config) -> float:
    return float(pytestconfig.getoption("--crowd"))


class _Listener(logging.Handler):
    """Reads along with the audit log, which must not say anybody's canary."""

    def __init__(self) -> None:
        super().__init__()
        self.events = 0
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.events += 1
        line = record.getMessage()
        if "CANARY" in line:
            self.said.append(line)


@pytest.fixture(autouse=True)
def audited() -> Iterator[None]:
    """Hundreds of thousands of events, kept from pytest, which would remember them all."""
    listener, loggers = _Listener(), [logging.getLogger(name) for name in ("rlsgen.audit", "rlsgen", "psycopg.pool")]
    before = [(each.propagate, each.level) for each in loggers]
    for each in loggers:
        each.propagate = False
        each.addHandler(listener)
    loggers[0].setLevel(logging.INFO)
    yield
    for each, (propagate, level) in zip(loggers, before, strict=True):
        each.removeHandler(listener)
        each.propagate = propagate
        each.setLevel(level)
    assert listener.said == []
    assert listener.events > 0


@pytest.fixture
def place(request: pytest.FixtureRequest, way: tuple[str, bool]) -> Place:
    """Directly, or through PgBouncer."""
    found: Place = request.getfixturevalue(way[0])
    return found


@pytest.fixture
def troublesome(place: Place, request: pytest.FixtureRequest) -> PgBouncer | None:
    """The pooler to be killed, where there is one."""
    pooler: PgBouncer = request.getfixturevalue("pooler")
    return pooler if str(pooler.directory) in place.way else None


def judge(name: str, tally: Tally, after: Tally, harm: Trouble, seconds: float) -> None:
    print(f"\n{name}: {tally}; {harm.kills} kills, {harm.restarts} restarts of the pooler; afterwards {after}")
    assert tally.foreign + after.foreign == []
    assert tally.wrong + after.wrong == []
    assert after.asked == len(ORGANISATIONS) * len(AFTERWARDS)
    # Or it proves little: people were served, hostile texts ran or were refused, and things went wrong.
    assert tally.rows > 20_000 * seconds
    assert tally.asked > 5 * seconds
    assert harm.kills > 0
    assert tally.ends["StatementRefused"] > 0


def planted(place: Place) -> list[tuple[object, ...]]:
    """Notes that belong to another than who wrote them; and notes that somebody else than their owner deleted."""
    with place.administer() as administrator:
        found = administrator.execute("SELECT * FROM notes WHERE canary <> 'CANARY-' || substr(user_id, 6)").fetchall()
        found += administrator.execute(
            "SELECT user_id, count(*) FROM notes WHERE body = 'written before' GROUP BY 1 HAVING count(*) <> 100"
        ).fetchall()
    return found


def names(guard: bool) -> str:
    return "guard" if guard else "no guard"


# Without the guard, pools refuse to go through a pooler (test_parts.py).
WAYS = [("direct", True), ("direct", False), ("pooled", True)]


@pytest.fixture(params=WAYS, ids=lambda way: f"{way[0]}, {names(way[1])}")
def way(request: pytest.FixtureRequest) -> tuple[str, bool]:
    found: tuple[str, bool] = request.param
    return found


@pytest.fixture
def guard(way: tuple[str, bool]) -> bool:
    return way[1]


def test_threads(place: Place, troublesome: PgBouncer | None, seconds: float, guard: bool) -> None:
    limits = replace(place.spec.limits, seconds=1)
    with place.pool(guard=guard, max_size=SIZE if troublesome is None else 50, limits=limits) as pool:
        with trouble(place, troublesome) as harm:
            tally = threads(pool, THREADS, seconds)
        after = serves_all(pool)
    judge(f"{THREADS} threads, {names(guard)}", tally, after, harm, seconds)
    assert planted(place) == []


def test_tasks(place: Place, troublesome: PgBouncer | None, seconds: float, guard: bool) -> None:
    limits = replace(place.spec.limits, seconds=1)

    async def crowd() -> tuple[Tally, Tally, Trouble]:
        size = SIZE if troublesome is None else 50
        async with place.async_pool(guard=guard, max_size=size, limits=limits) as pool:
            with trouble(place, troublesome) as harm:
                tally = await tasks(pool, TASKS, seconds)
            return tally, await serves_all_async(pool), harm

    tally, after, harm = asyncio.run(crowd())
    judge(f"{TASKS} tasks, {names(guard)}", tally, after, harm, seconds)
    assert tally.ends["cancelled"] > 0
    assert planted(place) == []


def test_a_leak_would_be_seen(direct: Place) -> None:
    """The same look at answers of a role without row security, by a pool that does not notice for once."""
    with direct.pool(guard=False, twins=False, self_check_seconds=3_600) as pool:
        try:
            with psycopg.connect(direct.server.dsn(direct.name, "shop_owner"), autocommit=True) as owner:
                owner.execute("ALTER TABLE orders DISABLE ROW LEVEL SECURITY")
            tally = threads(pool, 8, 1.0)
        finally:
            with psycopg.connect(direct.server.dsn(direct.name, "shop_owner"), autocommit=True) as owner:
                owner.execute("ALTER TABLE orders ENABLE ROW LEVEL SECURITY")
        assert tally.foreign
        assert tally.wrong
        assert not serves_all(pool).foreign
