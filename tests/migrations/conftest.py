"""The test project with all its revisions, written once for a module, as a team would write them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.migrations.project import Project, ledger, state
from tests.migrations.steps import Step, steps
from tests.support.postgres import Database, Databases, Roles, Server

ROWS = """
INSERT INTO organisations VALUES (1, 'Alder'), (2, 'Birch');
INSERT INTO users (id, organisation_id, email, street) VALUES (1, 1, 'A@alder', 'Elm 1'), (2, 2, 'B@birch', 'Fir 2');
INSERT INTO orders (id, organisation_id, total) VALUES (1, 1, 10), (2, 2, 0), (3, 1, 0);
INSERT INTO order_items VALUES (1, 1, 'one'), (2, 2, 'two');
INSERT INTO folders VALUES (1, 1, NULL), (2, 1, 1), (3, 2, NULL);
INSERT INTO projects VALUES (1, 1), (2, 2);
INSERT INTO tasks VALUES (1, 1, 1, 'a'), (2, 2, 2, 'b');
INSERT INTO billing.invoices VALUES (1, 1), (2, 2);
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a database was like when a step was through."""

    state: list[str]
    ledger: list[tuple[Any, ...]]

    @classmethod
    def of(cls, database: Database) -> Seen:
        return cls(state(database), ledger(database))


@dataclass(frozen=True, slots=True)
class History:
    """The project at its end, its steps, and what the database was like after each."""

    project: Project
    steps: list[Step]
    seen: dict[str, Seen]
    databases: Databases


@pytest.fixture(scope="module")
def history(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    """All revisions; at each, Alembic's check finds nothing more to do. The branches are written apart."""
    mark = f"{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.getpid()}"
    roles, databases = Roles(server, f"migrating_{mark}"), Databases(server, f"migrated_{mark}")
    try:
        every = steps(roles("LOGIN"))
        project = Project.new(tmp_path_factory.mktemp("project") / "alembic", databases(), every[0])
        seen: dict[str, Seen] = {}

        def write(step: Step) -> None:
            project.write(step)
            project.upgrade(step.revision)
            if not step.plain:
                project.check()
            seen[step.revision] = Seen.of(project.database)

        for step in every[:9]:
            write(step)
            if step.number == 2:
                project.database.connect().execute(ROWS)
        (branch,) = (project.directory / "versions").glob("r09*")
        project.downgrade("r08")
        away = branch.rename(project.directory / branch.name)
        write(every[9])
        away.rename(branch)
        project.upgrade("heads")
        for step in every[10:]:
            write(step)
        yield History(project, every, seen, databases)
    finally:
        databases.drop()
        roles.drop()
