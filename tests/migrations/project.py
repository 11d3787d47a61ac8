"""A project on Alembic in a directory of its own: its revisions are written and run as a team would."""

from __future__ import annotations

import io
import shutil
import subprocess
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import alembic.templates.generic
from alembic import command
from alembic.config import Config
from alembic.operations import Operations
from psycopg.rows import tuple_row
from sqlalchemy import URL

from rlsgen.demo.shop import OWNER
from rlsgen.migrations.operations import ApplyOp
from rlsgen.migrations.revision import fill_revision
from tests.migrations.steps import Step
from tests.support.postgres import Database

ENVIRONMENT = Path(__file__).with_name("env.py")
TEMPLATE = Path(alembic.__file__).with_name("templates") / "generic" / "script.py.mako"
ALLOWED = ("PUBLIC_REVOKE", "PLANNER_STATISTICS", "COPY_FROM", "DUMP")


def url(database: Database, owner: str = OWNER) -> str:
    """SQLAlchemy's URL of a database, for its owner."""
    info = database.connect().info
    place = {"host": info.host, "port": str(info.port)}
    made = URL.create("postgresql+psycopg", owner, info.password or None, database=database.name, query=place)
    return made.render_as_string(hide_password=False)


@dataclass(slots=True)
class Project:
    """A directory with env.py and revisions, and the step at which its models and its spec stand."""

    directory: Path
    database: Database
    step: Step
    x: list[str] = field(default_factory=list)
    allow: tuple[str, ...] = ALLOWED
    excluded: tuple[str, ...] = ()
    engine: dict[str, Any] = field(default_factory=dict)
    connection: object = None
    owner: str = OWNER

    @classmethod
    def new(cls, directory: Path, database: Database, step: Step, owner: str = OWNER) -> Project:
        """A project without revisions."""
        (directory / "versions").mkdir(parents=True)
        shutil.copy(ENVIRONMENT, directory / "env.py")
        shutil.copy(TEMPLATE, directory / "script.py.mako")
        project = cls(directory, database, step, owner=owner)
        project.at(step)
        return project

    @property
    def spec(self) -> Path:
        return self.directory / "policies.yaml"

    @property
    def config(self) -> Config:
        config = Config(cmd_opts=Namespace(quiet=True, x=self.x), stdout=io.StringIO())
        config.set_main_option("script_location", str(self.directory))
        config.set_main_option("sqlalchemy.url", url(self.database, self.owner).replace("%", "%%"))
        names = ("step", "spec", "allow", "excluded", "engine", "connection")
        config.attributes.update({name: getattr(self, name) for name in names})
        return config

    def at(self, step: Step) -> None:
        """The team's working copy at a step: models and spec."""
        self.step = step
        self.spec.write_text(step.text)

    def on(self, database: Database) -> Project:
        """The same revisions for another database."""
        return replace(self, database=database)

    def copy(self, directory: Path, database: Database) -> Project:
        """The same project in a directory of its own."""
        shutil.copytree(self.directory, directory)
        return replace(self, directory=directory, database=database)

    def write(self, step: Step) -> Path:
        """The step's revision: by autogenerate, or by hand with rlsgen's part filled in."""
        self.at(step)
        options: dict[str, Any] = {"rev_id": step.revision, "message": step.name, "head": step.head}
        if not step.upgrade:
            return Path(command.revision(self.config, autogenerate=True, **options).path)  # type: ignore[union-attr]
        file = Path(command.revision(self.config, **options).path)  # type: ignore[union-attr]
        text = file.read_text()
        upgrade, downgrade = (body.replace("\n", "\n    ") for body in (step.upgrade, step.downgrade))
        text = text.replace("    pass", f"    {upgrade}", 1).replace("    pass", f"    {downgrade}", 1)
        file.write_text(text)
        if not step.plain:
            fill_revision(self.config, step.revision)
        return file

    def upgrade(self, to: str = "heads") -> None:
        command.upgrade(self.config, to)

    def downgrade(self, to: str) -> None:
        command.downgrade(self.config, to)

    def check(self) -> None:
        command.check(self.config)

    def script(self, to: str = "heads", *, down: bool = False) -> str:
        """The script of `alembic upgrade --sql`, or of downgrade."""
        config, buffer = self.config, io.StringIO()
        config.output_buffer = buffer
        (command.downgrade if down else command.upgrade)(config, to, sql=True)
        return buffer.getvalue()


@contextmanager
def without_rlsgen() -> Iterator[None]:
    """A time in which rlsgen's operations do nothing: the team's own migrations alone."""
    before = Operations._to_impl.dispatch(ApplyOp(" ", (), search_path=""))
    Operations.implementation_for(ApplyOp, replace=True)(lambda operations, operation: None)
    try:
        yield
    finally:
        Operations.implementation_for(ApplyOp, replace=True)(before)


def state(database: Database) -> list[str]:
    """The schema as pg_dump shows it, line by line, without what differs from one dump to the next."""
    server = database.server
    dump = subprocess.run(
        [server.program("pg_dump"), "--schema-only", "--exclude-table=alembic_version", database.dsn(server.superuser)],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    lines = [line for line in dump.splitlines() if line and not line.startswith(("--", "\\"))]
    with database.connect(server.superuser) as connection, connection.cursor(row_factory=tuple_row) as cursor:
        acl = cursor.execute(
            "SELECT a.privilege_type, a.grantee::regrole FROM pg_database AS d,"
            " aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) AS a"
            " WHERE d.datname = current_database() ORDER BY 1, 2"
        ).fetchall()
        targets = cursor.execute(
            "SELECT attrelid::regclass, attname, attstattarget FROM pg_attribute"
            " WHERE attrelid = to_regclass('users') AND NOT attisdropped ORDER BY 2"
        ).fetchall()
    return [*lines, f"{acl}", f"{targets}"]


def ledger(database: Database) -> list[tuple[Any, ...]]:
    """The ledger and the record of the provision, all of it."""
    with database.connect(database.server.superuser) as connection, connection.cursor(row_factory=tuple_row) as cursor:
        if not cursor.execute("SELECT to_regclass('rlsgen.object')").fetchone()[0]:  # type: ignore[index]
            return []
        rows = cursor.execute(
            # What is given back to PUBLIC is named after the database, too.
            "SELECT kind, schema_name, relation_name,"
            " CASE kind WHEN 'public' THEN '' ELSE object_name END, source, live,"
            " replace(before::text, current_database(), '?') FROM rlsgen.object ORDER BY 1, 2, 3, 4, 7"
        ).fetchall()
        return rows + cursor.execute("SELECT format, spec_hash, fingerprint, seal FROM rlsgen.provision").fetchall()
