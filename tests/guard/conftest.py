"""The shop, provisioned once for this folder: what is tested here does not change it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from rlsgen.catalog.connect import open_connection
from rlsgen.provision.apply import apply
from rlsgen.provision.keys import create_key
from rlsgen.provision.plan import Hazard
from rlsgen.runtime.guard import Guard
from rlsgen.runtime.schema import Schema, read_schema
from rlsgen.runtime.token import SigningKey
from rlsgen.spec.load import parse_spec
from rlsgen.spec.model import Spec
from tests.guard.shop import Shop
from tests.support.postgres import Database, Databases, Server

POLICIES = Path(__file__).resolve().parents[2] / "policies.yaml"


def provision(database: Database, spec: Spec) -> tuple[Schema, SigningKey]:
    """Apply a spec, and read what conversations may use."""
    with open_connection(database.dsn()) as owner:
        apply(owner, spec, allow=tuple(Hazard))
        key = create_key(owner)
    with psycopg.connect(database.dsn(spec.conversation), autocommit=True) as connection:
        return read_schema(connection, spec), key


@pytest.fixture(scope="session")
def guarded(server: Server, shop_template: str) -> Iterator[Shop]:
    """The sample shop with the sample spec."""
    databases = Databases(server, f"guard_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.getpid()}")
    database = databases(template=shop_template)
    spec = parse_spec(POLICIES.read_text(encoding="utf-8"), "policies.yaml")
    schema, key = provision(database, spec)
    yield Shop(database, spec, schema, key, Guard(spec, schema), Guard(spec, schema, twins=False))
    databases.drop()


@pytest.fixture
def guard(guarded: Shop) -> Guard:
    """The guard of the shop, with twins."""
    return guarded.guard
