"""What a conversation's statements return: rows, columns, filters, writes, limits, streams; for both kinds of pools."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from rlsgen.errors import InvalidContext, LimitReached, QueryTimeout, StatementRefused
from rlsgen.identifiers import Name
from rlsgen.spec.model import Limits
from tests.runtime.conftest import Place
from tests.runtime.talking import ALDER, BIRCH, Pool

Make = Callable[..., Pool]
NO_LIMITS = Limits(per="organisationId")


def test_two_users_ask_the_same_and_get_their_own(place: Place, make_pool: Make) -> None:
    pool = make_pool(place)
    for context in (ALDER, BIRCH):
        talk = pool.conversation(context, user="somebody")
        result = talk.query("SELECT DISTINCT organisation_id FROM orders")
        assert result.rows == [(context["organisationId"],)]
        assert [(each.name, each.type) for each in result.columns] == [("organisation_id", "integer")]
        assert [each.relation for each in result.filters] == [Name("public", "orders")]
        assert result.filters[0].filter == "organisation_id = userContext.organisationId"
        assert (result.truncated, result.command, result.row_count) == (False, "SELECT", 1)
        assert 0 < result.elapsed < 30


def test_values_are_pythons(place: Place, make_pool: Make) -> None:
    talk = make_pool(place).conversation(ALDER)
    result = talk.query(
        "SELECT 1::bigint AS a, 1.50::numeric AS b, 'x'::text AS c, true AS d, NULL::integer AS e,"
        " date '2026-01-31' AS f, timestamptz '2026-01-31 12:00:00+02' AS g, ARRAY[1, 2] AS h,"
        " '{\"k\": [1]}'::jsonb AS i, '6ba7b810-9dad-11d1-80b4-00c04fd430c8'::uuid AS j,"
        " '\\x00ff'::bytea AS k, 0.1::float8 AS l, interval '1 day' AS m"
    )
    row = result.rows[0]
    moment = datetime(2026, 1, 31, 10, tzinfo=UTC)
    assert row[:9] == (1, Decimal("1.50"), "x", True, None, date(2026, 1, 31), moment, [1, 2], {"k": [1]})
    assert row[9:12] == (UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8"), b"\x00\xff", 0.1)
    types = {each.name: each.type for each in result.columns}
    assert types["a"] == "bigint"
    assert types["g"] == "timestamp with time zone"
    assert types["h"] == "integer[]"


def test_times_come_in_the_pools_zone(place: Place, make_pool: Make) -> None:
    talk = make_pool(place, time_zone="Europe/Berlin").conversation(ALDER)
    text = "SELECT timestamptz '2026-01-31 23:30:00+00' AS t, (timestamptz '2026-01-31 23:30:00+00')::date AS d"
    moment, day = talk.query(text).rows[0]
    assert moment == datetime(2026, 2, 1, 0, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    assert moment.tzinfo == ZoneInfo("Europe/Berlin")
    assert day == date(2026, 2, 1)


def test_parameters(place: Place, make_pool: Make) -> None:
    talk = make_pool(place).conversation(ALDER)
    assert talk.query("SELECT $1::integer + $2", [1, 2]).rows == [(3,)]
    assert talk.query("SELECT count(*) FROM orders WHERE status = $1", ["no such"]).rows == [(0,)]
    assert talk.query("SELECT $1::text", ("'; DROP TABLE orders --",)).rows == [("'; DROP TABLE orders --",)]
    assert talk.query("SELECT $1::timestamptz", [datetime(2026, 1, 1, tzinfo=UTC)]).rows == [
        (datetime(2026, 1, 1, tzinfo=UTC),)
    ]


def test_an_empty_result_has_columns(place: Place, make_pool: Make) -> None:
    result = make_pool(place).conversation(ALDER).query("SELECT id, total FROM orders WHERE false")
    assert result.rows == []
    assert [each.name for each in result.columns] == ["id", "total"]
    assert (result.row_count, result.truncated) == (0, False)


def test_writes_are_committed_and_counted(place: Place, make_pool: Make) -> None:
    talk = make_pool(place).conversation(ALDER)
    made = talk.query("INSERT INTO notes (title) VALUES ('a'), ('b') RETURNING title")
    assert (made.rows, made.row_count, made.command) == ([("a",), ("b",)], 2, "INSERT")
    changed = talk.query("UPDATE notes SET pinned = true WHERE title IN ($1, $2)", ["a", "b"])
    assert (changed.rows, changed.row_count, changed.columns) == ([], 2, ())
    gone = talk.query("DELETE FROM notes WHERE title IN ('a', 'b')")
    assert gone.row_count == 2
    assert talk.query("DELETE FROM notes WHERE title = 'a'").row_count == 0


def test_a_write_that_returns_too_much_is_still_done(place: Place, make_pool: Make) -> None:
    talk = make_pool(place, limits=replace(NO_LIMITS, rows=3)).conversation(ALDER)
    text = "INSERT INTO notes (title) SELECT 'many' FROM generate_series(1, 2000) RETURNING title"
    made = talk.query(text)
    assert (len(made.rows), made.truncated, made.command) == (3, True, "INSERT")
    assert talk.query("SELECT count(*) FROM notes WHERE title = 'many'").rows == [(2000,)]
    assert talk.query("DELETE FROM notes WHERE title = 'many'").row_count == 2000


def test_a_pool_that_does_not_write(place: Place, make_pool: Make) -> None:
    talk = make_pool(place, writes=False).conversation(ALDER)
    with pytest.raises(StatementRefused, match="only read"):
        talk.query("INSERT INTO notes (title) VALUES ('a')")
    assert talk.query("SELECT 1").rows == [(1,)]


@pytest.mark.parametrize(("count", "truncated"), [(99, False), (100, False), (101, True), (100_000, True)])
def test_rows_are_limited(place: Place, make_pool: Make, count: int, truncated: bool) -> None:
    talk = make_pool(place, limits=replace(NO_LIMITS, rows=100), max_size=1).conversation(ALDER)
    result = talk.query("SELECT n FROM generate_series(1, $1::integer) AS s (n)".replace("$1::integer", str(count)))
    assert [row[0] for row in result.rows] == list(range(1, min(count, 100) + 1))
    assert result.truncated is truncated
    assert talk.query("SELECT 1").rows == [(1,)]


def test_bytes_are_limited(place: Place, make_pool: Make) -> None:
    talk = make_pool(place, limits=replace(NO_LIMITS, bytes=10_000), max_size=1).conversation(ALDER)
    result = talk.query("SELECT repeat('x', 1000) FROM generate_series(1, 50)")
    assert (len(result.rows), result.truncated) == (10, True)
    assert not talk.query("SELECT repeat('x', 1000) FROM generate_series(1, 10)").truncated
    assert talk.query("SELECT repeat('é', 1000) FROM generate_series(1, 10)").truncated


def test_seconds_are_limited(place: Place, make_pool: Make) -> None:
    limits = replace(NO_LIMITS, seconds=0.4)
    talk = make_pool(place, limits=limits, guard=False, max_size=1).conversation(ALDER)
    began = time.monotonic()
    with pytest.raises(QueryTimeout) as caught:
        talk.query("SELECT pg_sleep(20)")
    assert caught.value.seconds == 0.4
    assert time.monotonic() - began < 5
    assert talk.query("SELECT 1").rows == [(1,)]


def test_the_deadline_holds_against_a_text_that_defies_the_server(place: Place, make_pool: Make) -> None:
    """It catches the server's own cancellation and sleeps on: the clock outside ends it."""
    talk = make_pool(place, limits=replace(NO_LIMITS, seconds=0.4), guard=False, max_size=1).conversation(ALDER)
    text = "DO $$ BEGIN PERFORM pg_sleep(8); EXCEPTION WHEN query_canceled THEN PERFORM pg_sleep(8); END $$"
    began = time.monotonic()
    with pytest.raises(QueryTimeout):
        talk.query(text)
    assert time.monotonic() - began < 4
    assert talk.query("SELECT 1").rows == [(1,)]


def test_a_stream_takes_the_same_memory_however_long_it_is(place: Place, make_pool: Make) -> None:
    talk = make_pool(place, limits=NO_LIMITS).conversation(ALDER)

    def peak(count: int) -> int:
        with talk.stream(f"SELECT n, n + 1 AS m FROM generate_series(1, {count}) AS s (n)") as rows:
            assert [each.name for each in rows.columns] == ["n", "m"]
            tracemalloc.reset_peak()
            total = sum(row[0] for row in rows)
        assert total == count * (count + 1) // 2
        assert (rows.row_count, rows.truncated) == (count, False)
        return tracemalloc.get_traced_memory()[1]

    tracemalloc.start()
    try:
        peak(1_000)
        short, long = peak(2_000), peak(20_000)
    finally:
        tracemalloc.stop()
    assert long < short + 200_000
    assert talk.query("SELECT 1").rows == [(1,)]


def test_a_stream_has_the_limits_too(place: Place, make_pool: Make) -> None:
    talk = make_pool(place, limits=replace(NO_LIMITS, rows=1000), max_size=1).conversation(ALDER)
    with talk.stream("SELECT n FROM generate_series(1, 100000) AS s (n)") as rows:
        assert len(list(rows)) == 1000
        assert rows.truncated
    assert talk.query("SELECT 1").rows == [(1,)]


def test_a_stream_that_is_left_early_gives_its_connection_back(place: Place, make_pool: Make) -> None:
    talk = make_pool(place, limits=NO_LIMITS, max_size=1, timeout=5).conversation(ALDER)
    for _ in range(3):
        with talk.stream("SELECT n FROM generate_series(1, 1000000) AS s (n)") as rows:
            assert next(iter(rows)) == (1,)
    with pytest.raises(KeyError), talk.stream("SELECT n FROM generate_series(1, 1000000) AS s (n)"):
        raise KeyError("the caller's own")
    with talk.stream("SELECT 1") as rows:
        pass
    assert talk.query("SELECT 1").rows == [(1,)]


def test_whoever_reads_a_stream_too_slowly_loses_it(place: Place, make_pool: Make) -> None:
    pool = make_pool(place, limits=replace(NO_LIMITS, seconds=0.5), max_size=1, timeout=10)
    talk = pool.conversation(ALDER)
    with talk.stream("SELECT n FROM generate_series(1, 1000000) AS s (n)") as rows:
        reader = iter(rows)
        next(reader)
        assert talk.query("SELECT 1").rows == [(1,)]  # waits until the only connection is free
        with pytest.raises(QueryTimeout):
            list(reader)


def test_a_stream_does_not_write(place: Place, make_pool: Make) -> None:
    talk = make_pool(place).conversation(ALDER)
    with pytest.raises(StatementRefused, match="not streamed"), talk.stream("DELETE FROM notes WHERE false"):
        pass


def test_a_context_is_validated_at_once(place: Place, make_pool: Make) -> None:
    pool = make_pool(place)
    for context in ({}, {"organisationId": 0, "userId": "u"}, {"organisationId": 1, "userId": "u", "x": 1}):
        with pytest.raises(InvalidContext):
            pool.conversation(context)


def test_a_full_pool_says_so(place: Place, make_pool: Make) -> None:
    pool = make_pool(place, limits=Limits(), max_size=1, timeout=0.4)
    talk = pool.conversation(ALDER)
    with talk.stream("SELECT n FROM generate_series(1, 1000000) AS s (n)"):
        began = time.monotonic()
        with pytest.raises(LimitReached) as caught:
            talk.query("SELECT 1")
        assert caught.value.limit == "pool"
        assert 0.3 < time.monotonic() - began < 3
    assert talk.query("SELECT 1").rows == [(1,)]


def test_statements_at_a_time_are_limited_per_organisation(place: Place, make_pool: Make) -> None:
    pool = make_pool(place, limits=Limits(per="organisationId", concurrent=1), max_size=4, timeout=0.4)
    with pool.conversation(ALDER).stream("SELECT n FROM generate_series(1, 1000000) AS s (n)"):
        with pytest.raises(LimitReached) as caught:
            pool.conversation(ALDER).query("SELECT 1")
        assert caught.value.limit == "concurrent"
        assert pool.conversation(BIRCH).query("SELECT 1").rows == [(1,)]


def test_statements_a_minute_are_limited(place: Place, make_pool: Make) -> None:
    talk = make_pool(place, limits=Limits(per="organisationId", per_minute=2)).conversation(ALDER)
    talk.query("SELECT 1")
    talk.query("SELECT 1")
    with pytest.raises(LimitReached) as caught:
        talk.query("SELECT 1")
    assert caught.value.limit == "per_minute"
    assert 50 < (caught.value.retry_after or 0) <= 60


def test_hundreds_over_few_connections_see_their_own(place: Place, make_pool: Make) -> None:
    """A canary per organisation: nobody ever reads another's rows. (tests/pooled has the long one.)"""
    pool = make_pool(place, limits=NO_LIMITS, max_size=3, timeout=60)
    wrong: list[object] = []
    done = []

    def talk(number: int) -> None:
        organisation = 1 + number % 5
        mine = pool.conversation({"organisationId": organisation, "userId": f"user_{number}"})
        try:
            for _ in range(3):
                rows = mine.query("SELECT organisation_id, count(*) FROM orders GROUP BY 1").rows
                wrong.extend(row for row in rows if row[0] != organisation)
                assert rows
                done.append(number)
        except Exception as error:  # noqa: BLE001  # whatever it was is shown below
            wrong.append(error)

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(done) == 300
