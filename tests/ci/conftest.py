"""A project as the example has it, in a folder and a git repository of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.runner import ROOT, Rlsgen

EXAMPLE = ROOT / "docs" / "examples" / "ci"


@dataclass(frozen=True, slots=True)
class Project:
    """A project that tests may change."""

    folder: Path

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def change(self, name: str, before: str, after: str) -> None:
        text = (self.folder / name).read_text()
        assert before in text
        self.write(name, text.replace(before, after))

    def revision(self, number: str, down: str, body: str) -> None:
        self.write(
            f"migrations/versions/{number}_more.py",
            f'"""more."""\nfrom alembic import op\nrevision, down_revision = "{number}", "{down}"\n\n\n'
            f"def upgrade() -> None:\n    {body}\n",
        )

    def git(self, *arguments: str) -> str:
        who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org"}
        who |= {name.replace("AUTHOR", "COMMITTER"): value for name, value in who.items()}
        environment = {**os.environ, **who, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        done = subprocess.run(
            ["git", *arguments], check=True, capture_output=True, text=True, cwd=self.folder, env=environment
        )
        return done.stdout.strip()

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "a change")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """The example project, committed on the branch main."""
    folder = tmp_path / "project"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    made = Project(folder)
    made.git("init", "--quiet", "--initial-branch", "main", ".")
    made.commit()
    return made


@pytest.fixture
def rlsgen(project: Project) -> Rlsgen:
    """`rlsgen("ci", …)` in the project, outside of any CI."""
    return Rlsgen(project.folder).having(GITHUB_STEP_SUMMARY="", PYTHONDONTWRITEBYTECODE="1")


@pytest.fixture
def own_tmp(rlsgen: Rlsgen) -> Iterator[tuple[Rlsgen, Path]]:
    """The command with a folder for temporary files of its own, in which nothing may stay; short enough for sockets."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o711)
        yield rlsgen.having(TMPDIR=str(place)), place
