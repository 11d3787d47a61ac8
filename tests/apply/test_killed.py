"""Apply and destroy, killed wherever they can be: every state is safe, and the next run finishes."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlsgen.catalog.read import read_catalog
from rlsgen.demo.shop import CONVERSATION
from rlsgen.errors import ApplyFailed
from rlsgen.identifiers import Sql
from rlsgen.provision import apply as applying
from rlsgen.provision.apply import apply, execute, make_plan
from rlsgen.provision.destroy import destroy_plan
from rlsgen.provision.diff import search_path
from rlsgen.provision.plan import Plan, Transaction
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
    schema_of,
    wait_until,
    waiting_for_locks,
)
from tests.support.postgres import Connection, Database

SUICIDE = Sql("SELECT pg_catalog.pg_terminate_backend(pg_catalog.pg_backend_pid())")


@contextmanager
def dying(at: int | None) -> Iterator[None]:
    """The server ends the connection in the first transaction: before its statement `at`, or (None) after COMMIT."""
    original = applying.script

    def script(transaction: Transaction, path: Sql) -> Sql:
        if at is None:
            return Sql(f"{original(transaction, path)};\n{SUICIDE}")
        statements = [*transaction.statements]
        statements.insert(at, SUICIDE)
        return original(Transaction(transaction.title, (), tuple(statements)), path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(applying, "script", script)
        yield


Run = Callable[[Connection], Any]
Plans = Callable[[Connection], Plan]


def kill_everywhere(
    database: Database, run: Run, plans: Plans, check: Callable[[], None], share: Sequence[float] = (0.5,)
) -> int:
    """Kill inside each transaction, `share` of the way through it, then right after its COMMIT. The number of kills."""
    kills = 0
    with database.connect() as connection:
        todo = plans(connection)
    while todo.transactions:
        first = todo.transactions[0]
        for part in share:
            die(database, run, round(len(first.statements) * part))
        with database.connect() as connection:
            assert plans(connection).fingerprint == todo.fingerprint, f"{first.title} left something behind"
        check()
        die(database, run, None)
        kills += len(share) + 1
        with database.connect() as connection:
            rest = plans(connection)
        assert [each.title for each in rest.transactions] == [each.title for each in todo.transactions[1:]]
        todo = rest
    check()
    return kills


def die(database: Database, run: Run, at: int | None) -> None:
    with dying(at), database.connect() as connection:
        with pytest.raises(ApplyFailed, match="the connection was lost") as caught:
            run(connection)
        assert caught.value.done == 0
        assert connection.closed


def test_the_first_apply(site: Database, probe: Probe) -> None:
    spec = company()
    kills = kill_everywhere(
        site,
        lambda connection: apply(connection, spec, allow=ALLOWED),
        lambda connection: make_plan(connection, spec),
        lambda: probe.assert_safe(spec),
        share=(0, 0.5, 1),
    )
    assert kills > 40
    probe.assert_finished(spec)


CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]] = {
    "a filter": ({}, {"orders": f"{BY_ORGANISATION} AND team_id = 10"}, ()),
    "hidden to scoped": ({}, {"secrets": {}}, ()),
    "scoped to hidden": ({}, {"events": "hidden"}, ()),
    "scoped to shared": ({}, {"events": {"access": "shared", "why": "now public"}}, ("events",)),
    "shared to scoped": ({}, {"countries": {}}, ()),
    "writes": ({}, {"notes": {"filter": "user_id = userContext.userId"}}, ()),
    "declared no more": ({}, {"undeclared": "hidden", "events": None}, ()),
    "a type": ({}, {"context": {"organisationId": {"type": "bigint"}, "userId": {"type": "text"}}}, ()),
    "the fields' order": ({}, {"context": {"userId": {"type": "text"}, "organisationId": {"type": "integer"}}}, ()),
    # The child leaves its parent, which opens: between the two, the child must not follow a parent that is open.
    "the parent of a path opens": (
        {},
        {"orders": {"access": "shared", "why": "now public"}, "order_items": {}, "views": {"order_totals": "hidden"}},
        ("orders",),
    ),
    "the table of a sub-query opens": (
        {"notes": "organisation_id IN (SELECT organisation_id FROM organisations)"},
        {"notes": {}, "organisations": {"access": "shared", "why": "now public"}},
        ("organisations",),
    ),
    # Both change, and neither the old nor the new spec shows items of other organisations; the old items' policy over
    # the new orders' would.
    "the parent of a path widens": (
        {"orders": BY_ORGANISATION, "order_items": "order_id IN (SELECT id FROM orders)"},
        {
            "orders": "userContext.userId = 'user_1'",
            "order_items": {"filter": BY_ORGANISATION, "through": "order_id -> orders(id)"},
        },
        ("orders", "order_totals"),
    ),
    "forced": ({}, {"force": True}, ()),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_spec(site: Database, probe: Probe, change: str) -> None:
    before, after, shared = CHANGES[change]
    old, new = company(**before), company(**after)
    allow = (*ALLOWED, "COPY_FROM", "DUMP")
    provision(site, old, allow)
    kills = kill_everywhere(
        site,
        lambda connection: apply(connection, new, allow=allow),
        lambda connection: make_plan(connection, new),
        lambda: probe.assert_safe(old, new, shared=("countries", *shared)),
    )
    assert kills >= 4


def test_destroy(site: Database, probe: Probe, administrator: Connection) -> None:
    # What the conversation role had before comes back, and never beside what rlsgen still grants: notes whose policy
    # looks into folders that are open again would be everybody's.
    administrator.execute("GRANT SELECT ON folders TO nl_conversation")
    before, spec = schema_of(site), company(notes="organisation_id IN (SELECT organisation_id FROM folders)")
    provision(site, spec)

    def plans(connection: Connection) -> Plan:
        catalog = read_catalog(connection, CONVERSATION)
        return destroy_plan(catalog, CONVERSATION, search_path(spec)) if catalog.provision else Plan((), Sql(""))

    kills = kill_everywhere(
        site,
        lambda connection: execute(connection, plans(connection)),
        plans,
        lambda: probe.assert_safe(spec, shared=("countries", "folders")),
        share=(0.3, 1),
    )
    assert kills > 20
    assert schema_of(site) == before


# The program is killed, not its connection


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    file = tmp_path / "policies.yaml"
    file.write_text(yaml.safe_dump(document(), sort_keys=False))
    return file


@pytest.mark.parametrize("table", ["organisations", "order_items", "events"])
def test_sigkill(site: Database, probe: Probe, administrator: Connection, spec_file: Path, table: str) -> None:
    """Killed where it waits for a lock, in the midst of its work."""
    with site.connect(autocommit=False) as other:
        other.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
        arguments = ("apply", "--spec", str(spec_file), "--lock-timeout=30", *(f"--allow={each}" for each in ALLOWED))
        process = subprocess.Popen(
            command(*arguments), cwd=ROOT, env=program_environment(site.dsn()),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_until(lambda: waiting_for_locks(administrator, site))
        (pid,) = waiting_for_locks(administrator, site)
        process.send_signal(signal.SIGKILL)
        assert process.wait(20) == -signal.SIGKILL
        other.rollback()
    # The server notices that nobody is there when it next says something, and gives everything back.
    wait_until(lambda: not administrator.execute("SELECT FROM pg_stat_activity WHERE pid = %s", [pid]).fetchall())
    assert held_advisory_locks(administrator, site) == 0
    probe.assert_safe(company())
    assert left(site)
    provision(site)
    probe.assert_finished(company())


def test_the_advisory_lock_outlives_no_failure(site: Database, administrator: Connection) -> None:
    connection = site.connect()
    with site.connect(autocommit=False) as other:
        other.execute("LOCK TABLE folders IN ACCESS SHARE MODE")
        with pytest.raises(ApplyFailed, match=r"table public\.folders"):
            apply(connection, company(), allow=ALLOWED, patience=QUICK)
        assert held_advisory_locks(administrator, site) == 0
    with dying(0), pytest.raises(ApplyFailed):
        apply(connection, company(), allow=ALLOWED)
    assert connection.closed
    wait_until(lambda: held_advisory_locks(administrator, site) == 0)
    provision(site)


def test_the_probe_can_fail(site: Database, probe: Probe, administrator: Connection) -> None:
    spec = company()
    provision(site, spec)
    probe.assert_safe(spec)
    administrator.execute("ALTER TABLE orders DISABLE ROW LEVEL SECURITY")
    with pytest.raises(AssertionError, match="shows rows of"):
        probe.assert_safe(spec)
    administrator.execute("ALTER TABLE orders ENABLE ROW LEVEL SECURITY; ALTER TABLE orders FORCE ROW LEVEL SECURITY")
    with pytest.raises(AssertionError, match="shop_owner"):
        probe.assert_safe(spec)
