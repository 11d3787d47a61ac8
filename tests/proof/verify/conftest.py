"""The sample shop and the schema of shapes, provisioned: shared where verify finds nothing, cloned where it must."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator

import pytest

from rlsgen.catalog.connect import open_connection
from rlsgen.provision.apply import apply
from rlsgen.provision.keys import create_key
from rlsgen.provision.plan import Hazard
from rlsgen.runtime.token import SigningKey
from tests.proof.verify.harness import SHOP, Stage
from tests.shapes.harness import SPEC as SHAPES
from tests.shapes.harness import load, revoke_public_temporary
from tests.support.postgres import Database, Databases, Server

Ready = tuple[str, SigningKey]


_numbers = itertools.count(1)  # another folder's conftest imports these fixtures, which makes them anew


@pytest.fixture(scope="session")
def session_databases(server: Server) -> Iterator[Databases]:
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    databases = Databases(server, f"verify_ready_{worker}_{os.getpid()}_{next(_numbers)}")
    yield databases
    databases.drop()


@pytest.fixture(scope="session")
def shop_ready(session_databases: Databases, shop_template: str) -> Ready:
    """The provisioned shop, to be cloned."""
    database = session_databases(template=shop_template)
    with open_connection(database.dsn()) as owner:
        apply(owner, SHOP, allow=tuple(Hazard))
        key = create_key(owner)
    return database.name, key


@pytest.fixture(scope="session")
def shapes(session_databases: Databases) -> Stage:
    """Every shape of DESIGN.md §3, provisioned; verify reads as the superuser, since one table forces row security."""
    database = session_databases()
    load(database)
    with open_connection(database.dsn()) as owner:
        apply(owner, SHAPES, allow=tuple(Hazard))
        key = create_key(owner)
    return Stage(database, SHAPES, key, database.server.superuser)


def _clone(databases: Databases, ready: Ready) -> Stage:
    database: Database = databases(template=ready[0])
    revoke_public_temporary(database)
    return Stage(database, SHOP, ready[1])


@pytest.fixture(scope="session")
def shop_shared(session_databases: Databases, shop_ready: Ready) -> Stage:
    """A provisioned shop for tests that leave it as it is."""
    return _clone(session_databases, shop_ready)


@pytest.fixture
def stage(database_factory: Databases, shop_ready: Ready) -> Stage:
    """A provisioned shop for one test."""
    return _clone(database_factory, shop_ready)


@pytest.fixture
def clones(database_factory: Databases, shop_ready: Ready) -> Callable[[], Stage]:
    """Makes provisioned shops."""
    return lambda: _clone(database_factory, shop_ready)
