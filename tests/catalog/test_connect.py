"""Connections: what a DSN may look like, what is refused, and that no message repeats a password."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from rlsgen.catalog import connect
from rlsgen.catalog.connect import driver_errors, open_connection, require_version, require_writable_session
from rlsgen.catalog.read import read_catalog
from rlsgen.demo.shop import CONVERSATION, OWNER
from rlsgen.errors import ServerError
from tests.support.postgres import Database

SECRET = "s3cr3t"


def uri(database: Database, scheme: str) -> str:
    """The database's DSN as a URI."""
    parts = conninfo_to_dict(database.dsn())
    query = "&".join(f"{name}={parts[name]}" for name in ("host", "port", "password") if parts.get(name))
    return f"{scheme}://{parts['user']}@/{parts['dbname']}?{query}"


def current(connection: psycopg.Connection[Any]) -> tuple[str, str] | None:
    return connection.execute("SELECT current_database(), current_user::text").fetchone()


@pytest.mark.parametrize(
    "scheme",
    ["postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2", "postgresql+asyncpg", "postgres+psycopg"],
)
def test_uris(database: Database, scheme: str) -> None:
    with open_connection(uri(database, scheme)) as connection:
        assert current(connection) == (database.name, OWNER)


def test_keywords(database: Database) -> None:
    with open_connection(database.dsn()) as connection:
        assert current(connection) == (database.name, OWNER)


@pytest.mark.parametrize("dsn", [None, ""])
def test_without_a_dsn_the_environment_decides(
    database: Database, monkeypatch: pytest.MonkeyPatch, dsn: str | None
) -> None:
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "dbname": "PGDATABASE", "password": "PGPASSWORD"}
    for name, value in conninfo_to_dict(database.dsn()).items():
        monkeypatch.setenv(names[name], str(value))
    with open_connection(dsn) as connection:
        assert current(connection) == (database.name, OWNER)


def test_what_a_connection_is_like(database: Database) -> None:
    with open_connection(database.dsn()) as connection:
        assert connection.autocommit
        assert connection.prepare_threshold is None
        assert connection.execute("SHOW application_name").fetchone() == ("rlsgen",)
    with open_connection(database.dsn() + " application_name=mine") as connection:
        assert connection.execute("SHOW application_name").fetchone() == ("mine",)


def test_it_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that accepts and never answers."""
    monkeypatch.setattr(connect, "CONNECT_TIMEOUT", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        started = time.monotonic()
        with pytest.raises(ServerError, match=r"cannot connect: .*timeout"):
            open_connection(f"postgresql://u:{SECRET}@127.0.0.1:{port}/d")
        assert time.monotonic() - started < 8


@pytest.mark.parametrize(
    "dsn",
    [
        f"postgresql://u:{SECRET}@@host/d",
        f"postgresql://u:{SECRET}@x@127.0.0.1:1/d",
        f"postgresql://u:x@{SECRET}@127.0.0.1:1/d",
        f"postgresql://u:x/{SECRET}@127.0.0.1:1/d",
        f"postgresql://u:{SECRET}/x@127.0.0.1:1/d",
        f"postgresql://u:x?{SECRET}@127.0.0.1:1/d",
        f"postgresql://u:x?{SECRET}=1@127.0.0.1:1/d",
        f"postgresql://u:x%{SECRET}@127.0.0.1:1/d",
        f"postgresql://u:{SECRET}@127.0.0.1:notaport/d",
        f"postgresql://u:{SECRET}@127.0.0.1:1/d?nonsense=1",
        f"postgresql://u:{SECRET}@127.0.0.1:1/d",
        f"postgresql+psycopg://u:{SECRET}@127.0.0.1:1/d",
        f"mysql://u:{SECRET}@127.0.0.1:1/d",
        f"u:{SECRET}@127.0.0.1:1/d",
        f"host=127.0.0.1 port=1 password=x {SECRET}",
        f"host=127.0.0.1 port=1 password=x {SECRET}=1",
        f"host=127.0.0.1 port=1 password='{SECRET}",
        f"host=127.0.0.1 port=1 user=u password={SECRET}",
        f"host=127.0.0.1 port={SECRET}x",
    ],
)
def test_no_message_has_a_password(dsn: str) -> None:
    with pytest.raises(ServerError) as caught:
        open_connection(dsn)
    error: BaseException | None = caught.value
    assert caught.value.hint
    shown = ""
    while error is not None:
        shown += f"{error}{getattr(error, 'hint', '')}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if "port=s3" not in dsn:  # a port is no secret; this only shows that the check can fail
        assert SECRET not in shown
    else:
        assert SECRET in shown


def test_a_server_that_is_down() -> None:
    with pytest.raises(ServerError, match="cannot connect: ") as caught:
        open_connection("postgresql://u@127.0.0.1:1/d")
    assert "--dsn" in caught.value.hint


def test_a_database_that_does_not_exist(database: Database) -> None:
    with pytest.raises(ServerError, match='"no such" does not exist'):
        open_connection(database.server.dsn("no such"))


# Sessions


def test_a_session_of_a_plain_server_will_do(database: Database) -> None:
    with open_connection(database.dsn()) as connection:
        require_writable_session(connection)


def test_an_old_server(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The servers at hand are new enough: the bound is moved past them."""
    monkeypatch.setattr(connect, "OLDEST_SERVER", 1000000)
    connection = database.connect()
    version = connection.info.server_version // 10000
    for refuses in (require_version, require_writable_session, lambda each: read_catalog(each, CONVERSATION)):
        with pytest.raises(
            ServerError, match=f"the server is PostgreSQL {version}; rlsgen needs 15 or later"
        ) as caught:
            refuses(connection)
        assert "upgrade" in caught.value.hint


def test_a_read_only_database(database: Database) -> None:
    with database.server.administer() as administrator:
        administrator.execute(f'ALTER DATABASE "{database.name}" SET default_transaction_read_only = on'.encode())
    with open_connection(database.dsn()) as connection:
        with pytest.raises(ServerError, match="read-only") as caught:
            require_writable_session(connection)
        assert "ALTER DATABASE" in caught.value.hint


def test_a_connection_that_was_lost(database: Database) -> None:
    connection = open_connection(database.dsn())
    with database.server.administer() as administrator:
        administrator.execute("SELECT pg_terminate_backend(%s, 10000)", [connection.info.backend_pid])
    with pytest.raises(ServerError, match="cannot look at the session: ") as caught:
        require_writable_session(connection)
    assert "lost" in caught.value.hint


@pytest.mark.parametrize(
    ("statement", "hint"),
    [
        ("SELECT * FROM pg_authid", "owns the tables"),
        ("SELECT 1 / 0", ""),
    ],
)
def test_driver_errors(database: Database, statement: str, hint: str) -> None:
    connection = database.connect()
    with pytest.raises(ServerError, match="cannot count sheep: ") as caught, driver_errors("count sheep"):
        connection.execute(statement.encode())
    assert hint in caught.value.hint
    assert isinstance(caught.value.__cause__, psycopg.Error)


def test_other_errors_pass_through() -> None:
    with pytest.raises(ZeroDivisionError), driver_errors("divide"):
        _ = 1 / 0


# A standby


@pytest.fixture(scope="module")
def standby(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[str]:
    """The DSN of a server in recovery, made from the binaries that the tests run on."""
    from rlsgen.demo.server import embedded_binaries, temporary_server

    if request.config.getoption("--postgres"):
        pytest.skip("needs binaries, and --postgres names a server")
    with temporary_server(request.config.getoption("--postgres-bin") or embedded_binaries(), small=True) as made:
        made.stop()
        signal = made.data / "standby.signal"
        signal.touch()
        shutil.chown(signal, made.data.stat().st_uid, made.data.stat().st_gid)
        owner = pwd.getpwuid(made.data.stat().st_uid)
        log = made.data / "standby.log"
        command = ["-D", str(made.data), "-o", f"-p {made.port} -k {made.data} -h ''", "-l", str(log), "-w"]
        user: dict[str, Any] = {}
        if os.geteuid() == 0:
            user = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        program = made.binaries / "pg_ctl"
        subprocess.run([str(program), "start", *command], check=True, cwd="/", stdout=subprocess.DEVNULL, **user)
        yield made.dsn()


def test_a_standby_is_read_but_not_written(standby: str) -> None:
    with open_connection(standby) as connection:
        with pytest.raises(ServerError, match="standby") as caught:
            require_writable_session(connection)
        assert "primary" in caught.value.hint
        found = read_catalog(connection, CONVERSATION)
        assert (found.in_recovery, found.read_only) == (True, True)


# A pooler


@contextmanager
def pgbouncer(database: Database, directory: Path, mode: str) -> Iterator[str]:
    """The DSN of a PgBouncer in front of the database."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("PgBouncer is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    parts = conninfo_to_dict(database.dsn())
    target = " ".join(
        f"{name}={parts[name]}" for name in ("host", "port", "user", "dbname", "password") if name in parts
    )
    configuration = directory / "pgbouncer.ini"
    configuration.write_text(
        f"[databases]\nbounced = {target}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        f"pool_mode = {mode}\nlogfile = {directory}/log\nmax_client_conn = 20\ndefault_pool_size = 2\n"
    )
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        for each in (directory, configuration):
            shutil.chown(each, "nobody")
        user = {"user": "nobody"}
    process = subprocess.Popen([program, "-q", str(configuration)], cwd="/", **user)
    try:
        dsn = f"host=127.0.0.1 port={port} dbname=bounced user={OWNER}"
        deadline = time.monotonic() + 20
        while True:
            try:
                psycopg.connect(dsn, prepare_threshold=None).close()
                break
            except psycopg.OperationalError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
        yield dsn
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that another user can reach, which pytest's own are not."""
    import tempfile

    directory = Path(tempfile.mkdtemp(prefix="rlsgen-pgbouncer-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_a_pooler_is_refused_for_writing(database: Database, open_directory: Path, mode: str) -> None:
    with pgbouncer(database, open_directory, mode) as dsn, open_connection(dsn) as connection:
        with pytest.raises(ServerError, match="pooler") as caught:
            require_writable_session(connection)
        assert "PgBouncer" in caught.value.hint


def test_a_catalog_is_read_through_a_pooler(database: Database, open_directory: Path) -> None:
    direct = database.connect()
    direct.execute("CREATE TABLE t (id integer PRIMARY KEY, at timestamptz)")
    direct.execute("CREATE POLICY p ON t USING (at > '2024-01-01 00:00:00+00')")
    expected = read_catalog(direct, CONVERSATION)
    with pgbouncer(database, open_directory, "transaction") as dsn, open_connection(dsn) as connection:
        assert read_catalog(connection, CONVERSATION) == expected
        assert read_catalog(connection, CONVERSATION) == expected  # and leaves the pooled session as it was
        assert connection.execute("SHOW search_path").fetchone() == direct.execute("SHOW search_path").fetchone()
