"""The sample shop, provisioned, with a signing key: cloned for each case that breaks it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from rlsgen.catalog.connect import open_connection
from rlsgen.provision.apply import apply
from rlsgen.provision.keys import create_key
from tests.proof.lint.harness import EVERYTHING, SHOP, Broken, close_database
from tests.support.postgres import Databases, Server


def _prefix(what: str) -> str:
    return f"lint_{what}_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.getpid()}"


@pytest.fixture(scope="session")
def ready(server: Server, shop_template: str) -> Iterator[str]:
    """The name of a database with the provisioned shop, to be cloned."""
    databases = Databases(server, _prefix("ready"))
    database = databases(template=shop_template)
    with open_connection(database.dsn()) as owner:
        apply(owner, SHOP, allow=EVERYTHING)
        create_key(owner)
    yield database.name
    databases.drop()


@pytest.fixture
def shop_ready(database_factory: Databases, ready: str) -> Broken:
    """A provisioned shop for one test."""
    database = database_factory(template=ready)
    close_database(database)
    return Broken(database, SHOP)


@pytest.fixture(scope="module")
def shared_shop(server: Server, ready: str, request: pytest.FixtureRequest) -> Iterator[Broken]:
    """A provisioned shop for a module's tests that leave it as it is."""
    databases = Databases(server, _prefix(request.module.__name__.rpartition(".")[2]))
    database = databases(template=ready)
    close_database(database)
    yield Broken(database, SHOP)
    databases.drop()


@pytest.fixture
def plain_shop(database_factory: Databases, shop_template: str) -> Callable[[], Broken]:
    """Makes shops that rlsgen has not seen."""
    return lambda: Broken(database_factory(template=shop_template), SHOP)
