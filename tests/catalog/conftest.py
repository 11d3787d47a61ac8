"""The database with every shape, built once for all tests that only read it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from rlsgen.catalog.model import Catalog
from rlsgen.catalog.read import read_catalog
from tests.catalog.shapes import Shapes, build
from tests.support.postgres import Server


@pytest.fixture(scope="session")
def shapes(server: Server) -> Iterator[Shapes]:
    """One of everything. Tests must not change it."""
    with build(server, f"shapes_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.getpid()}") as made:
        yield made


@pytest.fixture(scope="session")
def catalog(shapes: Shapes) -> Catalog:
    """Its catalog, as its ordinary owner reads it."""
    return read_catalog(shapes.database.connect(shapes.owner), shapes.conversation)
