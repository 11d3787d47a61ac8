"""The sample shop with canaries, provisioned: shared where attacks must fail, cloned where things are broken."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from rlsgen.catalog.connect import open_connection
from rlsgen.provision.apply import apply
from rlsgen.provision.keys import create_key
from rlsgen.runtime.token import SigningKey
from tests.hostile.support import EVERYTHING, Sandbox, hostile_spec
from tests.support.postgres import Database, Databases, Server

_EXTRA = Path(__file__).with_name("extra.sql")
Template = tuple[str, SigningKey]


def _prefix(what: str) -> str:
    return f"hostile_{what}_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.getpid()}"


@pytest.fixture(scope="session")
def canaries(server: Server, shop_template: str) -> Iterator[str]:
    """The name of a database with the shop and its canaries, not provisioned; to be cloned."""
    databases = Databases(server, _prefix("plain"))
    database = databases(template=shop_template)
    with psycopg.connect(database.dsn()) as owner:
        owner.execute(_EXTRA.read_bytes())
    yield database.name
    databases.drop()


@pytest.fixture(scope="session")
def provisioned_template(server: Server, canaries: str) -> Iterator[Template]:
    databases = Databases(server, _prefix("ready"))
    database = databases(template=canaries)
    with open_connection(database.dsn()) as owner:
        apply(owner, hostile_spec(), allow=EVERYTHING)
        key = create_key(owner)
    yield database.name, key
    databases.drop()


def _sandbox(databases: Databases, template: Template) -> Sandbox:
    """A clone. The database's own privileges are not cloned, so there is something left to apply."""
    sandbox = Sandbox(databases(template=template[0]), hostile_spec(), template[1])
    sandbox.apply()
    return sandbox


@pytest.fixture(scope="module")
def shared(server: Server, provisioned_template: Template, request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """One for a whole module, whose attacks leave it as it was."""
    databases = Databases(server, _prefix(request.module.__name__.rpartition(".")[2]))
    yield _sandbox(databases, provisioned_template)
    databases.drop()


@pytest.fixture
def sandbox(database_factory: Databases, provisioned_template: Template) -> Sandbox:
    """One for a test that breaks things."""
    return _sandbox(database_factory, provisioned_template)


@pytest.fixture
def plain(database_factory: Databases, canaries: str) -> Callable[[], Database]:
    """Makes databases with the shop and its canaries, not provisioned."""
    return lambda: database_factory(template=canaries)
