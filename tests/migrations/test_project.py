"""Ten revisions and one before them, up and down and up again, each compared with a fresh provision."""

from __future__ import annotations

import pytest

from tests.migrations.project import Project
from tests.migrations.steps import steps


pytestmark = pytest.mark.filterwarnings("ignore:autoincrement and existing_autoincrement only make sense")


def test_try(database, role_factory, tmp_path):
    every = steps(role_factory("LOGIN"))
    project = Project.new(tmp_path / "p", database, every[0])
    for step in every:
        if step.number == 9:
            break
        f = project.write(step)
        print("=====", step.name)
        print(f.read_text())
        project.upgrade()
        if not step.plain:
            project.check()
