"""What a pull request is shown: names forge nothing, and it stays of a size that GitHub shows."""

from __future__ import annotations

import json
from pathlib import Path

from rlsgen.ci.access import compare
from rlsgen.ci.run import Options, Result, Step
from rlsgen.ci.summary import to_markdown
from rlsgen.spec.load import parse_spec
from rlsgen.spec.model import Spec

HOSTILE = "a`|\n## forged @everyone <b>[x](y)</b>"


def spec(tables: dict[str, object]) -> Spec:
    document = {"version": 1, "context": {"org": "integer"}, "roles": {"conversation": "c"}, "tables": tables}
    return parse_spec(json.dumps(document), "policies.yaml")


def markdown(before: Spec, after: Spec) -> str:
    result = Result(Options(Path("policies.yaml")))
    result.steps["migrations"] = Step("migrations", "failed", f"{HOSTILE} fails")
    result.access = compare(before, after, base="base.yaml")
    return to_markdown(result)


def test_names_forge_nothing() -> None:
    name = json.dumps(HOSTILE).replace("\\n", "\n")
    filter = f"org = userContext.org AND name = '{HOSTILE}'"
    shown = markdown(spec({name: filter}), spec({name: f"{filter} OR true"}))
    lines = shown.splitlines()
    assert [line for line in lines if line.startswith("#")] == [
        "## rlsgen: This change does not work; access is **wider** in 1 place",
        "### Who can read what",
    ]
    row = next(line for line in lines if "widened**" in line)
    assert row.replace("\\|", "").count("|") == 7  # six cells
    step = next(line for line in lines if "fails" in line)
    assert step.replace("\\|", "").count("|") == 5
    assert "\\@everyone" in step
    assert "<b>" not in step


def test_many_changes_are_cut() -> None:
    long = " OR ".join(f"name = 'x{number}'" for number in range(20))
    tables: dict[str, object] = {f"t{number}": "org = userContext.org" for number in range(220)}
    wider: dict[str, object] = {name: f"{text} OR {long}" for name, text in tables.items()}
    shown = markdown(spec(tables), spec(wider))
    assert "220 widened" in shown
    assert "… and 20 more." in shown
    assert len(shown.encode()) < 300_000
