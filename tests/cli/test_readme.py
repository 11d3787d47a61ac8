"""What README and docs say can be typed, can be typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tests.cli.runner import ROOT, SPEC, Rlsgen

README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]


def commands(page: Path) -> set[tuple[str, ...]]:
    """Everything on a page that calls `rlsgen`: in blocks, and between backticks."""
    fence = re.compile(r"```\w*\n(.*?)```", re.DOTALL)
    text = page.read_text()
    code = [*fence.findall(text), *re.findall(r"`([^`\n]+)`", fence.sub("", text)), *re.findall(r"^ {4}.*", text, re.M)]
    found = set()
    for match in re.finditer(r"(?:^|[ (&/])rlsgen ((?:[a-z]|--)[^)\n#&>]*)", "\n".join(code), re.MULTILINE):
        found.add(tuple(word for word in shlex.split(match[1]) if word != "COMMAND"))
    return found


def test_every_command_that_is_shown_exists(rlsgen: Rlsgen) -> None:
    for words in set().union(*map(commands, PAGES)):
        done = rlsgen(*words, "--help")
        assert done.returncode == 0, f"rlsgen {' '.join(words)}: {done.stderr}"


def test_commands_are_found_at_all() -> None:
    assert {("demo",), ("check",), ("keys", "create"), ("apply", "--indexes")} <= commands(README)


def test_the_first_two_commands_are_single_lines() -> None:
    lines = [line for line in README.read_text().splitlines() if line.startswith("    python3 -m venv")]
    assert lines == [
        "    python3 -m venv .venv && .venv/bin/pip install -q -e '.[demo]' && .venv/bin/rlsgen demo",
        "    python3 -m venv .venv && .venv/bin/pip install -q -e '.[dev]' && .venv/bin/pytest -n 2",
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
