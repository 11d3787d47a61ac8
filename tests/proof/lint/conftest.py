"""The sample shop, provisioned, with a signing key: cloned for each case that breaks it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from rlsgen.catalog.connect import open_connection
from rlsgen.provision.apply import apply
from rlsgen.provision.keys import create_key
from tests.proof.lint.harness import EVERYTHING, SHOP, Broken, close_database
from tests.shapes.conftest import provisioned_template, shapes_template
from tests.support.postgres import Databases, Server

__all__ = ["provisioned_template", "shapes_template"]  # fixtures


def _prefix(what: str) -> str:
    return f"lint_{what}_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.getpid()}"


@pytest.fixture(scope="session")
def ready(server: Server, shop_template: str) -> Iterator[str]:
    """The name of a database with the provisioned shop, without its rows, to be cloned."""
    databases = Databases(server, _prefix("ready"))
    database = databases(template=shop_template)
    with open_connection(database.dsn()) as owner:
        apply(owner, SHOP, allow=EVERYTHING)
        create_key(owner)
        # Lint needs no rows, and clones are made in half the time without them.
        owner.execute("TRUNCATE organisations, countries, templates, api_keys CASCADE")
    yield database.name
    databases.drop()


@pytest.fixture(scope="module")
def kept() -> list[Broken]:
    """A provisioned shop that stands as it was made."""
    return []


@pytest.fixture(scope="module")
def shops(server: Server, request: pytest.FixtureRequest) -> Iterator[Databases]:
    databases = Databases(server, _prefix(request.module.__name__.rpartition(".")[2]))
    yield databases
    databases.drop()


@pytest.fixture
def shop_ready(shops: Databases, ready: str, kept: list[Broken]) -> Iterator[Broken]:
    """A provisioned shop for one test; the next one has it too, if this one left nothing behind."""
    if kept:
        broken = kept.pop()
    else:
        database = shops(template=ready)
        close_database(database)
        broken = Broken(database)
        broken.remember()
    yield broken
    if broken.is_as_before():
        kept.append(broken)


@pytest.fixture
def plain_shop(database_factory: Databases, shop_template: str) -> Callable[[], Broken]:
    """Makes shops that rlsgen has not seen."""
    return lambda: Broken(database_factory(template=shop_template))
