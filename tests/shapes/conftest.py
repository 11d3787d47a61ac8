"""The database of shapes: made once for a process, provisioned once, cloned for whoever changes it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import pytest

from tests.shapes.harness import Case, load, provision, revoke_public_temporary
from tests.support.postgres import Database, Databases, Roles, Server, create_database, drop_database

_numbers = itertools.count(1)


def _name(kind: str) -> str:
    """Unique, also where another folder's conftest imports these fixtures, which makes them anew."""
    return f"{kind}_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.getpid()}_{next(_numbers)}"


@pytest.fixture(scope="session")
def shapes_template(server: Server) -> Iterator[str]:
    """The shapes as they were before rlsgen."""
    name = _name("shapes_before")
    with server.administer() as administrator:
        create_database(administrator, name, "template0", "shop_owner")
    load(Database(server, name))
    yield name
    with server.administer() as administrator:
        drop_database(administrator, name)


@pytest.fixture(scope="session")
def provisioned_template(server: Server, shapes_template: str) -> Iterator[str]:
    """The shapes provisioned with shapes.yaml."""
    name = _name("shapes_after")
    with server.administer() as administrator:
        create_database(administrator, name, shapes_template, "shop_owner")
    database = Database(server, name)
    provision(Case(database))
    database.close()
    yield name
    with server.administer() as administrator:
        drop_database(administrator, name)


@pytest.fixture(scope="module")
def module_databases(server: Server) -> Iterator[Databases]:
    databases = Databases(server, _name("shapes"))
    yield databases
    databases.drop()


@pytest.fixture(scope="module")
def module_roles(server: Server) -> Iterator[Roles]:
    roles = Roles(server, _name("shapes"))
    yield roles
    roles.drop()


def clone(databases: Databases, template: str) -> Case:
    """A clone; Postgres does not copy a database's own privileges, so the one that rlsgen took is taken again."""
    database = databases(template=template)
    revoke_public_temporary(database)
    return Case(database)


@pytest.fixture(scope="module")
def provisioned(module_databases: Databases, provisioned_template: str) -> Case:
    """A provisioned clone for a whole module: who changes it puts it back."""
    return clone(module_databases, provisioned_template)


@pytest.fixture
def own(database_factory: Databases, provisioned_template: str) -> Case:
    """A provisioned clone for one test."""
    return clone(database_factory, provisioned_template)


@pytest.fixture
def before(database_factory: Databases, shapes_template: str) -> Case:
    """A clone of the shapes as they were before rlsgen."""
    return Case(database_factory(template=shapes_template))
