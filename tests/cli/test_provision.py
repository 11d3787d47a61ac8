"""rlsgen check, plan, apply and destroy: results, diagnostics and exit codes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.cli.runner import ALLOWED, SPEC, Rlsgen, wait_until
from tests.support.postgres import Connection, Database, Databases

BROKEN = """\
version: 1
context: {organisationId: {type: integer}}
roles: {conversation: nl_conversation, unrestricted: [shop_owner]}
schemas: [public]
undeclared: hidden
tables:
  orders: organization_id = userContext.organisationId
  nothing: id = userContext.organisationId
"""


def provisioned_by_now(connection: Connection) -> bool:
    row = connection.execute("SELECT to_regclass('rlsgen.provision') IS NOT NULL").fetchone()
    return row == (True,)


def test_check_says_that_the_spec_fits(on_shop: Rlsgen, shop: Database) -> None:
    done = on_shop("check")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{SPEC} fits the database: 12 tables, 10 of them scoped.\n"
    assert not provisioned_by_now(shop.connect())
    assert json.loads(on_shop("check", "--format", "json").stdout)["problems"] == []


def test_check_lists_everything_that_is_wrong_with_places(on_shop: Rlsgen, tmp_path: Path) -> None:
    spec = tmp_path / "broken.yaml"
    spec.write_text(BROKEN)
    done = on_shop("check", "--spec", "broken.yaml")
    assert (done.returncode, done.stdout) == (1, "")
    assert "broken.yaml:7:11: " in done.stderr
    assert "organisation_id" in done.stderr  # did you mean
    assert "broken.yaml:8:3: " in done.stderr
    assert done.stderr.endswith("problems; nothing was changed\n")

    machine = on_shop("check", "--spec", "broken.yaml", "--format", "json")
    problems = json.loads(machine.stdout)["problems"]
    assert (machine.returncode, machine.stderr) == (1, "")
    assert {(each["line"], each["column"]) for each in problems} >= {(7, 11), (8, 3)}
    for command in ("plan", "apply", "destroy"):
        assert on_shop(command, "--spec", "broken.yaml").returncode == 1


def test_check_says_loudly_what_an_open_seal_gives_up(on_shop: Rlsgen, tmp_path: Path) -> None:
    (tmp_path / "open.yaml").write_text(f"{SPEC.read_text()}\nseal: off\n")
    done = on_shop("check", "--spec", "open.yaml")
    assert done.returncode == 0, done.stderr
    assert "seal is off" in done.stderr
    assert "seal is off" not in on_shop("check").stderr


def test_from_plan_to_no_changes(on_shop: Rlsgen, shop: Database) -> None:
    plan = on_shop("plan")
    assert plan.returncode == 3
    assert "\ntable public.orders\n  + create policy rlsgen_only_select on public.orders\n" in plan.stdout
    assert "To accept the hazards: rlsgen apply --allow PLANNER_STATISTICS --allow PUBLIC_REVOKE" in plan.stderr
    assert not provisioned_by_now(shop.connect())

    refused = on_shop("apply")
    assert (refused.returncode, refused.stdout) == (4, "")
    assert "PUBLIC_REVOKE" in refused.stderr
    assert not provisioned_by_now(shop.connect())

    applied = on_shop("apply", *ALLOWED)
    assert applied.returncode == 0, applied.stderr
    assert applied.stdout.startswith("Applied ")
    again = on_shop("apply")
    assert (again.returncode, again.stdout) == (0, "No changes: the database is as the spec says.\n")
    assert (on_shop("plan").returncode, on_shop("plan").stdout) == (
        0,
        "No changes: the database is as the spec says.\n",
    )


def test_the_plan_as_data(on_shop: Rlsgen) -> None:
    done = on_shop("plan", "--format", "json")
    document = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (3, "")
    assert len(document["fingerprint"]) == 64
    for change in document["changes"]:
        assert {"action", "object", "sql", "hazards"} <= set(change)
    assert {hazard["hazard"] for change in document["changes"] for hazard in change["hazards"]} == {
        "PUBLIC_REVOKE",
        "PLANNER_STATISTICS",
    }
    applied = on_shop("apply", *ALLOWED, "--format", "json")
    assert (applied.returncode, applied.stderr) == (0, "")
    assert json.loads(applied.stdout)["fingerprint"] == document["fingerprint"]
    assert json.loads(applied.stdout)["changes"] == document["changes"]
    empty = on_shop("plan", "--format", "json")
    assert (empty.returncode, json.loads(empty.stdout)["changes"]) == (0, [])


def test_the_plan_as_sql(on_shop: Rlsgen, shop: Database, tmp_path: Path) -> None:
    done = on_shop("plan", "--format", "sql")
    assert (done.returncode, done.stderr) == (3, "")
    psql = [str(shop.server.program("psql")), "-X", "-q", "-v", "ON_ERROR_STOP=1", shop.dsn()]
    subprocess.run(psql, input=done.stdout, check=True, capture_output=True, text=True)
    assert on_shop("plan").returncode == 0


def test_a_saved_plan_is_applied_once(on_shop: Rlsgen, shop: Database, tmp_path: Path) -> None:
    assert on_shop("plan", "--out", "plan.json").returncode == 3
    saved = json.loads((tmp_path / "plan.json").read_text())
    assert saved == json.loads(on_shop("plan", "--format", "json").stdout)
    (tmp_path / "other.json").write_text(json.dumps({**saved, "fingerprint": "0" * 64}))
    other = on_shop("apply", "other.json", *ALLOWED)
    assert other.returncode == 1
    assert "changed since this plan was made" in other.stderr
    assert not provisioned_by_now(shop.connect())
    assert on_shop("apply", "plan.json", *ALLOWED).returncode == 0
    assert on_shop("apply", "plan.json", *ALLOWED).returncode == 1


@pytest.mark.parametrize("content", [None, "", "[]", "{}", "\0"])
def test_a_file_that_is_no_plan(on_provisioned: Rlsgen, tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "plan.json").write_text(content)
    done = on_provisioned("apply", "plan.json")
    assert done.returncode == 1
    assert ("cannot read plan.json" if content is None else "plan.json is no saved plan") in done.stderr
    assert "Traceback" not in done.stderr


def test_a_plan_that_cannot_be_saved(on_provisioned: Rlsgen) -> None:
    done = on_provisioned("plan", "--out", "nowhere/plan.json")
    assert done.returncode == 1
    assert "cannot write nowhere/plan.json" in done.stderr


def test_all_in_one_transaction_with_indexes(on_shop: Rlsgen, shop: Database) -> None:
    shop.connect().execute("DROP INDEX IF EXISTS orders_organisation_id_created_at_idx, orders_organisation_id_idx")
    owner = shop.connect()
    names = owner.execute(
        "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'orders'::regclass AND NOT indisunique"
    ).fetchall()
    for (name,) in names:
        owner.execute(f"DROP INDEX IF EXISTS {name}".encode())
    done = on_shop("apply", *ALLOWED, "--single-transaction", "--indexes", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert any("orders" in each for each in json.loads(done.stdout)["indexes"])
    assert json.loads(on_shop("apply", "--indexes", "--format", "json").stdout)["indexes"] == []


def test_destroy_asks_first(on_shop: Rlsgen, shop: Database) -> None:
    assert on_shop("apply", *ALLOWED).returncode == 0
    owner = shop.connect()
    dry = on_shop("destroy", "--dry-run")
    assert dry.returncode == 0
    assert "- drop policy rlsgen_only_select on public.orders" in dry.stdout
    for answer in (None, "", "n\n"):
        done = on_shop("destroy", input=answer)
        assert done.returncode == 1
        assert "not confirmed; nothing was changed" in done.stderr
    assert provisioned_by_now(owner)

    one = on_shop("destroy", "--yes", "--table", "public.notes", "--format", "json")
    assert one.returncode == 0, one.stderr
    assert {"notes" in each["object"] for each in json.loads(one.stdout)["changes"]} == {True}
    assert owner.execute("SELECT count(*) FROM pg_policies WHERE tablename = 'notes'").fetchone() == (0,)
    assert provisioned_by_now(owner)
    unknown = on_shop("destroy", "--yes", "--table", "notes")
    assert unknown.returncode == 1
    assert "rlsgen has done nothing to public.notes" in unknown.stderr
    no_name = on_shop("destroy", "--yes", "--table", "orders; DROP TABLE orders")
    assert no_name.returncode == 1
    assert "--table orders; DROP TABLE orders" in no_name.stderr

    done = on_shop("destroy", input="y\n")
    assert done.returncode == 0, done.stderr
    assert "Gave back what stood before" in done.stdout
    assert not provisioned_by_now(owner)
    twice = on_shop("destroy", "--yes")
    assert twice.returncode == 1
    assert "there is nothing of rlsgen in this database" in twice.stderr


def test_while_a_person_thinks_nobody_waits_and_what_changes_is_not_destroyed_unseen(
    on_shop: Rlsgen, shop: Database
) -> None:
    assert on_shop("apply", *ALLOWED).returncode == 0
    process = on_shop.start("destroy")
    assert process.stderr is not None
    asked = ""
    while "Give all of this back?" not in asked:
        asked += process.stderr.read(1)
    assert on_shop("destroy", "--yes", "--table", "notes").returncode == 0  # the lock is free
    _, said = process.communicate("y\n", timeout=60)
    assert process.returncode == 1
    assert "changed since this plan was made" in said
    assert provisioned_by_now(shop.connect())


def test_a_connection_that_breaks(on_shop: Rlsgen, shop: Database) -> None:
    assert on_shop("apply", *ALLOWED).returncode == 0
    process = on_shop.start("destroy")
    assert process.stderr is not None
    asked = ""
    while "Give all of this back?" not in asked:
        asked += process.stderr.read(1)
    with shop.server.administer() as administrator:
        administrator.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND application_name = 'rlsgen'",
            [shop.name],
        )
    _, said = process.communicate("y\n", timeout=60)
    assert process.returncode == 1
    assert "cannot" in said
    assert "try again" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("signal", ["INT", "TERM"])
@pytest.mark.parametrize("command", ["apply", "destroy"])
def test_interrupted_at_a_boundary(on_shop: Rlsgen, shop: Database, command: str, signal: str) -> None:
    if command == "destroy":
        assert on_shop("apply", *ALLOWED).returncode == 0
    blocker = shop.connect(autocommit=False)
    blocker.execute("LOCK TABLE orders IN ACCESS SHARE MODE")
    arguments = {"apply": ALLOWED, "destroy": ("--yes",)}[command]
    process = on_shop.start(command, *arguments, "--lock-timeout", "300")
    watcher = shop.connect()
    waiting = (
        "SELECT 1 FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database"
        " WHERE NOT l.granted AND l.relation = 'orders'::regclass AND d.datname = current_database()"
    )
    wait_until(lambda: process.poll() is not None or watcher.execute(waiting).fetchone())
    subprocess.run(["kill", f"-{signal}", str(process.pid)], check=True)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "what was committed is safe, what ran is rolled back" in said
    assert "Traceback" not in said
    locked = (
        "SELECT 1 FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database"
        " WHERE l.locktype = 'advisory' AND d.datname = current_database()"
    )
    wait_until(lambda: not watcher.execute(locked).fetchone())
    blocker.rollback()
    done = on_shop(command, *arguments)
    assert done.returncode == 0, done.stderr
    if command == "apply":
        assert on_shop("plan").returncode == 0
    assert provisioned_by_now(watcher) == (command == "apply")


def test_on_a_terminal_there_is_colour_but_json_stays_json(on_shop: Rlsgen, tmp_path: Path) -> None:
    code, shown = on_shop.on_terminal("plan")
    assert code == 3
    assert "\x1b[32m  + create policy rlsgen_only_select on public.orders\x1b[0m" in shown
    assert "\x1b[1;31mHazard PUBLIC_REVOKE" in shown
    code, shown = on_shop.on_terminal("apply", *ALLOWED)
    assert code == 0
    assert "Applied " in shown
    out = tmp_path / "out.json"
    (tmp_path / "run.sh").write_text('"$@" > out.json\n')
    assert on_shop("plan", "--format", "json").stdout.startswith("{")
    code, shown = on_shop.having(FORCE_COLOR="1").on_terminal("plan", "--format", "json")
    assert code == 0
    assert shown[shown.index("{") :].replace("\r\n", "\n").startswith('{\n "format"')
    assert not out.exists()


def test_names_that_steer_a_terminal_are_shown_escaped(
    rlsgen: Rlsgen, database_factory: Databases, tmp_path: Path
) -> None:
    database = database_factory()
    hostile = "a\x1b[2J\x07\r\n  + grant everything\x9b31m\u202eevil"
    quoted = '"' + hostile + '"'
    database.connect().execute(f"CREATE TABLE {quoted} (id integer, tenant integer)".encode())
    spec = {
        "version": 1, "context": {"tenant": {"type": "integer"}}, "schemas": ["public"],
        "roles": {"conversation": "nl_conversation", "unrestricted": ["shop_owner"]},
        "tables": {quoted: "tenant = userContext.tenant"},
    }  # fmt: skip
    (tmp_path / "policies.yaml").write_text(json.dumps(spec))
    on = rlsgen.having(RLSGEN_DSN=database.dsn())
    steering = set("\x1b\x07\r\x9b\u202e")
    for arguments in (
        ["plan"],
        ["check"],
        ["apply"],
        ["apply", "--indexes", "--allow", "PUBLIC_REVOKE"],
        ["destroy", "--dry-run"],
    ):
        done = on(*arguments)
        assert not steering & set(done.stdout + done.stderr)
        assert "\n  + grant everything" not in done.stdout + done.stderr
    _, shown = on.on_terminal("plan", "--format", "sql")
    assert not steering & set(shown[shown.index("-- Made by") :].replace("\r\n", "\n"))
    assert on("destroy", "--yes").returncode == 0
    exactly = hostile.replace("\r\n", "\n")  # as Python reads text from a pipe
    assert exactly in on("plan", "--format", "sql").stdout
    machine = on("plan", "--format", "json").stdout
    assert machine.isascii()
    assert any(hostile in change["sql"] for change in json.loads(machine)["changes"])


def test_a_locale_without_our_characters(on_provisioned: Rlsgen) -> None:
    done = on_provisioned.having(PYTHONIOENCODING="ascii", LC_ALL="C")("plan", "--spec", "é…\u202e.yaml")
    assert done.returncode == 1
    assert "there is no such file" in done.stderr
    assert "Traceback" not in done.stderr
