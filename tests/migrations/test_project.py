"""Ten revisions and two that prepare them, up and down and up again, each compared with a fresh provision."""

from __future__ import annotations

import re
import subprocess
from collections import Counter

import pytest
from alembic.util import CommandError
from pytest_alembic import tests as builtin
from pytest_alembic.config import Config as PytestAlembicConfig
from pytest_alembic.runner import runner
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from rlsgen.provision.apply import apply, make_plan
from tests.migrations.conftest import History, Seen
from tests.migrations.project import ALLOWED, state, url, without_rlsgen

pytestmark = pytest.mark.filterwarnings("ignore:autoincrement and existing_autoincrement only make sense")


def _plain(lines: list[str]) -> list[str]:
    """Without what history leaves on purpose.

    Accessors whose type has changed are numbered, and path functions are named for what is in them; what unrestricted
    roles were given when it was taken from PUBLIC, one that comes later is not.
    """
    patterns = (
        (r"organisation_id__\w+", "organisation_id"),
        (r"path_\w+", "path"),
        (r", \('TEMPORARY', 'mig\w+'\)", ""),
    )
    for pattern, plain in patterns:
        lines = [re.sub(pattern, plain, line) for line in lines]
    return lines


def _unordered(seen: list[str]) -> Counter[str]:
    """A dropped column comes back as the last one."""
    return Counter(line.rstrip(",") for line in seen)


def test_every_step_is_what_a_fresh_provision_gives(history: History) -> None:
    for step in history.steps:
        if step.plain:
            continue
        database = history.databases()
        with without_rlsgen():
            history.project.on(database).upgrade(step.revision)
        connection = database.connect()
        apply(connection, step.spec, allow=ALLOWED)
        assert not make_plan(connection, step.spec).transactions
        assert _plain(history.seen[step.revision].state) == _plain(state(database)), step.name


def test_down_and_up_again(history: History) -> None:
    database = history.databases()
    project = history.project.on(database)
    project.upgrade()
    assert Seen.of(database) == history.seen["r12"]
    for revision in ("r11", "r08", "r07", "r06", "r05", "r04", "r03", "r02", "r01"):
        project.downgrade(revision)
        seen, before = Seen.of(database), history.seen[revision]
        assert _unordered(seen.state) == _unordered(before.state), revision
        assert seen.ledger == before.ledger, revision
    project.downgrade("base")
    project.upgrade()
    assert Seen.of(database) == history.seen["r12"]
    project.at(history.steps[-1])
    project.check()


def test_a_script_does_the_same(history: History) -> None:
    database = history.databases()
    project = history.project.on(database)
    psql = [str(database.server.program("psql")), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database.dsn()]
    for script in (project.script(), project.script("r12:r08", down=True), project.script("r08:heads")):
        done = subprocess.run(psql, input=script, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert Seen.of(database) == history.seen["r12"]


@pytest.mark.parametrize(
    "check",
    [
        builtin.test_single_head_revision,
        builtin.test_upgrade,
        builtin.test_model_definitions_match_ddl,
        builtin.test_up_down_consistency,
    ],
    ids=lambda check: check.__name__,
)
def test_pytest_alembic(history: History, check: object) -> None:
    project = history.project.on(history.databases())
    engine = create_engine(url(project.database), poolclass=NullPool)
    config = PytestAlembicConfig(alembic_config=project.config)
    with runner(config=config, engine=engine) as alembic_runner:
        check(alembic_runner)  # type: ignore[operator]


def test_on_a_database_of_any_name(history: History) -> None:
    project = history.project.on(history.databases(name='Línea "x" 100%'))
    with pytest.raises(CommandError, match="the name of this database has a quote"):
        project.upgrade("r02")
    project = history.project.on(history.databases(name="Línea 100%"))
    project.upgrade("r02")
    assert Seen.of(project.database) == history.seen["r02"]


def test_what_runs_is_what_was_written(history: History) -> None:
    """Frozen: neither the spec nor the models are looked at."""
    database = history.databases()
    project = history.project.on(database)
    project.spec.unlink()
    try:
        project.upgrade()
    finally:
        project.at(history.steps[-1])
    assert Seen.of(database) == history.seen["r12"]


def test_data_came_along(history: History) -> None:
    connection = history.project.database.connect()
    assert connection.execute("SELECT user_id, street FROM addresses ORDER BY 1").fetchall() == [
        (1, "Elm 1"),
        (2, "Fir 2"),
    ]
    assert connection.execute("SELECT email FROM users ORDER BY id").fetchall() == [("a@alder",), ("b@birch",)]
    closed = connection.execute("SELECT id FROM orders WHERE status = 'closed' ORDER BY 1").fetchall()
    assert closed == [(2,), (3,)]
