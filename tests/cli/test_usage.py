"""How the command line is called: help, version, completion, usage errors, and what it needs to run."""

from __future__ import annotations

import json
import subprocess
import sys

import jsonschema
import pytest
import yaml

from rlsgen import __version__
from rlsgen.provision.plan import Hazard
from tests.cli.runner import SPEC, Rlsgen

COMMANDS = [
    [], ["demo"], ["check"], ["plan"], ["apply"], ["destroy"], ["token"], ["schema"], ["query"], ["describe"],
    ["keys"], ["keys", "create"], ["keys", "list"], ["keys", "rotate"], ["keys", "retire"],
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(rlsgen: Rlsgen, command: list[str]) -> None:
    done = rlsgen(*command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert " ".join(["Usage: rlsgen", *command]) in done.stdout
    assert "Examples:" in done.stdout


def test_version(rlsgen: Rlsgen) -> None:
    done = rlsgen("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"rlsgen {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], ""),
        (["plna"], "plna"),
        (["plan", "--bogus"], "--bogus"),
        (["plan", "--format", "xml"], "'xml' is not one of 'text', 'json', 'sql'"),
        (["apply", "--allow", "PUBLIC_REVOKE,NONSENSE"], "NONSENSE: no such hazard"),
        (["apply", "--lock-timeout", "soon"], "--lock-timeout"),
        (["apply", "--lock-timeout", "0"], "--lock-timeout"),
        (["apply", "one", "two"], "two"),
        (["token"], "RLSGEN_SIGNING_KEY"),
        (["token", "--signing-key", "x", "--lifetime", "901"], "--lifetime"),
        (["keys", "retire"], "kid"),
        (["describe"], "RLSGEN_CONVERSATION_DSN"),
        (["describe", "--conversation-dsn", "x", "--format", "text"], "'text' is not one of 'markdown', 'json'"),
        (["query", "SELECT 1", "--signing-key", "x"], "RLSGEN_CONVERSATION_DSN"),
        (["query", "SELECT 1", "--conversation-dsn", "x"], "RLSGEN_SIGNING_KEY"),
        (["query", "--conversation-dsn", "x", "--signing-key", "x"], "SQL"),
        (["query", "SELECT 1", "--conversation-dsn", "x", "--signing-key", "x", "--timeout", "0"], "--timeout"),
        (["query", "-", "--conversation-dsn", "x", "--signing-key", "x", "--format", "csv", "--trace"], "no CSV"),
        (["keys"], ""),
        (["demo", "--keep", "--stop"], "excludes --keep"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_usage_errors_exit_with_2_and_name_what_is_wrong(rlsgen: Rlsgen, arguments: list[str], named: str) -> None:
    done = rlsgen.having(RLSGEN_DSN="host=nowhere.invalid")(*arguments)
    assert done.returncode == 2, done.stderr
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    assert not named or done.stdout == ""


def test_hazards_are_completed(rlsgen: Rlsgen) -> None:
    """What the shell's completion script asks for."""
    words = {"_RLSGEN_COMPLETE": "complete_bash", "COMP_WORDS": "rlsgen apply --allow ", "COMP_CWORD": "3"}
    assert set(rlsgen.having(**words)().stdout.split()) == set(Hazard)
    words["COMP_WORDS"] = "rlsgen apply --allow PUB"
    assert rlsgen.having(**words)().stdout.split() == ["PUBLIC_REVOKE"]


def test_commands_are_completed(rlsgen: Rlsgen) -> None:
    words = {"_RLSGEN_COMPLETE": "complete_bash", "COMP_WORDS": "rlsgen ch", "COMP_CWORD": "1"}
    assert rlsgen.having(**words)().stdout.split() == ["check"]


@pytest.mark.parametrize("missing", ["typer", "rich", "jinja2"])
def test_without_the_extra_it_says_what_to_install(rlsgen: Rlsgen, missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from rlsgen.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=rlsgen.environment, check=False
    )
    assert done.returncode == 1
    assert missing in done.stderr
    assert "pip install 'rlsgen[cli]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_schema_is_json_and_fits_the_sample(rlsgen: Rlsgen) -> None:
    done = rlsgen("schema")
    assert (done.returncode, done.stderr) == (0, "")
    jsonschema.validate(yaml.safe_load(SPEC.read_text()), json.loads(done.stdout))


def test_a_reader_that_stops_reading_is_no_error_to_shout_about(rlsgen: Rlsgen) -> None:
    process = rlsgen.start("schema")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(60) == 1
    assert process.stderr.read() == ""
    process.communicate()
