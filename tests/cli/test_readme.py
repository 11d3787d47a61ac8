"""What README and docs say can be typed, can be typed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import psycopg
from typer.testing import CliRunner

from rlsgen.catalog.connect import open_connection
from rlsgen.cli.app import app
from rlsgen.demo.shop import CONVERSATION
from rlsgen.proof.attacks.catalogue import catalogue
from rlsgen.proof.rules import RULES
from rlsgen.provision.keys import create_key
from rlsgen.runtime.versions import holes_in
from tests.cli.runner import ROOT, SPEC, Rlsgen
from tests.support.postgres import Database

README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]


def commands(page: Path) -> set[tuple[str, ...]]:
    """Everything on a page that calls `rlsgen`: in blocks, and between backticks."""
    fence = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
    text = page.read_text()
    code = [
        *(block for language, block in fence.findall(text) if language in ("", "sh")),
        *re.findall(r"`([^`\n]+)`", fence.sub("", text)),
        *re.findall(r"^ {4}.*", text, re.M),
    ]
    found = set()
    call = r"""(?:^|[ (&/])rlsgen ((?:[a-z]|--)(?:[^)\n#&>"']|"[^"\n]*"|'[^'\n]*')*)"""
    for match in re.finditer(call, "\n".join(code), re.MULTILINE):
        found.add(tuple(word for word in shlex.split(match[1]) if word != "COMMAND"))
    return found


def test_every_command_that_is_shown_exists() -> None:
    for words in set().union(*map(commands, PAGES)):
        done = CliRunner().invoke(app, [*words, "--help"])
        assert done.exit_code == 0, f"rlsgen {' '.join(words)}: {done.output}"


def test_a_command_that_does_not_exist_would_be_seen() -> None:
    for words in (["aply"], ["apply", "--indices"]):
        assert CliRunner().invoke(app, [*words, "--help"]).exit_code == 2


def test_commands_are_found_at_all() -> None:
    assert {("demo",), ("check",), ("keys", "create"), ("apply", "--indexes")} <= commands(README)


def test_its_numbers_are_true() -> None:
    text = README.read_text()
    assert f" {len(RULES)} rules, " in text
    assert f" {sum(len(attack.rings) for attack in catalogue())} attacks\n" in text


def test_the_first_two_commands_are_single_lines() -> None:
    lines = [line for line in README.read_text().splitlines() if line.startswith("    python3 -m venv")]
    assert lines == [
        "    python3 -m venv .venv && .venv/bin/pip install -q -e '.[demo]' && .venv/bin/rlsgen demo",
        "    python3 -m venv .venv && .venv/bin/pip install -q -e '.[dev]' && .venv/bin/pytest -n 3",
    ]


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_spec_on_one_screen_is_a_part_of_the_sample(rlsgen: Rlsgen) -> None:
    """It loads, and what it says about a table is what the sample says."""
    from rlsgen.spec.load import load_spec, parse_spec

    block = README.read_text().partition("## The spec on one screen")[2].split("```")[1].removeprefix("yaml\n")
    shown, sample = parse_spec(block, "README.md"), load_spec(SPEC)
    assert shown.context == sample.context
    same = {str(table.ref): (table.access, table.allow, table.hide, table.private) for table in sample.tables}
    for table in shown.tables:
        assert (table.access, table.allow, table.hide, table.private) == same[str(table.ref)]


def test_the_conversation_of_the_readme(rlsgen: Rlsgen, provisioned: Database) -> None:
    """The snippet, run as it is shown; on a server with holes with the option that the text names."""
    shown = README.read_text()
    code = shown.partition("**6. Conversations")[2].partition("```python\n")[2].partition("```")[0]
    printed = shown.partition("The end of what it prints:\n\n```\n")[2].partition("```")[0]
    with open_connection(provisioned.dsn()) as owner:
        key = create_key(owner).reveal()
        version = owner.info.server_version
    on = rlsgen.having(RLSGEN_CONVERSATION_DSN=provisioned.dsn(CONVERSATION), RLSGEN_SIGNING_KEY=key)
    (rlsgen.directory / "policies.yaml").write_text(SPEC.read_text())

    def run(code: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code],
            check=False, capture_output=True, encoding="utf-8", cwd=on.directory, env=on.environment,
        )  # fmt: skip

    if any(hole.grave for hole in holes_in(version)):
        refused = run(code)
        assert "Unhealthy" in refused.stderr
        assert 'known_holes="warn"' in shown
        code = code.replace("\n) as pool", ', known_holes="warn"\n) as pool')
    done = run(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("PostgreSQL.")
    assert done.stdout.endswith(printed)
    with psycopg.connect(provisioned.dsn()) as owner:
        statuses = owner.execute("SELECT status, count(*) FROM orders WHERE organisation_id = 1 GROUP BY 1").fetchall()
    for status, count in statuses:
        assert f"\n{status} {count}\n" in done.stdout
