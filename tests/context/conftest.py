"""Stages: one for tests that only attack, and fresh ones for tests that change something."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from rlsgen.demo.shop import OWNER
from rlsgen.spec.model import Spec
from tests.context.stage import SPEC, Mutation, Stage, spec_of, unchanged
from tests.support.postgres import Database, Databases, Server, create_database, drop_database


@contextmanager
def lasting(server: Server, purpose: str, spec: Spec) -> Iterator[Stage]:
    """A stage for a whole session."""
    name = f"context_{purpose}_{os.getpid()}"
    with server.administer() as administrator:
        create_database(administrator, name, "template0", OWNER)
    database = Database(server, name)
    try:
        yield Stage(database, spec)
    finally:
        database.close()
        with server.administer() as administrator:
            drop_database(administrator, name)


@pytest.fixture(scope="session")
def stage(server: Server) -> Iterator[Stage]:
    """The sealed context as it is generated. Tests must not change it; each connects anew."""
    with lasting(server, "sealed", SPEC) as made:
        yield made


@pytest.fixture(scope="session")
def naive(server: Server) -> Iterator[Stage]:
    """The same with `seal: off`: what attacks must succeed against, or they prove nothing."""
    with lasting(server, "naive", spec_of(*SPEC.context, seal=False)) as made:
        yield made


@pytest.fixture(scope="session")
def workbench(server: Server) -> Iterator[Stage]:
    """The same as `stage`, for `Stage.changed`: what a test changes it changes back."""
    with lasting(server, "workbench", SPEC) as made:
        yield made


@pytest.fixture
def make_stage(database_factory: Databases) -> Callable[..., Stage]:
    """`make_stage(mutation, spec)`: a stage of one's own."""

    def make(mutation: Mutation = unchanged, spec: Spec = SPEC) -> Stage:
        return Stage(database_factory(), spec, mutation)

    return make


@pytest.fixture(autouse=True)
def closing(request: pytest.FixtureRequest) -> Iterator[None]:
    """Connections to the lasting databases end with the test."""
    yield
    for name in {"stage", "naive", "workbench"} & set(request.fixturenames):
        request.getfixturevalue(name).database.close()
