"""What a pooled connection carries over: nothing. The protocol, hostile texts, interruptions of every kind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, cast

import psycopg
import pytest

from rlsgen import AsyncConversationPool, ConversationPool
from rlsgen.errors import Closed, QueryTimeout, RlsgenError
from rlsgen.runtime.session import Order
from rlsgen.spec.model import Limits
from tests.runtime.conftest import Place
from tests.runtime.talking import ALDER, BIRCH, Behind, Pool
from tests.runtime.wires import Wire

Make = Callable[..., Pool]
NO_LIMITS = Limits(per="organisationId")


def messages(sent: bytes) -> Iterator[tuple[str, bytes]]:
    """The frontend's messages: their type and body."""
    while len(sent) >= 5:
        length = int.from_bytes(sent[1:5], "big")
        yield chr(sent[0]), bytes(sent[5 : 1 + length])
        sent = sent[1 + length :]


@pytest.mark.parametrize("guard", [True, False])
def test_one_flight_two_syncs_unnamed_and_the_token_bound(
    place: Place, make_pool: Make, wire: Callable[[str], Wire], guard: bool
) -> None:
    between = wire(place.dsn)
    talk = make_pool(place, dsn=between.dsn, guard=guard, max_size=1).conversation(ALDER)
    talk.query("SELECT 1")
    between.delay = 0.02
    between.sent.clear()
    between.turns.clear()
    assert talk.query("SELECT count(*) FROM orders WHERE id > $1", [5]).rows[0][0] > 100
    assert between.turns == ["client", "server"]
    flight = list(messages(bytes(between.sent)))
    kinds = "".join(kind for kind, _ in flight)
    assert "Q" not in kinds
    assert kinds.count("S") == (2 if guard else 3)
    for kind, body in flight:
        if kind in "PB":
            assert body.startswith(b"\x00"), "a name"
        if kind == "P":
            assert b"eyJ" not in body, "a token in a text"
    assert sum(b"eyJ" in body for kind, body in flight if kind == "B") == 1
    parsed = [body[1:].split(b"\x00")[0] for kind, body in flight if kind == "P"]
    assert parsed[0].endswith(b"READ ONLY")
    assert parsed[1].startswith(b"SELECT pg_catalog.set_config(")
    assert parsed[3] == b"ROLLBACK"


@pytest.mark.parametrize("delay", [0.005, 0.02])
def test_it_takes_one_round_trip(place: Place, make_pool: Make, wire: Callable[[str], Wire], delay: float) -> None:
    between = wire(place.dsn)
    talk = make_pool(place, dsn=between.dsn, max_size=1).conversation(ALDER)
    talk.query("SELECT 1")
    between.delay = delay
    times = []
    for _ in range(5):
        began = time.perf_counter()
        talk.query("SELECT 1")
        times.append(time.perf_counter() - began)
    assert min(times) < 2 * delay + 0.015


HOSTILE = [
    "PREPARE theft AS SELECT 1",
    "PREPARE _pg3_0 AS SELECT 'stolen'",
    "SELECT pg_advisory_lock(4711)",
    "SELECT set_config('search_path', 'pg_temp', false)",
    "SET DateStyle = 'German'",
    "SET TimeZone = 'Asia/Tokyo'",
    "SET standard_conforming_strings = off",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
    "SET default_transaction_isolation = serializable",
    "SET statement_timeout = 1",
    "LISTEN gossip",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    "COMMIT",
    "ROLLBACK",
    "END",
    "COMMIT AND CHAIN",
    "ROLLBACK AND CHAIN",
    "BEGIN",
    "START TRANSACTION READ WRITE",
    "SET TRANSACTION READ WRITE",
    "PREPARE TRANSACTION 'later'",
    "SAVEPOINT a",
    "DISCARD ALL",
    "DEALLOCATE ALL",
    "RESET ALL",
    "SET ROLE shop_owner",
    "COPY (SELECT 1) TO STDOUT",
    "DROP OWNED BY CURRENT_USER",
    "DO $$ BEGIN COMMIT; PERFORM set_config('app.organisation_id', '2', false); COMMIT; END $$",
    "SELECT set_config('app.organisation_id', '2', false), set_config('app.rlsgen_seal', 'x', false)",
]
STATE = (
    "SELECT (SELECT string_agg(name, ',') FROM pg_prepared_statements) AS prepared,"
    " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) AS locks,"
    " current_setting('DateStyle') AS dates, current_setting('TimeZone') AS zone,"
    " current_setting('standard_conforming_strings') AS strings, current_setting('search_path') AS path,"
    " current_setting('transaction_read_only') AS reads, current_setting('transaction_isolation') AS isolation,"
    " (SELECT count(*) FROM pg_listening_channels()) AS channels,"
    " (SELECT count(*) FROM pg_cursors WHERE name <> '') AS cursors,"
    " current_user::text AS me, current_setting('app.organisation_id') AS organisation"
)


@pytest.mark.parametrize("text", HOSTILE)
def test_without_the_guard_nothing_reaches_the_next_conversation(place: Place, make_pool: Make, text: str) -> None:
    pool = make_pool(place, guard=False, max_size=1, limits=NO_LIMITS)
    clean = pool.conversation(BIRCH).query(STATE).rows
    for _ in range(2):
        with contextlib.suppress(RlsgenError):  # refused or done: what counts is what is left
            pool.conversation(ALDER).query(text)
        assert pool.conversation(BIRCH).query(STATE).rows == clean
    assert clean[0][0] is None
    assert clean[0][-1] == "2"


def test_the_hijack_works_on_a_naive_pool(place: Place) -> None:
    """THREATS D: a text replaces the statement that psycopg prepared by name, and the next caller runs it."""
    with psycopg.connect(place.dsn, autocommit=True, prepare_threshold=0) as naive:
        ours = "SELECT %s::text AS token"
        assert naive.execute(ours, ["secret"]).fetchone() == ("secret",)
        name = naive.execute("SELECT name FROM pg_prepared_statements LIMIT 1", prepare=False).fetchone()
        assert name is not None
        naive.execute(f"DEALLOCATE {name[0]}", prepare=False)
        naive.execute(f"PREPARE {name[0]} (text) AS SELECT 'stolen: ' || $1", prepare=False)
        assert naive.execute(ours, ["secret"]).fetchone() == ("stolen: secret",)


@pytest.mark.parametrize("discard", [True, False], ids=["discarded", "even if nothing were discarded"])
def test_the_hijack_fails_here(place: Place, make_pool: Make, monkeypatch: pytest.MonkeyPatch, discard: bool) -> None:
    if not discard:
        made = Order.__init__
        monkeypatch.setattr(
            Order, "__init__", lambda self, *given, **named: made(self, *given, **named | {"discard": False})
        )
    pool = make_pool(place, guard=False, max_size=1, limits=NO_LIMITS)
    thief, victim = pool.conversation(ALDER), pool.conversation(BIRCH)
    for name in ("_pg3_0", "_pg3_1", '""', "s0"):
        with contextlib.suppress(RlsgenError):
            thief.query(f"PREPARE {name} (text) AS SELECT 'stolen: ' || $1")
    prepared = victim.query("SELECT count(*) FROM pg_prepared_statements").rows
    assert prepared == [(0 if discard else 3,)]  # the mutation: without DISCARD ALL they stay, and are run by nobody
    assert victim.query("SELECT DISTINCT organisation_id, 'mine' FROM orders").rows == [(2, "mine")]
    assert victim.query("SELECT $1::text", ["secret"]).rows == [("secret",)]


def test_the_role_and_mode_of_the_text_are_ours(place: Place, make_pool: Make) -> None:
    talk = make_pool(place, guard=False, max_size=1, limits=NO_LIMITS).conversation(ALDER)
    for text in ("INSERT INTO notes (user_id, title) VALUES ('user_1', 'x')", "SET TRANSACTION READ WRITE"):
        with pytest.raises(RlsgenError):
            talk.query(text)
    assert talk.query("SELECT count(*) FROM notes WHERE title = 'x'").rows == [(0,)]


def test_settings_of_the_role_do_not_change_answers(own_place: Place, make_pool: Make) -> None:
    """A database with unusual settings answers alike, since every flight makes its own."""
    text = (
        "SELECT date '2026-02-01', timestamptz '2026-02-01 00:00+00', interval '1 month 2 days', 0.1::float8 / 3,"
        " '\\x00ff'::bytea, 'a\\b', '01/02/2026'::date"
    )
    usual = make_pool(own_place).conversation(ALDER).query(text).rows
    with own_place.superuser() as administrator:
        for setting in (
            "DateStyle = 'German, DMY'", "TimeZone = 'Asia/Tokyo'", "IntervalStyle = 'sql_standard'",
            "extra_float_digits = -10", "bytea_output = 'escape'", "standard_conforming_strings = off",
            "search_path = pg_temp", "escape_string_warning = off",
        ):  # fmt: skip
            administrator.execute(f'ALTER DATABASE "{own_place.database.name}" SET {setting}')
    assert make_pool(own_place).conversation(ALDER).query(text).rows == usual
    raw = make_pool(own_place, guard=False).conversation(ALDER)
    assert raw.query("SELECT 'a\\b', '01/02/2026'::date").rows == [usual[0][5:]]


def backends(place: Place, words: str) -> int:
    with psycopg.connect(place.database.dsn(place.database.server.superuser), autocommit=True) as watcher:
        text = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'nl_conversation'"
            " AND state <> 'idle' AND query LIKE %s"
        )
        row = watcher.execute(text, [f"%{words}%"]).fetchone()
        assert row is not None
        return int(row[0])


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def options(place: Place, **more: Any) -> dict[str, Any]:
    return {"known_holes": "warn", "min_size": 0, "guard": False, "limits": NO_LIMITS, **more}


def test_ctrl_c(place: Place) -> None:
    with ConversationPool(place.dsn, place.spec, place.key, **options(place, max_size=1, timeout=5)) as pool:
        talk = pool.conversation(ALDER)

        def interrupt() -> None:
            until(lambda: backends(place, "pg_sleep(31)") == 1)
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            talk.query("SELECT pg_sleep(31)")
        thread.join()
        until(lambda: backends(place, "pg_sleep(31)") == 0)  # cancelled, not merely forgotten
        assert talk.query("SELECT 1").rows == [(1,)]


def test_a_cancelled_task(place: Place) -> None:
    async def main() -> None:
        async with AsyncConversationPool(
            place.dsn, place.spec, place.key, **options(place, max_size=1, timeout=5)
        ) as pool:
            talk = pool.conversation(ALDER)
            task = asyncio.create_task(talk.query("SELECT pg_sleep(32)"))
            await asyncio.to_thread(until, lambda: backends(place, "pg_sleep(32)") == 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(until, lambda: backends(place, "pg_sleep(32)") == 0)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await talk.query("SELECT pg_sleep(32)")
            assert (await talk.query("SELECT 1")).rows == [(1,)]

    asyncio.run(main())


def test_random_cancellations_lose_no_turn_and_no_connection(place: Place) -> None:
    chance = random.Random(3)

    async def main() -> None:
        async with AsyncConversationPool(
            place.dsn, place.spec, place.key, **options(place, max_size=2, timeout=30)
        ) as pool:
            wrong: list[object] = []

            async def talk(number: int) -> None:
                organisation = 1 + number % 5
                mine = pool.conversation({"organisationId": organisation, "userId": "u"})
                rows = (await mine.query("SELECT organisation_id, pg_sleep(0.001) FROM teams")).rows
                wrong.extend(row for row in rows if row[0] != organisation)

            tasks = [asyncio.create_task(talk(number)) for number in range(150)]
            for task in tasks:
                await asyncio.sleep(chance.random() * 0.004)
                if chance.random() < 0.5:
                    task.cancel()
                    if chance.random() < 0.5:
                        await asyncio.sleep(0)
                        task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert wrong == []
            assert [each for each in results if not isinstance(each, asyncio.CancelledError | None)] == []
            await asyncio.gather(*pool._tasks)
            assert pool._core.admission.running == 0
            for _ in range(3):
                both = await asyncio.gather(*(pool.conversation(ALDER).query("SELECT 1") for _ in range(2)))
                assert [each.rows for each in both] == [[(1,)], [(1,)]]

    asyncio.run(main())


def test_the_event_loop_is_never_blocked(place: Place) -> None:
    """While statements run, time out and are cancelled, and connections are made, a heart beats on."""
    limits = replace(NO_LIMITS, seconds=0.3)

    async def main() -> float:
        async with AsyncConversationPool(
            place.dsn, place.spec, place.key, **options(place, max_size=4, limits=limits)
        ) as pool:
            longest = 0.0

            async def beat() -> None:
                nonlocal longest
                while True:
                    began = time.monotonic()
                    await asyncio.sleep(0.005)
                    longest = max(longest, time.monotonic() - began)

            heart = asyncio.create_task(beat())
            texts = ["SELECT pg_sleep(5)", "SELECT 1", "COPY (SELECT 1) TO STDOUT", "SELECT pg_sleep(0.1)"] * 3
            talk = pool.conversation(ALDER)
            await asyncio.gather(*(talk.query(text) for text in texts), return_exceptions=True)
            heart.cancel()
            return longest

    assert asyncio.run(main()) < 0.2


def test_a_pool_belongs_to_its_loop(place: Place) -> None:
    async def opened() -> AsyncConversationPool:
        pool = AsyncConversationPool(place.dsn, place.spec, place.key, **options(place))
        with pytest.raises(RlsgenError):
            await pool.conversation(ALDER).query("SELECT 1")  # not open yet
        await pool.open()
        await pool.open()
        return pool

    async def elsewhere(pool: AsyncConversationPool) -> None:
        with pytest.raises(Closed, match="event loop"):
            await pool.conversation(ALDER).query("SELECT 1")

    first = asyncio.new_event_loop()
    pool = first.run_until_complete(opened())
    asyncio.run(elsewhere(pool))
    first.run_until_complete(pool.close())
    first.close()


def test_a_pool_is_not_used_after_a_fork(place: Place, make_pool: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = make_pool(place)
    talk = pool.conversation(ALDER)
    here = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: here + 1)
    with pytest.raises(Closed, match="another process"):
        talk.query("SELECT 1")
    with pytest.raises(Closed, match="another process"):
        pool.conversation(ALDER)
    monkeypatch.undo()
    assert talk.query("SELECT 1").rows == [(1,)]


def test_a_timeout_leaves_nothing_running(place: Place, make_pool: Make) -> None:
    limits = replace(NO_LIMITS, seconds=0.3)
    talk = make_pool(place, guard=False, limits=limits, max_size=1).conversation(ALDER)
    with pytest.raises(QueryTimeout):
        talk.query("SELECT pg_sleep(33)")
    until(lambda: backends(place, "pg_sleep(33)") == 0)


def test_closing_a_pool_lets_what_runs_come_to_its_end(place: Place, make_pool: Make) -> None:
    pool = make_pool(place, guard=False, max_size=2, limits=NO_LIMITS)
    talk = pool.conversation(ALDER)
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(talk.query("SELECT pg_sleep(0.5)::text, 34").rows))
    thread.start()
    until(lambda: backends(place, "0.5)::text, 34") == 1)
    inner: Any = getattr(pool, "pool", pool)
    if inner is pool:
        pool.close()
    else:
        asyncio.run_coroutine_threadsafe(inner.close(), cast(Behind, pool).loop).result(20)
    thread.join()
    assert found == [[("", 34)]]
    until(lambda: backends(place, "") == 0)
