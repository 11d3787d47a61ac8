"""Bad input at the command line: a clear error, at its place in the file, and an unchanged database."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from psycopg.conninfo import conninfo_to_dict

from rlsgen.catalog import connect
from rlsgen.demo.shop import OWNER
from rlsgen.errors import ServerError
from rlsgen.provision.apply import apply
from tests.apply.support import (
    ALLOWED,
    BY_ORGANISATION,
    company,
    document,
    provision,
    run,
    schema_of,
    sql,
    wait_until,
)
from tests.support.postgres import Connection, Database

COMMANDS = ("check", "apply")


def written(directory: Path, **changes: Any) -> Path:
    file = directory / "policies.yaml"
    file.write_text(yaml.safe_dump(document(**changes), sort_keys=False, width=1000))
    return file


def place_of(file: Path, text: str) -> str:
    """Where a text stands in the file, as errors say it."""
    before, found, _ = file.read_text().partition(text)
    assert found
    return f"{file}:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


def refused(site: Database, file: Path, *said: str, code: int = 1, commands: tuple[str, ...] = COMMANDS) -> None:
    """Every command refuses it alike, says these things, nothing on stdout, and changes nothing."""
    before = schema_of(site)
    for command in commands:
        done = run(command, "--spec", str(file), *(allow() if command == "apply" else ()), dsn=site.dsn())
        assert done.returncode == code, (command, done.stdout, done.stderr)
        for text in said:
            assert text in done.stderr, (command, done.stderr)
        assert "Traceback" not in done.stderr
        assert done.stdout == ""
    assert schema_of(site) == before


def allow() -> list[str]:
    return [f"--allow={each}" for each in ALLOWED]


# Filters. Each: the filter of a table like orders, where in it the error is, and what is said.

BY_FILE: dict[str, tuple[str, str, str]] = {
    "window": ("row_number() OVER () = userContext.organisationId", "() =", "is a window function"),
    "semicolon": (f"{BY_ORGANISATION}; DROP TABLE notes", "; DROP TABLE", "filter of"),
    "syntax": ("organisation_id == = userContext.organisationId", "= userContext", 'syntax error at or near "="'),
    "field": ("organisation_id = userContext.organizationId", "userContext.organizationId", "organisationId"),
    "cast": ("organisation_id::text = userContext.userId", "organisation_id::", "keeps Postgres from using an index"),
}
BY_NAMES: dict[str, tuple[str, str, str]] = {
    "itself": ("organisation_id IN (SELECT organisation_id FROM itself)", "organisation_id IN", "which would recurse"),
    "hiding": (
        "organisation_id IN (SELECT organisation_id FROM secrets)",
        "organisation_id IN",
        "queries public.secrets, which is hidden",
    ),
    "nothing": (
        "organisation_id IN (SELECT organisation_id FROM nosuch)",
        "organisation_id IN",
        "nosuch does not exist",
    ),
}
BY_POSTGRES: dict[str, tuple[str, str, str]] = {
    "number": ("organisation_id + userContext.organisationId", "organisation_id +", "must be type boolean, not"),
    "aggregate": ("max(organisation_id) = userContext.organisationId", "max(", "max is an aggregate"),
    "counting": ("count(*) = userContext.organisationId", "count(", "count is an aggregate"),
    "volatile": (f"{BY_ORGANISATION} AND random() < 2", BY_ORGANISATION, "function random is volatile"),
    "fickle": ("fickle(organisation_id) = userContext.organisationId", "fickle", "function fickle is volatile"),
    "foreign": ("user_id = userContext.userId", "user_id", "foreign has: id, organisation_id"),
    "misspelt": ("team_id > 0 AND organization_id = userContext.organisationId", "organization_id", "organisation_id?"),
    "other": ("notes.organisation_id = userContext.organisationId", "notes.", 'FROM-clause entry for table "notes"'),
    "unknown": ("nosuch(organisation_id) = userContext.organisationId", "nosuch", "function nosuch(integer) does not"),
    "operator": ("note = userContext.userId AND email @@@ note", "@@@", "operator does not exist"),
    "set": ("organisation_id = generate_series(1, userContext.organisationId)", "generate_series", "set-returning"),
}


@pytest.mark.parametrize("filters", [BY_FILE, BY_NAMES, BY_POSTGRES], ids=["file", "names", "postgres"])
def test_filters(site: Database, tmp_path: Path, filters: dict[str, tuple[str, str, str]]) -> None:
    """All at once, each at its place."""
    owner = site.connect()
    owner.execute("CREATE FUNCTION fickle(integer) RETURNS integer LANGUAGE sql VOLATILE AS 'SELECT $1'")
    for name in filters:
        owner.execute(sql("CREATE TABLE {} (LIKE orders)", name))
    file = written(tmp_path, **{f'"{name}"': text for name, (text, _, _) in filters.items()})
    before = schema_of(site)
    done = run("apply", "--spec", str(file), *allow(), dsn=site.dsn())
    assert done.returncode == 1
    assert schema_of(site) == before
    assert f"{len(filters)} problems; nothing was changed" in done.stderr
    content = file.read_text()
    for name, (text, at, said) in filters.items():
        offset = content.index(text, content.index(f"'\"{name}\"':")) + text.index(at)
        line, column = content.count("\n", 0, offset) + 1, offset - content.rfind("\n", 0, offset)
        (message,) = (each for each in done.stderr.split(str(file)) if each.startswith(f":{line}:"))
        assert said in message, name
        assert message.startswith(f":{line}:{column}: "), (name, message)


def test_the_column_is_exact(site: Database, tmp_path: Path) -> None:
    file = written(tmp_path, orders="organisation_id = userContext.organisationId AND tema_id = 1")
    refused(site, file, place_of(file, "tema_id"), "did you mean team_id?")


def test_all_errors_at_once(site: Database, tmp_path: Path) -> None:
    file = written(
        tmp_path,
        orders="organization_id = userContext.organisationId",
        notes="max(organisation_id) = userContext.organisationId",
        folders={"through": "parent_id -> nosuch(id)"},
        nosuch={},
        roles={"conversation": "nobody_at_all", "unrestricted": ["shop_owner"]},
    )
    # What Postgres says of filters comes once the names are right.
    refused(
        site, file, "table nosuch does not exist", "role nobody_at_all does not exist", "nothing was changed",
        commands=("check",),
    )  # fmt: skip
    file = written(
        tmp_path,
        orders="organization_id = userContext.organisationId",
        notes="max(organisation_id) = userContext.organisationId",
    )
    refused(site, file, place_of(file, "organization_id"), "aggregate", "2 problems; nothing was changed")


def test_policies_that_would_recurse(site: Database, tmp_path: Path) -> None:
    file = written(
        tmp_path,
        notes="organisation_id IN (SELECT organisation_id FROM folders)",
        folders={"filter": "organisation_id IN (SELECT organisation_id FROM events)"},
        events="organisation_id IN (SELECT organisation_id FROM notes)",
    )
    refused(site, file, str(file), "would recurse into each other", "public.notes", "public.folders", "public.events")


# Roles, names, files


def test_roles(site: Database, tmp_path: Path) -> None:
    file = written(tmp_path, roles={"conversation": "nl_conversatoin", "unrestricted": ["shop_owner", "shop_ap"]})
    refused(
        site, file, place_of(file, "nl_conversatoin"), "role nl_conversatoin does not exist",
        "did you mean nl_conversation?", place_of(file, "shop_ap"), "did you mean shop_app?",
    )  # fmt: skip
    file = written(tmp_path, roles={"conversation": "somebody else", "unrestricted": ["shop_owner"]})
    refused(site, file, 'role "somebody else" does not exist', 'CREATE ROLE "somebody else" LOGIN', commands=("apply",))


def test_broken_files(site: Database, tmp_path: Path) -> None:
    file, before = tmp_path / "policies.yaml", schema_of(site)
    for text, said in {
        "version: 1\ntables: [": "policies.yaml:2:",
        "version: 1\nrolse: {}\n": "did you mean",
        "version: 1\nversion: 1\n": "policies.yaml:2:1",
        "\x00": "policies.yaml",
        "": "policies.yaml",
    }.items():
        file.write_text(text)
        done = run("apply", "--spec", str(file), dsn=site.dsn())
        assert done.returncode == 1
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    refused(site, tmp_path / "nosuch.yaml", "there is no such file", commands=("check",))
    assert schema_of(site) == before


# Servers


def test_a_server_that_is_down(site: Database, tmp_path: Path) -> None:
    file = written(tmp_path)
    for command in COMMANDS:
        done = run(command, "--spec", str(file), dsn="postgresql://shop_owner:geheim@127.0.0.1:1/shop")
        assert done.returncode == 1
        assert "cannot connect" in done.stderr
        assert "see that the server is up" in done.stderr
        assert "geheim" not in done.stderr + done.stdout
        assert "Traceback" not in done.stderr


def test_a_server_that_is_too_old(site: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The servers at hand are new enough: the bound is moved past them."""
    before = schema_of(site)
    monkeypatch.setattr(connect, "OLDEST_SERVER", 1000000)
    with pytest.raises(ServerError, match="rlsgen needs 15 or later"):
        apply(site.connect(), company(), allow=ALLOWED)
    assert schema_of(site) == before


def test_a_read_only_database(site: Database, tmp_path: Path, administrator: Connection) -> None:
    file = written(tmp_path)
    administrator.execute(sql("ALTER DATABASE {} SET default_transaction_read_only = on", site.name))
    refused(site, file, "transactions are read-only here", commands=("apply",))
    for command, code in (("check", 0), ("plan", 3)):  # these only read
        assert run(command, "--spec", str(file), dsn=site.dsn()).returncode == code
    administrator.execute(sql("ALTER DATABASE {} RESET default_transaction_read_only", site.name))
    provision(site)
    administrator.execute(sql("ALTER DATABASE {} SET default_transaction_read_only = on", site.name))
    destroyed = run("destroy", "--yes", "--spec", str(file), dsn=site.dsn())
    assert destroyed.returncode == 1
    assert "read-only" in destroyed.stderr


def test_no_right_to_create(site: Database, tmp_path: Path, administrator: Connection) -> None:
    file = written(tmp_path)
    administrator.execute(sql("ALTER DATABASE {} OWNER TO {}", site.name, site.server.superuser))
    refused(
        site, file, f"{OWNER} may not create schemas in database {site.name}",
        f'GRANT CREATE ON DATABASE "{site.name}" TO "{OWNER}"', commands=("check", "apply"),
    )  # fmt: skip


def test_somebody_elses_schema_of_that_name(site: Database, tmp_path: Path, administrator: Connection) -> None:
    administrator.execute("CREATE SCHEMA rlsgen")
    refused(site, written(tmp_path), "rlsgen", commands=("apply",))


@pytest.fixture
def pooler(site: Database) -> Iterator[str]:
    """The DSN of a PgBouncer in transaction mode in front of the database."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("PgBouncer is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    parts = conninfo_to_dict(site.dsn())
    wanted = ("host", "port", "user", "dbname", "password")
    target = " ".join(f"{name}={parts[name]}" for name in wanted if parts.get(name))
    user: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="rlsgen-pooler-") as name:
        directory = Path(name)
        configuration = directory / "pgbouncer.ini"
        configuration.write_text(
            f"[databases]\nbounced = {target}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n"
            f"unix_socket_dir =\nauth_type = any\npool_mode = transaction\nlogfile = {directory}/log\n"
            "ignore_startup_parameters = extra_float_digits\ndefault_pool_size = 2\n"
        )
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            for each in (directory, configuration):
                os.chown(each, nobody.pw_uid, nobody.pw_gid)
            user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        process = subprocess.Popen([program, "-q", str(configuration)], cwd="/", **user)
        try:
            dsn = f"host=127.0.0.1 port={port} dbname=bounced user={OWNER}"
            wait_until(lambda: answers(dsn, process))
            yield dsn
        finally:
            process.terminate()
            process.wait(20)


def answers(dsn: str, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None
    try:
        psycopg.connect(dsn, prepare_threshold=None).close()
    except psycopg.OperationalError:
        return False
    return True


def test_a_transaction_pooler(site: Database, tmp_path: Path, pooler: str) -> None:
    file, before = written(tmp_path), schema_of(site)
    for command in (("apply", *allow()), ("apply", "--indexes", *allow())):
        refused_by_pooler(run(*command, "--spec", str(file), dsn=pooler))
    assert schema_of(site) == before
    # What only reads works through it.
    assert run("check", "--spec", str(file), dsn=pooler).returncode == 0
    assert run("plan", "--spec", str(file), dsn=pooler).returncode == 3
    provision(site)
    before = schema_of(site)
    assert run("plan", "--spec", str(file), dsn=pooler).returncode == 0
    refused_by_pooler(run("destroy", "--yes", "--spec", str(file), dsn=pooler))
    assert schema_of(site) == before


def refused_by_pooler(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 1
    assert "pooler" in done.stderr
    assert "connect to the server itself" in done.stderr


def test_hazards(site: Database, tmp_path: Path) -> None:
    file = written(tmp_path)
    before = schema_of(site)
    done = run("apply", "--spec", str(file), dsn=site.dsn())
    assert done.returncode == 4
    assert "PUBLIC_REVOKE" in done.stderr
    assert "rlsgen apply --allow DUMP --allow PLANNER_STATISTICS --allow PUBLIC_REVOKE" in done.stderr
    unknown = run("apply", "--spec", str(file), "--allow", "NOSUCH", dsn=site.dsn())
    assert unknown.returncode == 2
    assert schema_of(site) == before
