"""apply and migrations on 200 tables under traffic: no error, no foreign row, nothing open, and nothing empty."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import yaml
from sqlalchemy import MetaData
from traffic import APPLICATION, CHANGED, CONVERSATION, OWNER, ROWS, Observation, Site, create_roles, under_load

from rlsgen.migrations.revision import Wish, make_revision
from rlsgen.provision.apply import apply
from rlsgen.provision.keys import create_key
from rlsgen.provision.plan import Hazard
from rlsgen.runtime.token import SigningKey
from rlsgen.spec.model import Spec
from tests.migrations.project import Project
from tests.migrations.steps import Step
from tests.support.postgres import Database, Databases, Server

TABLES = 200


@pytest.fixture
def place(server: Server, database_factory: Databases) -> Database:
    with server.administer() as administrator:
        create_roles(administrator)
    return database_factory(owner=OWNER)


@pytest.fixture
def site(request: pytest.FixtureRequest, server: Server, place: Database) -> Site:
    """A database with rows in 200 tables, or in as many as the test says."""
    made = Site(getattr(request, "param", TABLES), server.program("pgbench").parent, place.dsn)
    made.create()
    return made


def provision(site: Site, spec: Spec) -> None:
    with psycopg.connect(site.dsn(OWNER), autocommit=True) as owner:
        apply(owner, spec, allow=[*Hazard])


def quiet(seen: Observation) -> None:
    """Nobody noticed, and somebody was there to notice."""
    assert seen.wrong == []
    assert len(seen.application["before"]) > 10
    assert len(seen.application["during"]) > 10
    assert seen.looks > 10


def test_apply_a_change_of_filters_and_a_migration(site: Site, place: Database, tmp_path: Path) -> None:
    """Transactions of the application write two tables, in any order: who locks tables one by one is in a deadlock."""
    keys: list[SigningKey] = []
    owner = place.connect(OWNER)

    def key() -> SigningKey | None:
        if not keys and owner.execute("SELECT to_regprocedure('rlsgen.set_context(text)') IS NOT NULL").fetchone() == (
            True,
        ):
            keys.append(create_key(owner))
        return keys[0] if keys else None

    first = under_load(site, lambda: provision(site, site.spec()), folder=tmp_path, seconds=0.3, key=key)
    quiet(first)
    assert first.refused > 10
    accepted = frozenset({ROWS, ROWS // 2})
    changed = under_load(
        site, lambda: provision(site, site.spec(CHANGED)), folder=tmp_path, seconds=0.3, key=key,
        spec=site.spec(), accepted=accepted,
    )  # fmt: skip
    quiet(changed)
    assert len(changed.conversations["during"]) > 10
    document = yaml.safe_load(site.spec_text())
    document["tables"]["alembic_version"] = "hidden"
    step = Step(1, "the first filters again", MetaData(), document)
    project = Project.new(tmp_path / "alembic", place, step, owner=OWNER)
    assert make_revision(project.config, Wish(step.name, rev_id=step.revision))
    for spec, migrate in ((site.spec(CHANGED), project.upgrade), (step.spec, lambda: project.downgrade("base"))):
        seen = under_load(site, migrate, folder=tmp_path, seconds=0.3, key=key, spec=spec, accepted=accepted)
        assert seen.wrong == []
        assert seen.application["during"]
        assert seen.looks


def _execute(site: Site, role: str, *statements: str) -> Callable[[], None]:
    def change() -> None:
        with psycopg.connect(site.dsn(role), autocommit=True) as connection:
            for statement in statements:
                for number in range(site.pairs):
                    connection.execute(statement.format(f"item_{number}").encode())

    return change


@pytest.mark.parametrize(
    ("statements", "noticed"),
    [
        ([f"GRANT SELECT ON {{}} TO {CONVERSATION}"], "somebody without a context"),
        (["ALTER TABLE {} ENABLE ROW LEVEL SECURITY"], "division by zero"),
        ([f"REVOKE ALL ON {{}} FROM {APPLICATION}"], "permission denied"),
    ],
)
@pytest.mark.parametrize("site", [20], indirect=True)
def test_the_traffic_notices(site: Site, tmp_path: Path, statements: list[str], noticed: str) -> None:
    """A grant before the filter, row security before its policies, a right that is lost."""
    seen = under_load(site, _execute(site, OWNER, *statements), folder=tmp_path, seconds=0.2)
    assert any(noticed in line for line in seen.wrong), seen.wrong
