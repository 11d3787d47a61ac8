"""The workflow and the hooks that we ship, by running their commands in a copy of the example project."""

from __future__ import annotations

import json
import os
import shlex
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
import yaml

from tests.ci.conftest import EXAMPLE, Project
from tests.cli.runner import ROOT, Rlsgen
from tests.support.postgres import Database

WORKFLOW = yaml.safe_load((EXAMPLE / ".github" / "workflows" / "isolation.yml").read_text())
STEPS: dict[str, dict[str, Any]] = {
    each["name"]: each for each in WORKFLOW["jobs"]["isolation"]["steps"] if "name" in each
}
SARIF = yaml.safe_load((ROOT / "tests" / "proof" / "lint" / "sarif.yaml").read_text())
HOOKS = {each["id"]: each for each in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}
CONFIGURED = yaml.safe_load((EXAMPLE / ".pre-commit-config.yaml").read_text())["repos"][0]


@pytest.fixture
def shell(rlsgen: Rlsgen, project: Project, tmp_path: Path) -> Rlsgen:
    """`rlsgen` as a command on the path, and a `gh` that only notes what it was asked."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, line in {
        "rlsgen": f'exec {shlex.quote(sys.executable)} -m rlsgen "$@"',
        "gh": f'echo "$@" >> {shlex.quote(str(tmp_path / "gh.txt"))}',
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{line}\n")
        (programs / name).chmod((programs / name).stat().st_mode | stat.S_IXUSR)
    return rlsgen.having(PATH=f"{programs}:{os.environ['PATH']}", GITHUB_STEP_SUMMARY=str(tmp_path / "summary.md"))


def step(shell: Rlsgen, name: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a step as GitHub does: bash, which stops at the first error; expressions have the values that we give."""
    assert set(STEPS[name].get("env", {})) == variables.keys()
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", STEPS[name]["run"]],
        check=False, capture_output=True, text=True, cwd=shell.directory, env={**shell.environment, **variables},
    )  # fmt: skip


def hook(name: str) -> tuple[str, ...]:
    """The command of a hook as pre-commit runs it: the entry and its arguments, without file names."""
    arguments = next(each for each in CONFIGURED["hooks"] if each["id"] == name).get("args", [])
    program, *rest = shlex.split(HOOKS[name]["entry"])
    assert program == "rlsgen"
    return *rest, *arguments


def widen(project: Project) -> None:
    project.git("checkout", "--quiet", "-b", "change")
    project.change("policies.yaml", "countries: {access: shared, why: the same for everyone}", "countries: hidden")
    project.change(
        "policies.yaml",
        "organisations: id = userContext.organisationId",
        "organisations: name > 'B' OR id = userContext.organisationId",
    )
    project.commit()


def test_the_workflow_on_a_pull_request(shell: Rlsgen, project: Project, tmp_path: Path) -> None:
    project.git("update-ref", "refs/remotes/origin/main", "main")  # as actions/checkout leaves it
    widen(project)
    refused = step(shell, "Isolation", BASE="main", ACCEPTED="")
    assert refused.returncode == 3, refused.stderr
    lines = refused.stdout.splitlines()
    assert lines[0].startswith(
        "::error file=policies.yaml,line=10,col=3,title=access-widened%3A public.organisations::"
    )
    assert lines[1].startswith("::notice file=policies.yaml,line=13,col=3,title=access-narrowed%3A public.countries::")
    assert all((project.folder / name).stat().st_size for name in ("rlsgen.sarif", "rlsgen.xml", "rlsgen.md"))
    summary = (tmp_path / "summary.md").read_text()
    assert summary.startswith("## rlsgen: This change has findings; access is **wider** in 1 place\n")
    assert (
        "| `nl_conversation` | `public.organisations` | rows | ⚠️ **widened**: the rows that can be read become more"
        in summary
    )
    told = step(shell, "Comment", GH_TOKEN="x", PULL_REQUEST="7")
    assert told.returncode == 0, told.stderr
    assert (tmp_path / "gh.txt").read_text().startswith("pr comment 7 --body-file rlsgen.md")


def test_the_workflow_with_the_label(
    shell: Rlsgen, rlsgen: Rlsgen, project: Project, database: Database, tmp_path: Path
) -> None:
    """And on a push, whose base is a commit. The step's command, then run here and on the tests' server."""
    before = project.git("rev-parse", "HEAD")
    widen(project)
    (tmp_path / "bin" / "rlsgen").write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    asked = step(shell, "Isolation", BASE=before, ACCEPTED="--allow-widened")
    assert asked.returncode == 0, asked.stderr
    summary = tmp_path / "summary.md"
    summary.write_text("from another step\n")
    variables = {"GITHUB_STEP_SUMMARY": str(summary), "RLSGEN_CONVERSATION_DSN": database.dsn("nl_conversation")}
    done = rlsgen.having(**variables)(*asked.stdout.splitlines(), "--dsn", database.dsn())
    assert done.returncode == 0, done.stderr + done.stdout
    assert [line.partition(" ")[0] for line in done.stdout.splitlines()] == ["::notice", "::notice"]
    sarif = json.loads((project.folder / "rlsgen.sarif").read_text())
    jsonschema.validate(sarif, SARIF)
    assert [each["level"] for each in sarif["runs"][0]["results"]] == ["note", "note"]
    cases = ElementTree.fromstring((project.folder / "rlsgen.xml").read_text())
    assert cases.get("failures") == "2"  # what is let through is said all the same
    markdown = (project.folder / "rlsgen.md").read_text()
    assert markdown.startswith("## rlsgen: Isolation holds; access is **wider** in 1 place\n")
    assert summary.read_text() == f"from another step\n{markdown}"


def test_the_workflow_installs_what_there_is() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    words = shlex.split(STEPS["Install"]["run"], comments=True)
    assert words[:3] == ["pip", "install", f"{project['name']}[demo]"]
    assert "demo" in project["optional-dependencies"]


def test_when_the_workflow_runs() -> None:
    started = WORKFLOW[True]  # YAML 1.1 reads `on` as a truth value
    assert "pull_request_target" not in started
    # A label that accepts wider access must start it again: a run that is repeated sees the labels of its first time.
    assert {"opened", "synchronize", "reopened", "labeled", "unlabeled"} == set(started["pull_request"]["types"])
    for name in ("Code scanning", "Comment"):  # a fork's token may not write, and that must not fail its run
        assert "github.event.pull_request.head.repo.full_name == github.repository" in STEPS[name]["if"]


def test_the_hook_of_a_commit(rlsgen: Rlsgen, project: Project) -> None:
    command = hook("rlsgen-access")
    assert rlsgen(*command).returncode == 0
    project.change("policies.yaml", "alembic_version: hidden", "alembic_version: {access: shared, why: no secret}")
    said = rlsgen(*command)  # says what becomes wider, and lets it through: review is for the pull request
    assert said.returncode == 0
    assert "public.alembic_version" in said.stdout
    project.change("policies.yaml", "through: order_id", "through: order")
    assert rlsgen(*command).returncode == 0  # no database, so columns are not known
    project.change("policies.yaml", "orders: {}", "orders: organisation_id =")
    broken = rlsgen(*command)
    assert broken.returncode == 1
    assert "policies.yaml:11:" in broken.stdout


def test_the_hook_of_a_push(own_tmp: tuple[Rlsgen, Path], project: Project) -> None:
    """Here on a migration that fails. Nothing of its server stays."""
    rlsgen, place = own_tmp
    project.revision("0003", "0002", "op.execute('SELECT 1/0')")
    done = rlsgen(*hook("rlsgen-ci"))
    assert done.returncode == 1
    assert "migrations/versions/0003_more.py:7:1: error: migrations: the revision 0003 (more.) fails" in done.stdout
    assert list(place.iterdir()) == []


def test_hooks_are_as_pre_commit_wants_them() -> None:
    assert {each["id"] for each in CONFIGURED["hooks"]} == HOOKS.keys()
    for each in HOOKS.values():
        assert {"id", "name", "entry", "language"} <= each.keys()
        assert each["pass_filenames"] is False
