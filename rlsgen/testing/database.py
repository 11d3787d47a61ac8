"""Databases of tests: the template that has your schema with the spec in force, and its clones."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg

from rlsgen.catalog.connect import driver_errors
from rlsgen.errors import KeyProblem, ServerError
from rlsgen.provision.apply import apply
from rlsgen.provision.keys import create_key
from rlsgen.provision.plan import Hazard
from rlsgen.runtime.pool import ConversationPool
from rlsgen.runtime.token import SigningKey, mint
from rlsgen.spec.model import Spec
from rlsgen.testing.mistakes import open_for_tests
from rlsgen.testing.server import Connection, TestServer, owner_of

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class IsolatedDatabase:
    """A database with your schema and the spec in force, and how each role gets in."""

    server: TestServer = field(repr=False)
    name: str
    owner: str  # the role that made your schema, and that migrates
    spec: Spec = field(repr=False)
    key: SigningKey | None = field(default=None, repr=False)

    @property
    def signing_key(self) -> SigningKey:
        """What signs contexts for this database: give it to a ConversationPool, or `reveal()` it to your settings."""
        if self.key is None:
            raise ServerError(f"the database {self.name} is not provisioned yet")
        return self.key

    @property
    def conversation(self) -> str:
        """The conversation role."""
        return self.spec.conversation

    def dsn(self, role: str = "") -> str:
        """A DSN; by default the owner's. The conversation role's: `dsn(database.conversation)`."""
        return self.server.dsn(self.name, role or self.owner)

    def url(self, role: str = "", driver: str = "psycopg") -> str:
        """The same as SQLAlchemy reads it: `postgresql+psycopg://…`."""
        return self.server.url(self.name, role or self.owner, driver)

    @contextmanager
    def connect(self, role: str = "", *, autocommit: bool = True) -> Iterator[Connection]:
        """A connection, by default the owner's, closed at the end. What is not committed is rolled back."""
        with driver_errors(f"connect to the database {self.name}"):
            connection: Connection = psycopg.connect(self.dsn(role), autocommit=autocommit, prepare_threshold=None)
        try:
            yield connection
        finally:
            connection.close()

    def pool(self, **options: Any) -> ConversationPool:
        """A pool of conversations with this database; options are those of ConversationPool. Close it."""
        # The server is thrown away: what its version is known for cannot hurt anybody.
        options = {"known_holes": "warn", "max_size": 2, **options}
        return ConversationPool(self.dsn(self.conversation), self.spec, self.signing_key, **options)

    def token(self, context: Mapping[str, object]) -> str:
        """A token for any client: `SELECT rlsgen.set_context($1)` in a transaction of the conversation role.

        Raises:
            InvalidContext: the context does not fit the spec.
        """
        return mint(self.signing_key, self.spec.context, context)

    @contextmanager
    def clone(self) -> Iterator[IsolatedDatabase]:
        """A copy of this database, dropped at the end. Nobody may be connected to this one."""
        copy = replace(self, name=_name("test"))
        self.server.create(copy.name, self.name, self.owner)
        try:
            ready = copy if copy.key else replace(copy, key=_key(copy, self.name))
            with open_for_tests(ready):
                yield ready
        finally:
            self.server.drop(copy.name)


Build = Callable[[IsolatedDatabase], object]
"""Makes your schema in an empty database, as its owner."""


def from_files(files: Sequence[Path]) -> Build:
    """SQL files, each one transaction, run by the owner in this order."""

    def build(database: IsolatedDatabase) -> None:
        for file in files:
            try:
                text = file.read_bytes()
            except OSError as error:
                raise ServerError(f"cannot read {file}: {error.strerror}", hint="see rlsgen_schema") from error
            with database.connect(autocommit=False) as connection, driver_errors(f"run {file}"):
                connection.execute(text)
                connection.commit()

    return build


@contextmanager
def built(server: TestServer, spec: Spec, build: Build) -> Iterator[IsolatedDatabase]:
    """A new database in which `build` made your schema and the spec was applied.

    Every hazard is allowed: nobody works here. `rlsgen plan` shows them where somebody does.

    Raises:
        ServerError: the schema cannot be made, or the server cannot be used.
        SpecError: the spec does not fit the schema.
    """
    with server.administer() as connection:
        owner = owner_of(spec) or connection.info.user
    database = IsolatedDatabase(server, _name("template"), owner, spec)
    server.create(database.name, "template0", owner)
    try:
        build(database)
        with server.administer(database.name) as connection:
            apply(connection, spec, allow=[*Hazard], single_transaction=True)
            key = create_key(connection)
        yield replace(database, key=key)
    finally:
        server.drop(database.name)


@contextmanager
def adopted(server: TestServer, spec: Spec, name: str) -> Iterator[IsolatedDatabase]:
    """A database that is there, migrated and provisioned; each clone of it gets a signing key of its own.

    Raises:
        ServerError: there is no such database, or it is not provisioned.
    """
    with server.administer(name) as connection, driver_errors(f"look at the database {name}"):
        found = connection.execute(
            "SELECT pg_catalog.pg_get_userbyid(d.datdba), pg_catalog.to_regclass('rlsgen_private.signing_key')"
            " FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()"
        ).fetchone()
    owner, provisioned = found or ("", None)
    if provisioned is None:
        raise _unprovisioned(name)
    yield IsolatedDatabase(server, name, str(owner), spec)


def _key(database: IsolatedDatabase, template: str) -> SigningKey:
    try:
        with database.server.administer(database.name) as connection:
            return create_key(connection)
    except KeyProblem as error:
        raise _unprovisioned(template) from error


def _unprovisioned(name: str) -> ServerError:
    hint = "run `rlsgen apply` on it, or leave rlsgen_template out and set rlsgen_schema"
    return ServerError(f"the database {name}, which rlsgen_template names, is not provisioned", hint=hint)


def _name(kind: str) -> str:
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    return f"rlsgen_{kind}_{worker}_{os.getpid()}_{next(_numbers)}"
