"""Real parts: a pooler in front of the server, a primary with its standby, and a database with many organisations."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest

from rlsgen.demo.server import Server as Cluster
from rlsgen.demo.server import embedded_binaries, temporary_server
from rlsgen.demo.shop import create_roles
from tests.pooled.place import Place
from tests.support.clusters import standby_of
from tests.support.pooler import PgBouncer, pgbouncer, program
from tests.support.postgres import Server, drop_database


@pytest.fixture(scope="session")
def direct(server: Server) -> Iterator[Place]:
    """The organisations, on the tests' server."""
    name = f"pooled_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.getpid()}"
    yield Place.make(server, name)
    with server.administer() as administrator:
        drop_database(administrator, name)


@pytest.fixture(scope="module")
def pooler(server: Server) -> Iterator[PgBouncer]:
    """PgBouncer in front of the tests' server, with three connections for each database."""
    if program() is None:
        pytest.skip("PgBouncer is not installed; .ci/run installs it")
    with pgbouncer(server.base, size=3) as running:
        yield running


@pytest.fixture
def pooled(direct: Place, pooler: PgBouncer) -> Place:
    """The organisations, through PgBouncer in transaction mode."""
    return direct.through(pooler.dsn(direct.name))


@dataclass(frozen=True, slots=True)
class Pair:
    """A primary of our own, which may be restarted, and its standby."""

    primary: Cluster
    place: Place  # on the primary
    standby: Cluster

    @property
    def copy(self) -> Place:
        """The same on the standby."""
        server = Server(self.standby.dsn(), self.place.server.version, self.standby.binaries)
        return Place(server, self.place.name, self.place.spec, self.place.key,
                     server.dsn(self.place.name, self.place.spec.conversation))  # fmt: skip


@pytest.fixture(scope="module")
def pair(server: Server) -> Iterator[Pair]:
    with temporary_server(server.binaries or embedded_binaries(), small=True) as primary:
        with psycopg.connect(primary.dsn(), autocommit=True) as administrator:
            create_roles(administrator)
        place = Place.make(Server(primary.dsn(), server.version, primary.binaries), "organisations")
        with standby_of(primary) as standby:
            yield Pair(primary, place, standby)
