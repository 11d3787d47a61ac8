"""What a release contains, and that it works where nothing else is."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from rlsgen.provision.render import render
from tests.packaging.conftest import ROOT, Built

TEMPLATES = {path.name for path in (ROOT / "templates").glob("*.sql.j2")}


def test_the_wheel_carries_templates_sample_queries_and_types(built: Built) -> None:
    names = set(zipfile.ZipFile(built.wheel).namelist())
    assert names >= {f"rlsgen/_templates/{name}" for name in TEMPLATES}
    assert names >= {"rlsgen/demo/policies.yaml", "rlsgen/demo/shop.sql", "rlsgen/py.typed"}
    assert names >= {str(path.relative_to(ROOT)) for path in (ROOT / "rlsgen").rglob("*.sql")}
    assert any(name.endswith("licenses/LICENSE") for name in names)
    outside = {name.partition("/")[0] for name in names} - {"rlsgen"}
    assert all(name.endswith(".dist-info") for name in outside)


def test_the_sdist_carries_what_tests_and_readers_need(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= {
        "README.md",
        "CHANGELOG.md",
        "LICENSE",
        "policies.yaml",
        "pyproject.toml",
        "docs/security-model.md",
    }
    assert names >= {"tests/conftest.py", *(f"templates/{name}" for name in TEMPLATES)}


@pytest.fixture
def empty_environment() -> Iterator[Path]:
    """A virtual environment with pip in it; in a place from where root's `nobody` can run Postgres."""
    with tempfile.TemporaryDirectory(prefix="rlsgen-venv-") as folder:
        Path(folder).chmod(0o711)
        venv.create(folder, with_pip=True)
        yield Path(folder)


def test_a_wheel_alone_and_an_editable_give_the_demo(
    built: Built, empty_environment: Path, bare_environment: Mapping[str, str]
) -> None:
    binaries = empty_environment / "bin"

    def run(program: str, *arguments: str) -> str:
        command = [str(binaries / program), *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=bare_environment, cwd="/")
        assert done.returncode == 0, done.stderr
        return done.stdout

    pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    for what, home in [([f"{built.wheel}[demo]"], empty_environment), (["--no-deps", "--editable", str(ROOT)], ROOT)]:
        run("python", *pip, *what)
        assert Path(run("python", "-c", "import rlsgen; print(rlsgen.__file__)").strip()).is_relative_to(home)
        shown = json.loads(run("rlsgen", "demo", "--format", "json"))
        assert len(shown["conversations"]) >= 2
        assert shown["refused"]


def test_a_wheels_templates_are_those_of_the_checkout(
    built: Built, tmp_path: Path, bare_environment: Mapping[str, str]
) -> None:
    zipfile.ZipFile(built.wheel).extractall(tmp_path)
    code = "import rlsgen; from rlsgen.provision.render import render; print(rlsgen.__file__, render('ledger.sql.j2'))"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True,
        env={**bare_environment, "PYTHONPATH": str(tmp_path)}, cwd="/",
    )  # fmt: skip
    assert done.stdout == f"{tmp_path}/rlsgen/__init__.py {render('ledger.sql.j2')}\n"
