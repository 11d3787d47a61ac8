"""Projects of somebody else, whose tests run in a process of their own or in this one, on this run's server."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy.dialects.postgresql.psycopg
import sqlalchemy.ext.asyncio  # noqa: F401

# Modules that a run in this process were the first to import, it would take away at its end, and C extensions cannot be
# imported twice.
from rlsgen.spec.load import load_spec
from rlsgen.testing.database import built, from_files
from rlsgen.testing.server import running
from tests.support.postgres import Server

HERE = Path(__file__).parent
CONFIGURATION = """[pytest]
addopts = -p no:cacheprovider
filterwarnings = error
rlsgen_schema = schema.sql
"""
Run = Callable[..., pytest.RunResult]


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project with a schema, a spec and a configuration."""
    for name in ("schema.sql", "policies.yaml"):
        shutil.copy(HERE / name, pytester.path)
    (pytester.path / "pytest.ini").write_text(CONFIGURATION)
    return pytester


@pytest.fixture
def run(project: pytest.Pytester, server: Server, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run(source, *lines)` runs these tests on this run's server; `lines` are added to the configuration."""
    monkeypatch.setenv("RLSGEN_TEST_DSN", server.base)
    # Others that are installed here take longer to import than tests to run.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def runs(source: str, *lines: str, arguments: tuple[str, ...] = ()) -> pytest.RunResult:
        (project.path / "pytest.ini").write_text(CONFIGURATION + "".join(f"{line}\n" for line in lines))
        project.makepyfile(test_it=source)
        return project.runpytest_inprocess("-p", "rlsgen.testing.plugin", *arguments)

    return runs


@pytest.fixture(scope="session")
def ready(server: Server) -> Iterator[str]:
    """The name of a database that has the schema with the spec applied, for tests that only want clones of it."""
    spec = load_spec(HERE / "policies.yaml")
    with running(server.base, None, spec) as place, built(place, spec, from_files([HERE / "schema.sql"])) as database:
        yield database.name


@pytest.fixture
def run_on_clones(run: Run, ready: str) -> Run:
    """The same, without making schema and policies first."""
    return lambda source, *lines, **options: run(source, f"rlsgen_template = {ready}", *lines, **options)
