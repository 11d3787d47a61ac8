"""apply --indexes: missing indexes made, invalid ones replaced, at every level of partitions, nobody blocked."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from rlsgen.demo.shop import APPLICATION
from rlsgen.errors import ApplyFailed
from rlsgen.provision.apply import Patience, Progress, make_plan
from rlsgen.provision.reindex import make_indexes
from rlsgen.spec.model import Spec
from tests.apply.support import (
    QUICK,
    company,
    held_advisory_locks,
    left,
    provision,
    sql,
    wait_until,
    waiting_for_locks,
)
from tests.support.postgres import Connection, Database

EVENTS = ("events", "events_2024", "events_2024_0", "events_2024_1", "events_2025")
HOSTILE = 'T"; DROP TABLE orders; -- $rlsgen$ größer\n\\echo'
COLUMN = "org'\"anisation -- id"


def make(connection: Connection, spec: Spec | None = None, patience: Patience | None = None) -> list[str]:
    return make_indexes(connection, spec or company(), lambda *_: None, patience)


def advice(site: Database, spec: Spec | None = None) -> list[str]:
    with site.connect() as connection:
        return [each.message for each in make_plan(connection, spec or company()).advice if "index" in each.message]


def indexes(connection: Connection, table: str) -> list[tuple[str, bool]]:
    """The columns and validity of a table's indexes that are rlsgen's."""
    return connection.execute(
        "SELECT pg_get_indexdef(x.indexrelid, 1, false), x.indisvalid FROM pg_index AS x"
        " JOIN pg_class AS i ON i.oid = x.indexrelid JOIN pg_class AS t ON t.oid = x.indrelid"
        " WHERE t.relname = %s AND i.relname LIKE 'rlsgen%%' ORDER BY 1",
        [table],
    ).fetchall()


def test_missing_indexes(site: Database, administrator: Connection) -> None:
    administrator.execute("DROP INDEX orders_organisation")
    provision(site)
    assert "no index of public.orders starts with organisation_id" in advice(site)
    connection = site.connect()
    assert make(connection)
    assert advice(site) == []
    assert left(site) == []
    assert indexes(connection, "orders") == [("organisation_id", True)]
    assert make(connection) == []
    # At every level, one each, valid, and all of them partitions of the topmost.
    for table in EVENTS:
        assert indexes(connection, table) == [("organisation_id", True)], table
    (tree,) = connection.execute(
        "SELECT count(*) FROM pg_partition_tree((SELECT indexrelid FROM pg_index WHERE indrelid = 'events'::regclass))"
    ).fetchone() or (0,)
    assert tree == len(EVENTS)


def test_hostile_names(site: Database) -> None:
    connection = site.connect()
    connection.execute(sql("CREATE TABLE {} ({} integer NOT NULL)", HOSTILE, COLUMN))
    name, column = (text.replace('"', '""') for text in (HOSTILE, COLUMN))
    spec = company(**{f'"{name}"': f'"{column}" = userContext.organisationId'})
    provision(site, spec)
    assert make(connection, spec)
    assert advice(site, spec) == []
    assert [valid for _, valid in indexes(connection, HOSTILE)] == [True]
    assert connection.execute("SELECT count(*) FROM orders").fetchone() == (24,)


def interrupted(site: Database, administrator: Connection, stop: Callable[[int], object]) -> None:
    """Make indexes beside an old transaction, for which CONCURRENTLY waits, and stop it there."""
    old = site.connect(APPLICATION, autocommit=False)
    old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM countries")
    with ThreadPoolExecutor(1) as pool, site.connect(application_name="rlsgen") as connection:
        made = pool.submit(make, connection)
        wait_until(lambda: waiting_for_locks(administrator, site))
        stop(*waiting_for_locks(administrator, site))
        with pytest.raises(ApplyFailed, match="index on") as caught:
            made.result(30)
        assert "made anew" in caught.value.hint
    old.rollback()
    wait_until(lambda: held_advisory_locks(administrator, site) == 0)


@pytest.mark.parametrize("how", ["pg_terminate_backend", "pg_cancel_backend"])
def test_an_invalid_leftover(site: Database, administrator: Connection, how: str) -> None:
    administrator.execute("DROP INDEX orders_organisation")
    provision(site)
    query = sql("SELECT {}(%s)", how)
    rounds = 0
    invalid: list[str] = []
    while not invalid:
        interrupted(site, administrator, lambda pid: administrator.execute(query, [pid]))
        invalid = [each for each in ("orders", *EVENTS) if ("organisation_id", False) in indexes(administrator, each)]
        rounds += 1
        assert rounds < 3
    assert any("organisation_id" in each for each in advice(site))
    labels = make(site.connect())
    assert any("drop the invalid index" in label for label in labels)
    for table in ("orders", *EVENTS):
        assert indexes(administrator, table) == [("organisation_id", True)], table
    assert advice(site) == []


def test_after_every_interruption(site: Database, administrator: Connection) -> None:
    """Stopped after each statement in turn: the next run keeps what is there and finishes."""
    administrator.execute("DROP INDEX orders_organisation")
    provision(site)

    class Stopped(Exception):
        pass

    def stopping(after: int) -> Progress:
        def progress(label: str, done: int, _total: int) -> None:
            if done == after:
                raise Stopped(label)

        return progress

    stopped = 0
    for after in range(1, 40):
        try:
            with site.connect() as connection:
                make_indexes(connection, company(), stopping(after))
            break
        except Stopped:
            stopped += 1
            assert held_advisory_locks(administrator, site) == 0
            assert left(site) == []
    assert stopped > 3
    assert advice(site) == []
    for table in ("orders", *EVENTS):
        assert indexes(administrator, table) == [("organisation_id", True)], table


def test_a_busy_partitioned_table(site: Database, administrator: Connection) -> None:
    """The index on the partitioned table itself needs a lock that stops writers: it gives way, and says so."""
    provision(site)
    writer = site.connect(APPLICATION, autocommit=False)
    writer.execute("INSERT INTO events VALUES (1, '2024-01-01', 'x')")
    connection = site.connect()
    with pytest.raises(ApplyFailed, match=r"index on public\.events itself: canceling statement due to lock timeout"):
        make(connection, patience=QUICK)
    with ThreadPoolExecutor(1) as pool, site.connect(application_name="rlsgen") as maker:
        patience = Patience(lock_timeout=0.2, attempts=1000, first_pause=0.02, longest_pause=0.05)
        made = pool.submit(make, maker, None, patience)
        for _ in range(3):
            wait_until(lambda: waiting_for_locks(administrator, site))
            # Another writer queues behind it, and gets through when it gives way.
            other = site.connect(APPLICATION, options="-c lock_timeout=2s")
            other.execute("INSERT INTO events VALUES (1, '2024-01-01', 'x')")
        assert not made.done()
        writer.rollback()
        assert made.result(30)
    assert advice(site) == []
