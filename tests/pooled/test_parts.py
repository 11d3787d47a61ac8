"""Through PgBouncer, on a standby, where backends, poolers and servers die: clear errors, and the pool serves on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import pytest

from rlsgen.errors import QueryFailed, QueryTimeout, StatementRefused, Unhealthy
from tests.pooled.askers import Asker, asker
from tests.pooled.conftest import Pair
from tests.pooled.crowd import HONEST, SLOW, Tally
from tests.pooled.place import Place
from tests.support.clusters import restart, wait_until
from tests.support.pooler import PgBouncer

KINDS = ("threads", "tasks")
LONG = "SELECT canary, repeat('x', 1000) AS filling FROM events, generate_series(1, 100)"
_ACTIVE = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND state = 'active' AND query LIKE %s"
_SIGNAL = "SELECT count({}(pid)) FROM pg_stat_activity WHERE usename = 'nl_conversation' AND datname = %s"


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["direct", "pooled", "standby"])
def place(request: pytest.FixtureRequest) -> Place:
    if request.param == "standby":
        pair: Pair = request.getfixturevalue("pair")
        return pair.copy
    found: Place = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def asking(place: Place, kind: str) -> Iterator[Asker]:
    """Two connections, and no limits in the way."""
    limits = replace(place.spec.limits, rows=None, bytes=None, seconds=60)
    with asker(kind, place, max_size=2, limits=limits) as found:
        yield found


def everybody(asking: Asker, *organisations: int) -> None:
    """The pool serves, and each its own."""
    tally = Tally()
    for own in organisations or (1, 17, 40):
        for honest in HONEST:
            rows = asking.query(own, honest.sql, honest.parameters).rows
            tally.look(own, rows, honest)
            tally.answered(own, honest, len(rows))
    assert tally.foreign + tally.wrong == []


def running(place: Place, what: str) -> None:
    """Wait until a backend works on something."""
    with place.administer() as administrator:
        wait_until(
            lambda: administrator.execute(_ACTIVE, [place.name, f"%{what}%"]).fetchone() == (1,), "it runs", seconds=20
        )


def signal(place: Place, function: str) -> None:
    """What an administrator does to all of the role's backends."""
    with place.administer() as administrator:
        administrator.execute(_SIGNAL.format(function).encode(), [place.name])


@pytest.fixture
def background() -> Iterator[Callable[..., Future[object]]]:
    with ThreadPoolExecutor(4) as executor:
        yield executor.submit


def test_everybody_is_served(asking: Asker) -> None:
    everybody(asking)


def test_its_health_is_fine(place: Place, asking: Asker) -> None:
    health = asking.check()
    assert health.problems == ()
    assert health.standby == (place.server.base != "" and _in_recovery(place))


def _in_recovery(place: Place) -> bool:
    with place.administer() as administrator:
        return administrator.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)


def test_errors_do_not_stay(asking: Asker) -> None:
    for _ in range(3):
        with pytest.raises(QueryFailed, match="division by zero"):
            asking.query(3, "SELECT canary, 1 / (id - id) FROM orders")
        with pytest.raises((StatementRefused, QueryFailed)):
            asking.query(3, "SELECT nothing FROM orders")
    everybody(asking, 3, 4)


@pytest.mark.parametrize("function", ["pg_terminate_backend", "pg_cancel_backend"])
def test_a_statement_that_is_ended_from_outside(
    place: Place, asking: Asker, function: str, background: Callable[..., Future[object]]
) -> None:
    asked = background(asking.query, 5, SLOW)
    running(place, "1000000")

    # PostgreSQL ignores a cancel that comes between two messages, as after a Bind that compiled for long: send it again
    def ended() -> bool:
        if not asked.done():
            signal(place, function)
        return asked.done()

    wait_until(ended, "it has ended")
    with pytest.raises(QueryFailed) as caught:
        asked.result()
    assert caught.value.hint
    everybody(asking)


def test_a_backend_that_dies_while_rows_arrive(place: Place, asking: Asker) -> None:
    seen: list[tuple[object, ...]] = []

    def kill_at_first(row: tuple[object, ...]) -> None:
        seen.append(row)
        if len(seen) == 10:
            signal(place, "pg_terminate_backend")
            wait_until(lambda: not set(pids) & set(place.backends()), "the backends are gone")

    asking.query(7, "SELECT count(*) FROM orders")
    pids = place.backends()
    with pytest.raises(QueryFailed, match=r"lost|ended"):
        asking.stream(7, LONG, kill_at_first)
    assert 10 <= len(seen) < 400_000
    assert {row[0] for row in seen} == {"CANARY-7"}
    everybody(asking)


@pytest.mark.parametrize("place", ["direct", "standby"], indirect=True)  # behind a pooler, noticing is the pooler's
def test_idle_connections_that_die_are_not_noticed_by_callers(place: Place, asking: Asker) -> None:
    everybody(asking, 1)
    before = set(place.backends())
    signal(place, "pg_terminate_backend")
    wait_until(lambda: not before & set(place.backends()), "the backends are gone")
    everybody(asking)


def test_a_deadline(place: Place, kind: str) -> None:
    """Cancelled at the server too: nothing of it runs on."""
    with asker(kind, place, max_size=2, limits=replace(place.spec.limits, seconds=1)) as asking:
        with pytest.raises(QueryTimeout) as caught:
            asking.query(9, SLOW)
        assert caught.value.seconds == 1
        with place.administer() as administrator:
            wait_until(
                lambda: administrator.execute(_ACTIVE, [place.name, "%1000000%"]).fetchone() == (0,), "it was cancelled"
            )
        everybody(asking)


class TestPooler:
    def test_it_dies_and_comes_back(
        self, pooled: Place, pooler: PgBouncer, kind: str, background: Callable[..., Future[object]]
    ) -> None:
        with asker(kind, pooled, max_size=2, timeout=2.0) as asking:
            everybody(asking, 1)
            asked = background(asking.query, 5, SLOW)
            running(pooled, "1000000")
            pooler.kill()
            with pytest.raises(QueryFailed, match=r"lost"):
                asked.result(30)
            with pytest.raises(QueryFailed):
                asking.query(5, "SELECT 1")
            pooler.start()
            wait_until(lambda: _serves(asking), "the pool serves again")
            everybody(asking)

    def test_more_conversations_than_it_has_connections(self, pooled: Place, kind: str) -> None:
        with asker(kind, pooled, max_size=20) as asking, ThreadPoolExecutor(20) as executor:
            list(executor.map(lambda own: everybody(asking, own), range(1, 21)))

    def test_without_the_guard_it_is_refused(self, pooled: Place, kind: str) -> None:
        """PgBouncer may do our DISCARD ALL on another server connection than the text was on."""
        with pytest.raises(Unhealthy, match="pooler"), asker(kind, pooled, guard=False):
            pass

    def test_no_startup_parameters_are_needed(self, pooler: PgBouncer) -> None:
        assert "unsupported startup parameter" not in pooler.log


def _serves(asking: Asker) -> bool:
    try:
        asking.query(1, "SELECT 1")
    except QueryFailed:
        return False
    return True


class TestServer:
    """A server of our own, restarted as after a crash."""

    @pytest.mark.parametrize("mode", ["fast", "immediate"])
    def test_it_restarts(self, pair: Pair, kind: str, mode: str, background: Callable[..., Future[object]]) -> None:
        with asker(kind, pair.place, max_size=2) as asking:
            everybody(asking, 1)
            asked = background(asking.query, 5, SLOW)
            running(pair.place, "1000000")
            restart(pair.primary, mode)
            with pytest.raises(QueryFailed, match=r"lost|ended"):
                asked.result(30)
            everybody(asking)


class TestStandby:
    @pytest.mark.parametrize("guard", [True, False])
    @pytest.mark.parametrize("text", [
        "INSERT INTO notes (user_id, canary, body) VALUES ('user_2', 'CANARY-2', 'x')",
        "UPDATE notes SET body = 'x'", "DELETE FROM notes",
    ])  # fmt: skip
    def test_writes_are_refused_and_said_so(self, pair: Pair, kind: str, text: str, guard: bool) -> None:
        with asker(kind, pair.copy, max_size=1, guard=guard) as asking:
            with pytest.raises(StatementRefused, match=r"read-only|may only read"):
                asking.query(2, text)
            everybody(asking, 2)
