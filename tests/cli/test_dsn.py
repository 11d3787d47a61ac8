"""Where the DSN comes from, and that no password ever comes back."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.cli.runner import SPEC, Rlsgen
from tests.support.postgres import Database

SECRET = "hunter2-correct-horse"


def url(database: Database, scheme: str) -> str:
    parts = {name: quote(str(value), safe="") for name, value in conninfo_to_dict(database.dsn()).items()}
    login = parts["user"] + (f":{parts['password']}" if "password" in parts else "")
    return f"{scheme}://{login}@/{parts['dbname']}?host={parts['host']}&port={parts['port']}"


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg", "postgresql+asyncpg"])
def test_database_url_as_sqlalchemy_writes_it(rlsgen: Rlsgen, provisioned: Database, scheme: str) -> None:
    done = rlsgen.having(DATABASE_URL=url(provisioned, scheme))("plan", "--spec", str(SPEC))
    assert done.returncode == 0, done.stderr


def test_the_variables_of_libpq(rlsgen: Rlsgen, provisioned: Database) -> None:
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "dbname": "PGDATABASE", "password": "PGPASSWORD"}
    found = conninfo_to_dict(provisioned.dsn()).items()
    variables = {names[name]: str(value) for name, value in found if name in names}
    done = rlsgen.having(**variables)("plan", "--spec", str(SPEC))
    assert done.returncode == 0, done.stderr


def test_the_closer_one_wins(rlsgen: Rlsgen, provisioned: Database) -> None:
    nowhere = "host=/nowhere dbname=x"
    both = rlsgen.having(RLSGEN_DSN=provisioned.dsn(), DATABASE_URL=nowhere)
    assert both("plan", "--spec", str(SPEC)).returncode == 0
    option = rlsgen.having(RLSGEN_DSN=nowhere, DATABASE_URL=nowhere)
    assert option("plan", "--spec", str(SPEC), "--dsn", provisioned.dsn()).returncode == 0
    assert option("plan", "--spec", str(SPEC)).returncode == 1


COMMANDS = [["check"], ["plan"], ["apply"], ["destroy", "--yes"], ["keys", "create"], ["keys", "list"]]
BAD = [
    f"postgresql://u:{SECRET}@127.0.0.1:1/x",  # nobody listens
    f"postgresql://u:{SECRET}@127.0.0.1:port/x",
    f"postgresql://u:{SECRET}@x@127.0.0.1/x",  # ambiguous
    f"postgresql://u:{SECRET}/9@127.0.0.1/x",
    f"postgresql+psycopg://u:{SECRET}@127.0.0.1:1/x",
    f"host=127.0.0.1 port=1 password={SECRET}",
    f"host=127.0.0.1 port=1 password='{SECRET}",
    f"mysql://u:{SECRET}@127.0.0.1:1/x",
    f"password={SECRET} nonsense",
]


@pytest.mark.parametrize("dsn", BAD)
def test_a_dsn_that_does_not_work_keeps_its_password(rlsgen: Rlsgen, dsn: str) -> None:
    done = rlsgen("check", "--dsn", dsn, "--spec", str(SPEC))
    assert done.returncode == 1
    assert SECRET not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("rlsgen: ")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_command_repeats_a_password(rlsgen: Rlsgen, command: list[str]) -> None:
    on = rlsgen.having(RLSGEN_DSN=BAD[0], RLSGEN_SPEC=str(SPEC))
    for arguments in (command, [*command, "--format", "json"]):
        done = on(*arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert SECRET not in done.stderr
        assert "cannot connect" in done.stderr


def test_a_plan_carries_no_password(rlsgen: Rlsgen, provisioned: Database) -> None:
    dsn = f"{url(provisioned, 'postgresql')}&sslpassword={SECRET}"
    done = rlsgen("plan", "--spec", str(SPEC), "--dsn", dsn, "--format", "json")
    assert json.loads(done.stdout)["changes"] == []
    assert SECRET not in done.stdout + done.stderr
