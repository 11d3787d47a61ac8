"""Every test gets a real server: embedded Postgres by default, other binaries or another server if asked."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from rlsgen.demo import shop as sample
from rlsgen.demo.server import embedded_binaries, temporary_server
from rlsgen.errors import ServerError
from tests.support.postgres import Database, Databases, Roles, Server, create_database, drop_database

pytest_plugins = ("pytester",)  # for tests/plugin; pytest takes it only here

CONTAINER_IMAGE = "postgres:18"
_numbers = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("rlsgen")
    group.addoption("--postgres", metavar="DSN", help="test on this server; the DSN is a superuser's")
    group.addoption("--postgres-bin", metavar="DIR", type=Path, help="start servers from these binaries (with =)")
    group.addoption("--all-mutants", action="store_true", help="break every table of tests/proof/mutants, not some")
    group.addoption("--crowd", metavar="SECONDS", type=float, default=1.5, help="how long each of tests/pooled talks")


def pytest_report_header(config: pytest.Config) -> str:
    return f"postgres: {_source(config)}"


def _source(config: pytest.Config) -> str:
    """Where the tests' server comes from, for people."""
    if config.getoption("--postgres"):
        return "the server given by --postgres"
    if config.getoption("--postgres-bin"):
        return f"started from {config.getoption('--postgres-bin')}"
    try:
        return f"embedded, from {embedded_binaries()}"
    except ServerError:
        return f"in a container, {CONTAINER_IMAGE}"


def _worker() -> str:
    return os.environ.get("PYTEST_XDIST_WORKER", "main")


@contextlib.contextmanager
def _container() -> Iterator[str]:
    """A server in a container, for where there is no wheel for the platform."""
    from docker.errors import DockerException
    from testcontainers.community.postgres import PostgresContainer

    try:
        container = PostgresContainer(CONTAINER_IMAGE, username="postgres", password="postgres", driver=None)
    except DockerException as error:
        hint = "pip install 'rlsgen[dev]', start a container engine, or give --postgres or --postgres-bin"
        pytest.exit(f"no server to test on: embedded Postgres is not installed, no containers: {error}\n{hint}", 4)
    with container:
        yield container.get_connection_url()


@contextlib.contextmanager
def _running(config: pytest.Config) -> Iterator[tuple[str, Path | None]]:
    """The superuser's DSN of a server for this process, and its binaries if it was started here."""
    if dsn := config.getoption("--postgres"):
        yield dsn, None
        return
    try:
        binaries = config.getoption("--postgres-bin") or embedded_binaries()
    except ServerError:
        with _container() as dsn:
            yield dsn, None
        return
    with temporary_server(binaries, small=True) as own:
        yield own.dsn(), own.binaries


@pytest.fixture(scope="session")
def server(pytestconfig: pytest.Config) -> Iterator[Server]:
    """The server: one for each process of pytest-xdist, with the shop's roles on it."""
    with _running(pytestconfig) as (dsn, binaries):
        with psycopg.connect(dsn) as connection:
            version = connection.info.server_version // 10000
            password = connection.info.password
            passwords = dict.fromkeys(sample.ATTRIBUTES, password) if password else None
            sample.create_roles(connection, passwords)
        yield Server(dsn, version, binaries)


@pytest.fixture(scope="session")
def shop_template(server: Server) -> Iterator[str]:
    """The name of a database with the sample shop, to be cloned, never connected to."""
    name = f"rlsgen_{_worker()}_{os.getpid()}_shop"
    with server.administer() as administrator:
        create_database(administrator, name, "template0", sample.OWNER)
    with psycopg.connect(server.dsn(name, sample.OWNER)) as connection:
        sample.create_shop(connection)
    yield name
    with server.administer() as administrator:
        drop_database(administrator, name)


@pytest.fixture
def role_factory(server: Server) -> Iterator[Roles]:
    """`role_factory("LOGIN BYPASSRLS")` makes a role, dropped at the end, after the test's databases."""
    roles = Roles(server, f"role_{_worker()}_{os.getpid()}_{next(_numbers)}")
    yield roles
    roles.drop()


@pytest.fixture
def database_factory(server: Server, role_factory: Roles) -> Iterator[Databases]:
    """`database_factory()` makes a database owned by `shop_owner`, dropped at the end."""
    databases = Databases(server, f"test_{_worker()}_{os.getpid()}_{next(_numbers)}")
    yield databases
    databases.drop()


@pytest.fixture
def database(database_factory: Databases) -> Database:
    """A fresh, empty database, owned by `shop_owner`."""
    return database_factory()


@pytest.fixture
def shop(database_factory: Databases, shop_template: str) -> Database:
    """A fresh clone of the sample shop, as it was before rlsgen."""
    return database_factory(template=shop_template)
