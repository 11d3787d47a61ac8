"""Databases with the small company, cloned from one template."""

from __future__ import annotations

import os
from collections.abc import Iterator

import psycopg
import pytest

from rlsgen.demo.shop import OWNER
from tests.apply.support import SQL, Probe
from tests.support.postgres import Connection, Database, Databases, Server, create_database, drop_database


@pytest.fixture(scope="session")
def company_template(server: Server) -> Iterator[str]:
    """The name of a database with the company, never connected to afterwards."""
    name = f"company_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.getpid()}"
    with server.administer() as administrator:
        create_database(administrator, name, "template0", OWNER)
    with psycopg.connect(server.dsn(name, OWNER)) as connection:
        connection.execute(SQL.read_bytes())
    yield name
    with server.administer() as administrator:
        drop_database(administrator, name)


@pytest.fixture
def site(database_factory: Databases, company_template: str) -> Database:
    """The company's database as it was before rlsgen."""
    return database_factory(template=company_template)


@pytest.fixture
def probe(site: Database) -> Probe:
    """What looks at `site`, made while it is as it was."""
    return Probe.of(site)


@pytest.fixture
def administrator(site: Database) -> Connection:
    """A superuser in `site`, autocommitting."""
    return site.connect(site.server.superuser)
