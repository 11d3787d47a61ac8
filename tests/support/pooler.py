"""PgBouncer, as Debian's package has it, in front of a test's server: in transaction mode, on a unix socket."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.support.clusters import owned, wait_until

PROGRAM = "/usr/sbin/pgbouncer"
PORT = 6432  # only the socket's name: nothing listens on TCP
USERS = ("nl_conversation", "shop_owner", "shop_app")
_ADMINISTRATOR = "pooler"


def program() -> str | None:
    """Where PgBouncer is, if it is installed."""
    return shutil.which(PROGRAM) or shutil.which("pgbouncer")


@dataclass(slots=True)
class PgBouncer:
    """A pooler that may be killed and started again. Its settings are the defaults where tests need no others: startup
    parameters that it does not know are refused, and prepared statements are not its business.
    """

    directory: Path
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def dsn(self, database: str, user: str = "nl_conversation") -> str:
        return make_conninfo(host=str(self.directory), port=PORT, dbname=database, user=user)

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def start(self) -> None:
        found = program()
        assert found is not None
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [found, self.directory / "pgbouncer.ini"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True,
                **owned(self.directory),
            )  # fmt: skip
        wait_until(self._answers, "PgBouncer answers")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log
        try:
            self.show("VERSION")
        except psycopg.OperationalError:
            return False
        return True

    def show(self, what: str) -> list[tuple[object, ...]]:
        """What its console says."""
        with psycopg.connect(self.dsn("pgbouncer", _ADMINISTRATOR), autocommit=True) as console:
            return console.execute(f"SHOW {what}".encode()).fetchall()

    def kill(self, signal_number: int = signal.SIGKILL) -> None:
        """End it at once, and wait until it is gone."""
        assert self._process is not None
        self._process.send_signal(signal_number)
        self._process.wait(30)

    def restart(self) -> None:
        """As a crash and a service manager do."""
        self.kill()
        self.start()


@contextmanager
def pgbouncer(base: str, size: int = 3, settings: Sequence[str] = ()) -> Iterator[PgBouncer]:
    """A pooler in front of the server that a superuser's DSN names, with `size` connections per database and role."""
    server = conninfo_to_dict(base)
    directory = Path(tempfile.mkdtemp(prefix="rlsgen-"))
    password = str(server.get("password") or "")
    target = " ".join(f"{name}={server[name]}" for name in ("host", "port") if server.get(name))
    (directory / "users").write_text("".join(f'"{user}" "{password}"\n' for user in (*USERS, _ADMINISTRATOR)))
    (directory / "pgbouncer.ini").write_text("\n".join([
        "[databases]", f"* = {target}",
        "[pgbouncer]", "pool_mode = transaction", f"default_pool_size = {size}", "max_client_conn = 1000",
        "listen_addr =", f"unix_socket_dir = {directory}", f"listen_port = {PORT}",
        "auth_type = trust", f"auth_file = {directory / 'users'}", f"admin_users = {_ADMINISTRATOR}",
        "server_login_retry = 0.1", *settings, "",
    ]))  # fmt: skip
    if os.geteuid() == 0:  # it does not run as root; the server's own user gets at the server's socket
        host = Path(str(server.get("host") or ""))
        user = host.stat() if host.is_absolute() else None
        nobody = pwd.getpwnam("nobody")
        uid, gid = (user.st_uid, user.st_gid) if user and user.st_uid else (nobody.pw_uid, nobody.pw_gid)
        for each in (directory, *directory.iterdir()):
            os.chown(each, uid, gid)
    pooler = PgBouncer(directory)
    pooler.start()
    try:
        yield pooler
    finally:
        pooler.kill()
        shutil.rmtree(directory, ignore_errors=True)
