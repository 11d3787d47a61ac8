"""What tests hold in their hands: a server, and databases on it that nobody else uses."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from rlsgen.demo.server import embedded_binaries
from rlsgen.demo.shop import OWNER
from rlsgen.identifiers import Sql, fill, identifier, literal

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Server:
    """A cluster that the tests may do anything to; `base` is its superuser's DSN."""

    base: str
    version: int  # 15, 18: the major version
    binaries: Path | None  # those that the server was started from; None for a server from elsewhere

    def dsn(self, database: str = "postgres", user: str | None = None) -> str:
        """A DSN; by default the superuser's. Whatever password `base` has, all the tests' roles have too."""
        return make_conninfo(self.base, dbname=database, user=user or self.superuser)

    @property
    def superuser(self) -> str:
        return str(conninfo_to_dict(self.base).get("user") or "postgres")

    @property
    def password(self) -> str | None:
        password = conninfo_to_dict(self.base).get("password")
        return None if password is None else str(password)

    def program(self, name: str) -> Path:
        """A client program, not older than the server: psql, pg_dump, pg_restore, pgbench."""
        if self.binaries is not None:
            return self.binaries / name
        found = shutil.which(name)
        return Path(found) if found else embedded_binaries() / name

    @contextmanager
    def administer(self, database: str = "postgres") -> Iterator[Connection]:
        """The superuser, autocommitting."""
        with psycopg.connect(self.dsn(database), autocommit=True) as connection:
            yield connection


@dataclass(slots=True)
class Database:
    """A database of one test. Connections made through it are closed at the test's end."""

    server: Server
    name: str
    _open: list[Connection] = field(default_factory=list, repr=False)

    def dsn(self, user: str | None = None) -> str:
        """A DSN; by default the owner's, `shop_owner`. The superuser's: `user=server.superuser`."""
        return self.server.dsn(self.name, user or OWNER)

    def connect(self, user: str | None = None, autocommit: bool = True, **options: Any) -> Connection:
        """A new connection; by default the owner's. Statements are never prepared by name behind the test's back."""
        options = {"prepare_threshold": None, **options}
        connection: Connection = psycopg.connect(self.dsn(user), autocommit=autocommit, **options)
        self._open.append(connection)
        return connection

    def close(self) -> None:
        """Close every connection that was made."""
        while self._open:
            self._open.pop().close()


class Databases:
    """Makes databases, and drops them all at the end."""

    def __init__(self, server: Server, prefix: str) -> None:
        self._server = server
        self._prefix = prefix
        self._number = 0
        self._made: list[Database] = []

    def __call__(self, template: str | None = None, owner: str = OWNER, name: str | None = None) -> Database:
        """A new database: empty, or a clone of `template`; `name` may be hostile, without it we choose one."""
        self._number += 1
        database = Database(self._server, name or f"{self._prefix}_{self._number}")
        with self._server.administer() as administrator:
            create_database(administrator, database.name, template or "template0", owner)
        self._made.append(database)
        return database

    def drop(self) -> None:
        with self._server.administer() as administrator:
            while self._made:
                database = self._made.pop()
                database.close()
                drop_database(administrator, database.name)


class Roles:
    """Makes throw-away roles, and drops them at the end with the rights that they still hold on shared objects."""

    def __init__(self, server: Server, prefix: str) -> None:
        self._server = server
        self._prefix = prefix
        self._made: list[str] = []

    def __call__(self, attributes: LiteralString = "LOGIN", name: str | None = None) -> str:
        """The name of a new role, unique in the cluster, or `name`, which may be hostile."""
        role = name or f"{self._prefix}_{len(self._made) + 1}"
        with self._server.administer() as administrator:
            administrator.execute(fill("CREATE ROLE {} {}", identifier(role), Sql(attributes)).encode())
            if self._server.password is not None:
                password = literal(self._server.password)
                administrator.execute(fill("ALTER ROLE {} PASSWORD {}", identifier(role), password).encode())
        self._made.append(role)
        return role

    def drop(self) -> None:
        with self._server.administer() as administrator:
            while self._made:
                role = identifier(self._made.pop())
                administrator.execute(fill("DROP OWNED BY {0}; DROP ROLE {0}", role).encode())


def create_database(administrator: Connection, name: str, template: str, owner: str) -> None:
    # Files, not the log: half the time for the sample shop, and nothing left in the buffers for DROP to search.
    statement = "CREATE DATABASE {} OWNER {} TEMPLATE {} STRATEGY file_copy"
    administrator.execute(fill(statement, identifier(name), identifier(owner), identifier(template)).encode())


def drop_database(administrator: Connection, name: str) -> None:
    administrator.execute(fill("DROP DATABASE IF EXISTS {} WITH (FORCE)", identifier(name)).encode())
