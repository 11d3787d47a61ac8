"""`rlsgen plan --format sql` for everybody else: psql, Flyway, Sqitch, Django, Rails."""

from __future__ import annotations

import subprocess
from pathlib import Path

import postgast
import psycopg
import pytest

from rlsgen.provision.apply import apply, make_plan
from rlsgen.provision.plan import Plan
from rlsgen.spec.load import load_spec
from tests.cli.runner import SPEC, Rlsgen
from tests.migrations.conftest import Seen
from tests.support.postgres import Database, Databases

HAZARDS = ("PUBLIC_REVOKE", "PLANNER_STATISTICS")


@pytest.fixture
def applied(shop: Database) -> Seen:
    """What apply makes of the shop."""
    apply(shop.connect(), load_spec(SPEC), allow=HAZARDS)
    return Seen.of(shop)


def psql(database: Database, script: str, *options: str) -> None:
    program = [str(database.server.program("psql")), "-X", "-q", "-v", "ON_ERROR_STOP=1", *options]
    done = subprocess.run([*program, "-d", database.dsn()], input=script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def one_by_one(database: Database, script: str) -> None:
    """As drivers send scripts: statement by statement, outside any transaction (Flyway: executeInTransaction=false)."""
    connection = database.connect()
    for statement in postgast.split(script):
        connection.execute(statement.encode())


def at_once(database: Database, script: str) -> None:
    """As one text (Rails' execute, with disable_ddl_transaction!)."""
    database.connect().execute(script.encode())


def within(database: Database, script: str) -> None:
    """In the tool's own transaction, which writes its history before and after (Flyway, Django, Rails)."""
    with database.connect(autocommit=False) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS history (version integer)")
        connection.execute("SET search_path = public")
        for statement in postgast.split(script):
            connection.execute(statement.encode())
        connection.execute("INSERT INTO history VALUES (1)")  # the tool's search path is back
        connection.execute("DROP TABLE history")


def the_plan(database: Database, *, portable: bool = False) -> Plan:
    return make_plan(database.connect(), load_spec(SPEC), portable=portable)


@pytest.mark.parametrize("run", [psql, one_by_one, at_once])
def test_a_script_is_what_apply_does(
    applied: Seen, database_factory: Databases, shop_template: str, run: object
) -> None:
    database = database_factory(template=shop_template)
    run(database, the_plan(database).to_sql())  # type: ignore[operator]
    assert Seen.of(database) == applied
    assert not the_plan(database).transactions


def test_in_the_transaction_of_a_tool_and_elsewhere(
    applied: Seen, database_factory: Databases, shop_template: str
) -> None:
    developer, deployed = (database_factory(template=shop_template) for _ in range(2))
    script = the_plan(developer, portable=True).to_migration()
    assert developer.name not in script
    within(deployed, script)
    assert Seen.of(deployed) == applied
    assert not the_plan(deployed).transactions
    psql(developer, script, "--single-transaction")
    assert Seen.of(developer) == applied
    system = (
        "SELECT p.system_identifier = c.system_identifier::text FROM rlsgen.provision AS p, pg_control_system() AS c"
    )
    assert deployed.connect().execute(system.encode()).fetchone() == (True,)


def test_a_script_that_fails_leaves_nothing(database_factory: Databases, shop_template: str) -> None:
    database = database_factory(template=shop_template)
    before = Seen.of(database)
    script = the_plan(database, portable=True).to_migration()
    database.connect().execute("ALTER TABLE notes RENAME COLUMN user_id TO author")
    with pytest.raises(psycopg.errors.UndefinedColumn):
        within(database, script)
    database.connect().execute("ALTER TABLE notes RENAME COLUMN author TO user_id")
    assert Seen.of(database) == before


def test_the_command(shop: Database, tmp_path: Path) -> None:
    rlsgen = Rlsgen(tmp_path).having(RLSGEN_DSN=shop.dsn(), RLSGEN_SPEC=str(SPEC))
    planned = rlsgen("plan", "--format", "sql", "--migration")
    assert planned.returncode == 3
    assert "BEGIN;\n" not in planned.stdout
    assert planned.stdout == the_plan(shop, portable=True).to_migration()
    misused = rlsgen("plan", "--migration")
    assert (misused.returncode, "--format sql" in misused.stderr) == (2, True)
