"""The command line as a process of its own, away from the caller's settings, on databases of its own."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.runner import ALLOWED, SPEC, Rlsgen
from tests.support.postgres import Database, Databases, Server

_numbers = itertools.count(1)


@pytest.fixture
def rlsgen(tmp_path: Path) -> Rlsgen:
    """`rlsgen("plan", "--format", "json")` in an empty directory."""
    return Rlsgen(tmp_path)


@pytest.fixture
def on_shop(rlsgen: Rlsgen, shop: Database) -> Rlsgen:
    """The same, on a fresh sample shop with its spec."""
    return rlsgen.having(RLSGEN_DSN=shop.dsn(), RLSGEN_SPEC=str(SPEC))


@pytest.fixture(scope="module")
def provisioned(server: Server, shop_template: str) -> Iterator[Database]:
    """A sample shop that was applied, for tests that leave it as it is."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    databases = Databases(server, f"cli_{worker}_{os.getpid()}_{next(_numbers)}")
    database = databases(template=shop_template)
    done = Rlsgen(Path(tempfile.gettempdir())).having(RLSGEN_DSN=database.dsn())("apply", "--spec", str(SPEC), *ALLOWED)
    assert done.returncode == 0, done.stderr
    yield database
    databases.drop()


@pytest.fixture
def on_provisioned(rlsgen: Rlsgen, provisioned: Database) -> Rlsgen:
    return rlsgen.having(RLSGEN_DSN=provisioned.dsn(), RLSGEN_SPEC=str(SPEC))


@pytest.fixture
def own_tmp() -> Iterator[Path]:
    """An empty place for the demo's servers: short enough for sockets, open enough for root's `nobody`."""
    place = Path(tempfile.mkdtemp(prefix="rls-", dir="/tmp"))
    place.chmod(0o711)
    yield place
    shutil.rmtree(place)
