"""The commands as people type them: `alembic` and `rlsgen revision`, each a process of its own."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.runner import ROOT, Rlsgen
from tests.migrations.project import TEMPLATE, url
from tests.support.postgres import Database

POLICIES = """
version: 1
context: {organisationId: {type: integer}}
roles: {conversation: nl_conversation, unrestricted: [shop_owner, shop_app]}
tables:
  alembic_version: hidden
  orders: organisation_id = userContext.organisationId
"""
# What a team adds to the env.py that `alembic init` makes; with plugins, and for Alembic before 1.18.
PLUGIN = ("", 'autogenerate_plugins=["alembic.autogenerate.*", "rlsgen"],')
IMPORT = ("import rlsgen.migrations.legacy", "")
ENVIRONMENT = """
from alembic import context
import sqlalchemy as sa
{import_}
metadata = sa.MetaData()
sa.Table("orders", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("organisation_id", sa.Integer))
engine = sa.create_engine(context.config.get_main_option("sqlalchemy.url"), poolclass=sa.pool.NullPool)
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=metadata, {option})
    with context.begin_transaction():
        context.run_migrations()
"""


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Path:
    """A directory as a team has it."""
    (tmp_path / "migrations" / "versions").mkdir(parents=True)
    (tmp_path / "migrations" / "script.py.mako").write_text(TEMPLATE.read_text())
    place = url(database).replace("%", "%%")
    settings = "rlsgen_allow = PUBLIC_REVOKE" + chr(10)
    (tmp_path / "alembic.ini").write_text(
        f"[alembic]\nscript_location = migrations\npath_separator = os\nsqlalchemy.url = {place}\n{settings}"
    )
    (tmp_path / "policies.yaml").write_text(POLICIES)
    write_environment(tmp_path, *PLUGIN)
    return tmp_path


def write_environment(project: Path, import_: str, option: str) -> None:
    (project / "migrations" / "env.py").write_text(ENVIRONMENT.format(import_=import_, option=option))


# Several commands in one process, which needs longer to start than for any of them.
COMMANDS = """
import json, sys
from alembic.config import main
for arguments in json.loads(sys.argv[1]):
    try:
        main(arguments)
    except SystemExit as ended:
        sys.exit(f"{arguments}: {ended}")
"""


def alembic(project: Path, *commands: str) -> subprocess.CompletedProcess[str]:
    """Run `alembic` with these arguments, one after the other, until one fails."""
    given = json.dumps([shlex.split(each) for each in commands])
    program = ["-m", "alembic", *shlex.split(commands[0])] if len(commands) == 1 else ["-c", COMMANDS, given]
    return subprocess.run(
        [sys.executable, *program],
        cwd=project, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("environment", [PLUGIN, IMPORT], ids=["plugin", "import"])
def test_autogenerate_upgrade_and_check(project: Path, environment: tuple[str, str]) -> None:
    write_environment(project, *environment)
    done = alembic(project, "revision --autogenerate -m first", "upgrade head", "check")
    assert done.returncode == 0, done.stderr
    assert "No new upgrade operations" in done.stdout
    (revision,) = (project / "migrations" / "versions").glob("*.py")
    assert "op.rlsgen_apply(" in revision.read_text()
    if environment == PLUGIN:
        (project / "policies.yaml").write_text(POLICIES.replace("organisation_id", "organization_id"))
        refused = alembic(project, "check")
        assert refused.returncode != 0
        assert "policies.yaml:7:11: " in refused.stdout + refused.stderr
        assert "Traceback" not in refused.stderr


def test_rlsgen_revision(project: Path) -> None:
    rlsgen = Rlsgen(project)
    alembic(project, "-x rlsgen=off revision --autogenerate -m orders --rev-id one")
    filled = rlsgen("revision", "--into", "one")
    assert (filled.returncode, filled.stdout) == (0, f"Wrote {project}/migrations/versions/one_orders.py\n"), (
        filled.stderr
    )
    assert alembic(project, "upgrade head").returncode == 0
    nothing = rlsgen("revision", "-m", "nothing")
    assert (nothing.returncode, nothing.stdout) == (0, "No changes: the database is as the spec says.\n")
    (project / "policies.yaml").write_text(
        POLICIES.replace("orders:", "orders: {columns: {private: [id]}, filter: ") + "}"
    )
    refused = rlsgen("revision", "-m", "private")
    assert (refused.returncode, "PLANNER_STATISTICS" in refused.stderr) == (4, True)
    made = rlsgen("revision", "-m", "private", "--rev-id", "two", "--allow", "PLANNER_STATISTICS")
    assert made.stdout == f"Wrote {project}/migrations/versions/two_private.py\n", made.stderr
    elsewhere = rlsgen("revision", "-m", "x", "--config", "nowhere.ini")
    assert (elsewhere.returncode, "there is no nowhere.ini" in elsewhere.stderr) == (1, True)
