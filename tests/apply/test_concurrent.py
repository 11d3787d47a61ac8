"""Apply beside others: another apply, a long transaction, an application that locks in its own order."""

from __future__ import annotations

import functools
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from psycopg.pq import TransactionStatus

from rlsgen.demo.shop import APPLICATION
from rlsgen.errors import ApplyFailed
from rlsgen.provision import apply as applying
from rlsgen.provision.apply import Outcome, Patience, Progress, apply, exclusive
from rlsgen.provision.reindex import make_indexes
from rlsgen.spec.model import Spec
from tests.apply.support import (
    ALLOWED,
    BY_ORGANISATION,
    QUICK,
    ROOT,
    Probe,
    command,
    company,
    document,
    held_advisory_locks,
    left,
    program_environment,
    provision,
    wait_until,
    waiting_for_locks,
)
from tests.support.postgres import Connection, Database

SLACK = 0.5  # seconds, for a busy machine


@contextmanager
def in_background(
    site: Database, spec: Spec | None = None, patience: Patience | None = None, progress: Progress | None = None
) -> Iterator[Future[Outcome]]:
    """An apply in a thread, on a connection of its own, ended before this returns."""
    options: dict[str, Any] = {"allow": ALLOWED, "patience": patience, "progress": progress}
    with ThreadPoolExecutor(1) as pool, site.connect(application_name="rlsgen") as connection:
        yield pool.submit(apply, connection, spec or company(), **options)


# Two at once


def test_two_threads(site: Database, probe: Probe) -> None:
    spec = company()
    start = threading.Barrier(2)

    def work(connection: Connection) -> Outcome:
        start.wait(20)
        return apply(connection, spec, allow=ALLOWED)

    connections = [site.connect(), site.connect()]
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(work, connections))
    done = sorted(len(outcome.plan.transactions) for outcome in outcomes)
    assert done[0] == 0
    assert done[1] > 10
    probe.assert_finished(spec)


def test_two_processes(site: Database, probe: Probe, tmp_path: Path) -> None:
    file = tmp_path / "policies.yaml"
    file.write_text(yaml.safe_dump(document(), sort_keys=False))
    arguments = command("apply", "--spec", str(file), *(f"--allow={each}" for each in ALLOWED))
    with exclusive(site.connect()):  # until both wait: then they really are at once
        processes = [
            subprocess.Popen(
                arguments, cwd=ROOT, env=program_environment(site.dsn()), text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )
            for _ in range(2)
        ]  # fmt: skip
        owner = site.connect()
        query = "SELECT count(DISTINCT pid) FROM pg_stat_activity WHERE application_name = 'rlsgen' AND datname = %s"
        wait_until(lambda: owner.execute(query, [site.name]).fetchone() == (2,))
    said = sorted((process.communicate(timeout=60), process.returncode) for process in processes)
    assert [code for _, code in said] == [0, 0], said
    assert [text[0].split()[0] for text, _ in said] == ["Applied", "No"]
    probe.assert_finished(company())


def test_an_apply_waits_while_indexes_are_made(site: Database, administrator: Connection) -> None:
    """And does not stop them: CREATE INDEX CONCURRENTLY waits for whoever has a snapshot."""
    provision(site)
    spec = company(orders=f"{BY_ORGANISATION} AND team_id = 10")
    administrator.execute("DROP INDEX orders_organisation")
    reader = site.connect(autocommit=False)
    reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM orders")
    with ThreadPoolExecutor(1) as pool, site.connect(application_name="rlsgen") as maker:
        made = pool.submit(make_indexes, maker, spec, lambda *_: None)
        wait_until(lambda: waiting_for_locks(administrator, site))
        with in_background(site, spec) as outcome:
            assert not outcome.done()
            reader.rollback()
            assert any("orders" in label for label in made.result(30))
            assert outcome.result(30).plan.transactions
    assert left(site, spec) == []
    assert held_advisory_locks(administrator, site) == 0


# A long transaction


@dataclass
class Watch:
    """Watches how long statements of the application wait for locks, as the server sees it."""

    connection: Connection
    longest: float = 0
    seen: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        query = (
            "SELECT count(*), coalesce(max(extract(epoch FROM clock_timestamp() - l.waitstart)), 0)"
            " FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)"
            " WHERE NOT l.granted AND a.datname = current_database() AND a.usename = 'shop_app'"
        )
        while not self.stop.is_set():
            row = self.connection.execute(query).fetchone()
            assert row is not None
            self.seen += row[0]
            self.longest = max(self.longest, float(row[1]))


@contextmanager
def application(site: Database, *statements: str) -> Iterator[list[int]]:
    """The application at work, until the block ends: the statements in a loop. How often each ran."""
    counts = [0 for _ in statements]
    stop = threading.Event()

    def work(number: int, connection: psycopg.Connection[object]) -> None:
        while not stop.is_set():
            connection.execute(statements[number].encode())
            counts[number] += 1

    with ThreadPoolExecutor(len(statements)) as pool:
        connections = [site.connect(APPLICATION) for _ in statements]
        futures = [pool.submit(work, number, connection) for number, connection in enumerate(connections)]
        try:
            yield counts
        finally:
            stop.set()
        for future in futures:
            future.result(30)


def went_on(counts: list[int], before: list[int]) -> bool:
    return all(now > then for now, then in zip(counts, before, strict=True))


READ = "SELECT count(*) FROM order_items"
WRITE = "UPDATE order_items SET product = product WHERE order_id = 1"


@pytest.mark.parametrize("lock_timeout", [0.15, 0.6])
def test_it_gives_way_and_finishes(
    site: Database, probe: Probe, administrator: Connection, lock_timeout: float
) -> None:
    patience = Patience(lock_timeout=lock_timeout, attempts=1000, first_pause=0.02, longest_pause=0.1)
    watch = Watch(site.connect(site.server.superuser))
    long = site.connect(APPLICATION, autocommit=False)
    long.execute("SELECT 1 FROM order_items")
    with ThreadPoolExecutor(1) as pool, application(site, READ, WRITE) as counts:
        watching = pool.submit(watch.run)
        with in_background(site, patience=patience) as outcome:
            for _ in range(3):  # attempts that it gives up, and the application goes on after each
                wait_until(lambda: waiting_for_locks(administrator, site))
                wait_until(lambda: not waiting_for_locks(administrator, site))
                wait_until(functools.partial(went_on, counts, [*counts]))
            assert not outcome.done()
            long.rollback()
            assert outcome.result(30).retries >= 3
        watch.stop.set()
        watching.result(30)
    assert watch.seen, "nothing ever waited, so this measured nothing"
    assert watch.longest < lock_timeout + SLACK
    probe.assert_finished(company())


def test_two_tables_in_use(site: Database, administrator: Connection) -> None:
    """Items follow orders, and both are in use: who waits for the items must not wait for the orders as well."""
    provision(site)
    spec = company(order_items={"filter": BY_ORGANISATION, "through": "order_id -> orders(id)"})
    migration = site.connect(autocommit=False)

    def progress(title: str, _done: int, _total: int) -> None:
        if title == "table public.order_items" and migration.info.transaction_status == TransactionStatus.IDLE:
            migration.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")

    with in_background(site, spec, Patience(lock_timeout=20), progress) as outcome:
        wait_until(lambda: waiting_for_locks(administrator, site))
        reader = site.connect(APPLICATION, options="-c lock_timeout=2s")
        assert reader.execute(READ.encode()).fetchone() == (48,)  # nothing is in its way
        migration.rollback()
        outcome.result(30)
    assert left(site, spec) == []


def test_it_fails_clearly(site: Database, probe: Probe, administrator: Connection) -> None:
    long = site.connect(APPLICATION, autocommit=False)
    long.execute("SELECT 1 FROM notes")
    connection = site.connect()
    with pytest.raises(ApplyFailed, match=r"table public\.notes: canceling statement due to lock timeout") as caught:
        apply(connection, company(), allow=ALLOWED, patience=QUICK)
    error = caught.value
    assert 0 < error.done < error.total
    assert f"{error.done} of {error.total} transactions are committed, each a safe state" in error.message
    assert "in use" in error.hint
    assert "--lock-timeout" in error.hint
    # The session is as it was, and can be used again.
    assert connection.execute("SHOW lock_timeout").fetchone() == ("0",)
    probe.assert_safe(company())
    assert any("notes" in step for step in left(site))
    assert held_advisory_locks(administrator, site) == 0
    long.rollback()
    apply(connection, company(), allow=ALLOWED)
    probe.assert_finished(company())


@pytest.mark.parametrize("single", [False, True])
def test_an_application_that_locks_the_child_first(site: Database, single: bool) -> None:
    """Apply goes from parent to child, the application from child to parent: apply gives way, never the application."""
    inside = threading.Event()
    go_on = threading.Event()

    def work(connection: Connection) -> int:
        with connection.transaction():
            connection.execute("UPDATE order_items SET product = 'x' WHERE order_id = 1")
            inside.set()
            assert go_on.wait(30)
            return connection.execute("UPDATE orders SET note = 'x' WHERE id = 1").rowcount

    provision(site)
    spec = company(
        orders=f"{BY_ORGANISATION} AND team_id > 0",
        order_items={"filter": BY_ORGANISATION, "through": "order_id -> orders(id)"},
    )
    administrator = site.connect(site.server.superuser)
    with ThreadPoolExecutor(2) as pool:
        working = pool.submit(work, site.connect(APPLICATION))
        assert inside.wait(30)
        connection = site.connect(application_name="rlsgen")
        patience = Patience(lock_timeout=0.6, attempts=100, first_pause=0.02, longest_pause=0.1)
        applied = pool.submit(
            apply, connection, spec, allow=ALLOWED, patience=patience, single_transaction=single
        )  # fmt: skip
        wait_until(lambda: waiting_for_locks(administrator, site))
        go_on.set()
        assert working.result(30) == 1
        assert applied.result(30).retries >= (1 if single else 0)
    assert left(site, spec) == []


def test_a_grant_by_somebody_at_the_same_moment(site: Database, administrator: Connection) -> None:
    """Both change one row of the catalog: "tuple concurrently updated" is tried again."""
    provision(site)
    spec = company(context={"userId": {"type": "text"}, "organisationId": {"type": "integer"}})
    somebody = site.connect(autocommit=False)

    def progress(title: str, _done: int, _total: int) -> None:
        if title.startswith("functions") and somebody.info.transaction_status == TransactionStatus.IDLE:
            somebody.execute("GRANT EXECUTE ON FUNCTION rlsgen.organisation_id() TO shop_app")

    with in_background(site, spec, Patience(lock_timeout=20), progress) as outcome:
        wait_until(lambda: waiting_for_locks(administrator, site))
        somebody.commit()
        assert outcome.result(30).retries == 1
    provision(site, spec)  # takes the grant back
    assert left(site, spec) == []


def test_interrupted(site: Database, probe: Probe, administrator: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is raised on our side, the transaction is rolled back and the lock given back."""

    class Interrupted(BaseException):
        pass

    original = applying.script

    def script(*arguments: object) -> object:
        if "orders" in str(arguments[0]):
            raise Interrupted
        return original(*arguments)  # type: ignore[arg-type]

    connection = site.connect()
    with monkeypatch.context() as patch:
        patch.setattr(applying, "script", script)
        with pytest.raises(Interrupted):
            apply(connection, company(), allow=ALLOWED)
    assert held_advisory_locks(administrator, site) == 0
    assert connection.execute("SHOW statement_timeout").fetchone() == ("0",)
    probe.assert_safe(company())
    apply(connection, company(), allow=ALLOWED)
    probe.assert_finished(company())
