"""Provisioned databases with and without force, and pgrls where it is installed: it stays out of our environment."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from rlsgen.catalog.connect import open_connection
from rlsgen.provision.apply import apply
from rlsgen.provision.plan import Hazard
from rlsgen.spec.model import Spec
from tests.proof.verify.harness import SHOP
from tests.shapes.harness import SPEC as SHAPES
from tests.shapes.harness import load
from tests.support.postgres import Database, Databases

PROGRAM = Path(__file__).resolve().parents[3] / ".pgrls" / "bin" / "pgrls"
Said = dict[str, set[str]]


@pytest.fixture
def ask() -> Callable[[Database, Spec], Said]:
    """The rules that pgrls sees broken in a database, and where."""
    if not PROGRAM.exists():
        pytest.skip(f"pgrls is not installed in {PROGRAM.parents[1].name}; .ci/run installs it")

    def asked(database: Database, spec: Spec) -> Said:
        command = [str(PROGRAM), "lint", "--format", "json", "--schemas", ",".join(spec.schemas)]
        command += ["--database-url", database.dsn(database.server.superuser)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, cwd=PROGRAM.parents[2])
        assert done.returncode in (0, 1), done.stderr
        said: Said = {}
        for each in json.loads(done.stdout)["violations"]:
            said.setdefault(each["rule_id"], set()).add(each["location"])
        return said

    return asked


@pytest.fixture(params=["shop", "shapes"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[False, True], ids=["plain", "force"])
def force(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def judged(kind: str, force: bool, database_factory: Databases, shop_template: str) -> tuple[Database, Spec]:
    """A provisioned database."""
    spec = replace(SHOP if kind == "shop" else SHAPES, force=force)
    database = database_factory(template=shop_template if kind == "shop" else None)
    if kind == "shapes":
        load(database)
    with open_connection(database.dsn()) as owner:
        apply(owner, spec, allow=tuple(Hazard))
    with psycopg.connect(database.dsn()) as owner:
        forced = "SELECT bool_and(relforcerowsecurity) FROM pg_class WHERE relrowsecurity AND relnamespace = 2200"
        assert owner.execute(forced).fetchone() == (force,)
    return database, spec
