"""`rlsgen ci` as a whole: what it writes, how it ends, and that nothing of its server is left."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlsgen.ci.run import Options, Result, run
from rlsgen.proof.finding import Severity
from rlsgen.provision.apply import make_plan
from rlsgen.spec.load import load_spec
from tests.ci.conftest import Project
from tests.cli.runner import Rlsgen, wait_until
from tests.support.postgres import Database, Databases, Roles, Server

ALEMBIC = ("--alembic", "alembic.ini", "--seed", "tests/seed.sql")


def test_sigterm_leaves_no_server(own_tmp: tuple[Rlsgen, Path], project: Project) -> None:
    rlsgen, place = own_tmp
    project.revision("0003", "0002", "op.execute('SELECT pg_sleep(60)')")
    process = rlsgen.start("ci", *ALEMBIC)
    wait_until(lambda: list(place.glob("*/data/server.log")))
    wait_until(lambda: _sleeps(place))
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert time.monotonic() - started < 20
    assert list(place.iterdir()) == []


def _sleeps(place: Path) -> bool:
    """Whether a backend of the server there waits in pg_sleep: then the migration has begun."""
    import psycopg

    known = next(iter(place.glob("*/server.json")), None)
    if known is None:
        return False
    port, data = json.loads(known.read_text())["port"], known.parent / "data"
    try:
        with psycopg.connect(f"postgresql://postgres@/postgres?host={data}&port={port}") as connection:
            row = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'").fetchone()
    except psycopg.OperationalError:
        return False
    return row == (1,)


@pytest.fixture
def ci(project: Project, database: Database, server: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The same on an empty database of the tests' server, without a process for it."""
    monkeypatch.chdir(project.folder)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    asked = database.dsn("nl_conversation")

    def made(**options: Any) -> Result:
        given = {"alembic": Path("alembic.ini"), "seed": [Path("tests/seed.sql")], "base": "main:policies.yaml"}
        given |= {"dsn": database.dsn(), "conversation_dsn": asked, "spec": Path("policies.yaml")}
        return run(Options(**{**given, **options}))

    return made


def steps(result: Result) -> dict[str, str]:
    return {name: step.status for name, step in result.steps.items() if step.status != "fine"}


def test_a_change_that_widens(ci: Callable[..., Result], project: Project) -> None:
    project.change(
        "policies.yaml", "orders: {}", "orders: organisation_id = userContext.organisationId OR status = 'x'"
    )
    result = ci(access_only=True)
    assert result.verdict == "findings"
    assert [(each.rule, each.object, each.severity) for each in result.findings] == [
        ("access-widened", "public.order_items", "error"),
        ("access-widened", "public.orders", "error"),
    ]
    assert str(result.findings[1].position) == "policies.yaml:11:3"
    accepted = ci(access_only=True, allow_widened=True)
    assert accepted.verdict == "fine"
    assert {each.severity for each in accepted.findings} == {Severity.notice}


def test_without_rows_tenants_are_made_up(ci: Callable[..., Result], database: Database, server: Server) -> None:
    """By who may become the conversation role, as rlsgen may on a server of its own."""
    result = ci(seed=[], dsn=database.dsn(server.superuser))
    assert result.verified is not None
    assert [table.status for table in result.verified.tables] == ["isolated"] * 5
    assert {table.planted for table in result.verified.tables if table.kind == "scoped"} == {True}
    # Attacks want rows that are committed.
    assert (steps(result), result.verdict) == ({"verify": "findings"}, "findings")
    assert {each.object for each in result.findings} == {"attacks on the raw connection", "attacks through the guard"}
    assert "--seed" in result.steps["verify"].detail


def test_a_table_that_no_migration_makes(ci: Callable[..., Result], project: Project) -> None:
    project.change("policies.yaml", "orders: {}", "orders: {}\n  refunds: {}")
    result = ci()
    assert result.verdict == "failed"
    skipped = dict.fromkeys(("apply", "lint", "verify"), "skipped")
    assert steps(result) == {"check": "failed", **skipped, "access": "findings"}
    found = next(each for each in result.findings if each.rule == "ci-spec")
    assert (found.message, str(found.position)) == ("table refunds does not exist in public", "policies.yaml:12:3")
    assert "after all migrations (revision 0002)" in found.remedy


def test_a_column_that_no_migration_makes(ci: Callable[..., Result], project: Project) -> None:
    project.change("policies.yaml", "through: order_id", "through: order")
    found = ci(base="").findings
    assert [str(each.position) for each in found] == ["policies.yaml:12:26"]


def test_migrations_that_carry_policies(
    ci: Callable[..., Result], project: Project, database_factory: Databases, role_factory: Roles
) -> None:
    """They must carry those of the spec: then there is nothing to apply, and otherwise it is a finding."""
    project.write(
        "m/1.sql", "CREATE TABLE orders (organisation_id integer, id bigint, PRIMARY KEY (organisation_id, id))"
    )
    head = (project.folder / "policies.yaml").read_text().partition("tables:")[0]
    spec = project.write("policies.yaml", f"{head}tables:\n  orders: {{}}\n")
    model = database_factory()
    model.connect().execute((project.folder / "m/1.sql").read_bytes())
    project.write("m/2.sql", make_plan(model.connect(), load_spec(spec)).to_sql())
    given = {"alembic": None, "sql": [Path("m")], "seed": [], "base": "", "allow_uncovered": True}
    done = ci(**given)
    assert (done.findings, done.verdict) == ([], "fine")
    assert done.steps["check"].detail == "1 transaction to apply"  # TEMPORARY, of a database with another name
    project.change("policies.yaml", "orders: {}", "orders: organisation_id = userContext.organisationId AND id > 7")
    project.change("policies.yaml", "shop_app]", f"shop_app, {role_factory()}]")  # and it has no BYPASSRLS
    again = database_factory()
    behind = ci(**given, dsn=again.dsn(), conversation_dsn=again.dsn("nl_conversation"))
    assert steps(behind) == {"check": "findings", "access": "skipped"}
    assert [each.rule for each in behind.findings] == ["ci-behind"]
    assert "on public.orders" in behind.findings[0].message
    assert "with a file for --setup" in behind.findings[0].remedy


def test_a_table_that_the_spec_forgets(ci: Callable[..., Result], project: Project) -> None:
    project.revision("0003", "0002", "op.execute('CREATE TABLE secrets (organisation_id integer)')")
    result = ci()
    assert [each.message for each in result.findings] == ["table public.secrets is not declared"]
    assert result.verdict == "failed"


def test_a_spec_that_is_not_valid(ci: Callable[..., Result], project: Project) -> None:
    project.change("policies.yaml", "organisation_id = userContext.organisationId", "organisation_id =")
    result = ci()
    assert result.verdict == "failed"
    assert {each.status for name, each in result.steps.items() if name != "spec"} == {"skipped"}
    assert [each.rule for each in result.findings] == ["ci-spec"]


def test_a_hazard_that_is_not_allowed(ci: Callable[..., Result]) -> None:
    result = ci(allow=frozenset({"DUMP"}))
    assert result.verdict == "hazard"
    assert [each.rule for each in result.findings] == ["ci-hazard"]


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("nowhere.yaml", "there is no such file"),
        ("nowhere:policies.yaml", "git has no revision nowhere"),
        ("--output=x:policies.yaml", "git has no revision --output=x"),
        ("main:migrations", "this is no file"),
        ("main:alembic.ini", "not valid YAML"),
    ],
)
def test_a_base_that_cannot_be_read(ci: Callable[..., Result], project: Project, base: str, message: str) -> None:
    result = ci(base=base, access_only=True)
    assert result.steps["access"].status == "failed"
    assert any(message in each.message for each in result.findings)
    assert not (project.folder / "x").exists()


def test_a_spec_that_is_new(ci: Callable[..., Result], project: Project) -> None:
    result = ci(base="main:other.yaml", access_only=True)
    assert result.verdict == "findings"
    assert "there is no spec at main:other.yaml yet" in result.steps["access"].detail
    shutil.rmtree(project.folder / ".git")
    project.git("init", "--quiet")
    first = ci(base="HEAD:policies.yaml", access_only=True, allow_widened=True)  # the hook, before the first commit
    assert first.verdict == "fine"
    assert "there is no spec at HEAD:policies.yaml yet" in first.steps["access"].detail
    project.write("same.yaml", (project.folder / "policies.yaml").read_text())
    assert ci(base="same.yaml", access_only=True).verdict == "fine"


@pytest.mark.parametrize("made", ["TABLE here (a integer)", "VIEW v AS SELECT 1", "SCHEMA billing", "SEQUENCE s"])
def test_a_database_that_is_not_empty_is_left_alone(ci: Callable[..., Result], database: Database, made: str) -> None:
    database.connect().execute(f"CREATE {made}".encode())
    result = ci()
    assert result.steps["database"].status == "failed"
    assert "is not empty: it has 1 " in result.findings[0].message
    row = database.connect().execute("SELECT to_regclass('orders'), to_regnamespace('rlsgen')").fetchone()
    assert row == (None, None)


def test_roles_that_are_made_are_dropped(
    ci: Callable[..., Result], project: Project, database_factory: Databases, server: Server, role_factory: Roles
) -> None:
    """A spec whose roles this server does not have; the connection is an administrator's. And what lint finds."""
    prefix = role_factory().replace("_1", "_new")
    project.change("policies.yaml", "nl_conversation", f"{prefix}_talks")
    project.change("policies.yaml", "[shop_owner, shop_app]", f"[{prefix}_app]")
    body = "CREATE FUNCTION all_orders() RETURNS SETOF orders LANGUAGE sql SECURITY DEFINER AS 'SELECT * FROM orders'"
    project.revision("0003", "0002", f"op.execute({body!r})")
    given = database_factory()
    result = ci(dsn=given.dsn(server.superuser), conversation_dsn=None, base="")
    assert steps(result) == {"lint": "findings", "access": "skipped"}, [each.detail for each in result.steps.values()]
    assert result.verdict == "findings"
    assert "all_orders" in result.findings[0].object
    row = given.connect().execute("SELECT count(*) FROM pg_roles WHERE starts_with(rolname, %s)", [prefix]).fetchone()
    assert row == (0,)


def test_a_conversation_role_that_is_there_needs_its_login(ci: Callable[..., Result]) -> None:
    result = ci(conversation_dsn=None)
    assert "nl_conversation is on this server already" in result.findings[0].message


def test_setup_is_the_administrators(project: Project, rlsgen: Rlsgen) -> None:
    """On a server of its own: roles with the names and rights that the project wants, and extensions."""
    project.write("setup.sql", "CREATE ROLE reporting; CREATE ROLE shop_app LOGIN BYPASSRLS CREATEROLE;")
    project.write("m/1.sql", "CREATE TABLE t (organisation_id integer); GRANT SELECT ON t TO reporting;")
    project.write("m/2.sql", "DO $$BEGIN ASSERT (SELECT rolcreaterole FROM pg_roles WHERE rolname = 'shop_app'); END$$")
    project.write("s.yaml", (project.folder / "policies.yaml").read_text().partition("tables:")[0] + "tables: {t: {}}")
    done = rlsgen("ci", "--sql", "m", "--spec", "s.yaml", "--setup", "setup.sql", "--allow", "PUBLIC_REVOKE")
    assert "ok       The migrations run: 2 migrations, up to m/2.sql" in done.stdout, done.stdout
    # The role reporting loses what it had, since nobody declared it: that is what the plan would say in production.
    assert done.returncode == 4
    assert "ACCESS_LOSS" in done.stdout


def test_usage(rlsgen: Rlsgen, project: Project) -> None:
    (project.folder / "alembic.ini").unlink()
    done = rlsgen("ci")
    message = "where are the migrations? --alembic alembic.ini, or --sql migrations/"
    assert (done.returncode, done.stderr.splitlines()[0]) == (2, f"rlsgen: Invalid value: {message}")
