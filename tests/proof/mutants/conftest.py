"""The two provisioned databases that mutants are made of."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.proof.mutants.mutant import Place
from tests.proof.mutants.prover import Base, prepare
from tests.shapes.conftest import provisioned_template, shapes_template
from tests.support.postgres import Databases, Server

__all__ = ["provisioned_template", "shapes_template"]  # fixtures


@pytest.fixture(scope="session")
def bases(server: Server, shop_template: str, provisioned_template: str) -> Iterator[dict[Place, Base]]:
    databases = Databases(server, f"mutants_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.getpid()}")
    yield prepare(databases, {"shop": shop_template, "shapes": provisioned_template})
    databases.drop()
