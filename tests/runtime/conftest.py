"""A provisioned shop for the whole session, and pools on it, for threads and for asyncio alike."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from rlsgen.demo.shop import CONVERSATION, OWNER
from rlsgen.provision.apply import apply
from rlsgen.provision.keys import create_key
from rlsgen.runtime.token import SigningKey
from rlsgen.spec.load import load_spec
from rlsgen.spec.model import Spec
from tests.runtime.talking import Pool, asynchronous, synchronous
from tests.runtime.wires import Wire
from tests.support.postgres import Connection, Database, Server, create_database, drop_database

POLICIES = Path(__file__).resolve().parents[2] / "policies.yaml"
ALLOWED = ("PUBLIC_REVOKE", "PLANNER_STATISTICS", "DUMP")


@dataclass(frozen=True, slots=True)
class Place:
    """A provisioned shop, its spec, and a key that signs contexts for it."""

    database: Database
    spec: Spec
    key: SigningKey

    @property
    def dsn(self) -> str:
        return self.database.dsn(CONVERSATION)

    def owner(self) -> Connection:
        return self.database.connect()

    def superuser(self) -> Connection:
        """A new connection, for its user to close: they are as many as a condition is looked at."""
        return self.database.connect(self.database.server.superuser)


def provisioned(database: Database, spec: Spec) -> Place:
    with psycopg.connect(database.dsn(), autocommit=True, prepare_threshold=None) as owner:
        apply(owner, spec, allow=ALLOWED)
        return Place(database, spec, create_key(owner))


@pytest.fixture(scope="session")
def place(server: Server, shop_template: str) -> Iterator[Place]:
    """The shop that most tests talk to. What they change they change back."""
    name = f"talks_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.getpid()}"
    with server.administer() as administrator:
        create_database(administrator, name, shop_template, OWNER)
    database = Database(server, name)
    try:
        yield provisioned(database, load_spec(POLICIES))
    finally:
        database.close()
        with server.administer() as administrator:
            drop_database(administrator, name)


@pytest.fixture
def own_place(shop: Database) -> Place:
    """A provisioned shop that a test may break."""
    return provisioned(shop, load_spec(POLICIES))


@pytest.fixture(params=[synchronous, asynchronous], ids=["threads", "asyncio"])
def make_pool(request: pytest.FixtureRequest) -> Iterator[Callable[..., Pool]]:
    """`make_pool(place, **options)`: a pool of either kind behind one interface, closed at the end."""
    made: list[Pool] = []

    def make(place: Place, **options: Any) -> Pool:
        defaults: dict[str, Any] = {"known_holes": "warn", "min_size": 0, "timeout": 10.0}
        pool: Pool = request.param(
            options.pop("dsn", place.dsn),
            options.pop("spec", place.spec),
            options.pop("key", place.key),
            **defaults | options,
        )
        made.append(pool)
        return pool

    yield make
    for pool in made:
        pool.close()


@pytest.fixture
def wire() -> Iterator[Callable[[str], Wire]]:
    """`wire(dsn)`: a wire to that server; its `dsn` goes through it."""
    made: list[Wire] = []

    def make(dsn: str) -> Wire:
        made.append(Wire(dsn))
        return made[-1]

    yield make
    for each in made:
        each.close()
