"""The server that tests run on: an embedded one of this process, or one that is there; with the spec's roles on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from rlsgen.catalog.connect import driver_errors, open_connection, read_dsn, require_writable_session, set_password
from rlsgen.demo.server import temporary_server
from rlsgen.identifiers import Sql, fill, identifier, join
from rlsgen.spec.model import Spec

Connection = psycopg.Connection[Any]
_SOURCE = "--rlsgen-dsn, RLSGEN_TEST_DSN or rlsgen_dsn"


@dataclass(frozen=True, slots=True)
class TestServer:
    """A cluster that tests make databases on; `base` is its administrator's DSN."""

    __test__ = False  # for pytest: a name that starts with Test, and no test

    base: str = field(repr=False)

    def dsn(self, database: str = "", user: str = "") -> str:
        """A DSN; without names, the administrator's. The password of `base` is that of all roles made here."""
        return make_conninfo(self.base, **{k: v for k, v in (("dbname", database), ("user", user)) if v})

    def url(self, database: str, user: str, driver: str = "psycopg") -> str:
        """The same as SQLAlchemy reads it."""
        parts = conninfo_to_dict(self.dsn(database, user))
        password = parts.pop("password", None)
        who = quote(str(parts.pop("user")), safe="") + (f":{quote(str(password), safe='')}" if password else "")
        name = quote(str(parts.pop("dbname")), safe="")
        return f"postgresql+{driver}://{who}@/{name}?{urlencode(parts)}"

    @contextmanager
    def administer(self, database: str = "") -> Iterator[Connection]:
        """The administrator, autocommitting."""
        with open_connection(self.dsn(database), _SOURCE) as connection:
            yield connection

    def create(self, name: str, template: str, owner: str) -> None:
        """Make a database: an empty one from template0, or a clone.

        Raises:
            ServerError: it cannot be made: no such template, somebody is connected to it, no right to.
        """
        # Files, not the log: half the time for a schema of usual size, and nothing left in the buffers.
        text = "CREATE DATABASE {} OWNER {} TEMPLATE {} STRATEGY file_copy"
        with self.administer() as connection, driver_errors(f"make a database from {template}"):
            connection.execute(fill(text, identifier(name), identifier(owner), identifier(template)).encode())
            copy_rights(connection, template, name)

    def drop(self, name: str) -> None:
        """Drop a database, whoever is still connected to it."""
        with self.administer() as connection, driver_errors(f"drop the database {name}"):
            connection.execute(fill("DROP DATABASE IF EXISTS {} WITH (FORCE)", identifier(name)).encode())


def copy_rights(connection: Connection, template: str, name: str) -> None:
    """Privileges of the database itself, which CREATE DATABASE does not copy: no TEMPORARY for PUBLIC."""
    rights = connection.execute(
        "SELECT coalesce(r.rolname, ''), a.privilege_type FROM pg_catalog.pg_database AS d,"
        " pg_catalog.aclexplode(d.datacl) AS a LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = a.grantee"
        " WHERE d.datname = %s",
        [template],
    ).fetchall()
    if rights and template != "template0":
        statements = [fill("REVOKE ALL ON DATABASE {} FROM PUBLIC", identifier(name))]
        for role, privilege in rights:
            who = identifier(role) if role else Sql("PUBLIC")
            statements.append(fill("GRANT {} ON DATABASE {} TO {}", Sql(privilege), identifier(name), who))
        connection.execute(join("; ", statements).encode())


@contextmanager
def running(dsn: str, binaries: Path | None, spec: Spec) -> Iterator[TestServer]:
    """A server for this process, or the one that `dsn` names; the spec's roles are on it when this begins.

    Raises:
        ServerError: it does not start, cannot be reached, is a standby, or the administrator may not make roles.
    """
    if dsn:
        server = TestServer(read_dsn(dsn))
        _create_roles(server, spec)
        yield server
        return
    with temporary_server(binaries, small=True) as own:
        server = TestServer(own.dsn())
        _create_roles(server, spec)
        yield server


def owner_of(spec: Spec) -> str:
    """Who owns the databases of tests and makes your schema: the first of the unrestricted roles."""
    return spec.unrestricted[0] if spec.unrestricted else ""


def _create_roles(server: TestServer, spec: Spec) -> None:
    """Make the spec's roles where they do not exist. Several processes may do it at once. They stay: they are few."""
    with server.administer() as connection:
        require_writable_session(connection)
        password = connection.info.password
        with driver_errors("make the spec's roles"), connection.transaction():
            # Roles are the cluster's, and CREATE ROLE knows no IF NOT EXISTS.
            connection.execute("SELECT pg_advisory_xact_lock(hashtext('rlsgen.testing roles'))")
            there = {name for (name,) in connection.execute("SELECT rolname FROM pg_catalog.pg_roles").fetchall()}
            for role in dict.fromkeys((*spec.unrestricted, spec.conversation)):
                if role not in there:
                    connection.execute(fill("CREATE ROLE {} LOGIN", identifier(role)).encode())
                    if password:
                        set_password(connection, role, password)
