"""rlsgen lint as people and CI run it."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from rlsgen.proof.rules import RULES
from tests.cli.runner import Rlsgen
from tests.proof.lint.harness import DOCUMENT, Broken, accepted


@pytest.fixture
def on_ready(shop_ready: Broken, tmp_path: Path) -> Rlsgen:
    """On a provisioned shop; the spec accepts the server's version."""
    text = yaml.safe_dump({**DOCUMENT, **accepted(shop_ready.database)}, sort_keys=False)
    (tmp_path / "policies.yaml").write_text(text, encoding="utf-8")
    return Rlsgen(tmp_path).having(RLSGEN_DSN=shop_ready.database.dsn())


def test_nothing_to_say(on_ready: Rlsgen) -> None:
    done = on_ready("lint")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("No findings")
    assert json.loads(on_ready("lint", "--format", "json").stdout)["findings"] == []


def test_findings_in_every_format(on_ready: Rlsgen, shop_ready: Broken) -> None:
    shop_ready.run("ALTER TABLE orders DISABLE ROW LEVEL SECURITY; DROP INDEX teams_organisation_id_idx")
    done = on_ready("lint")
    assert done.returncode == 3
    first, remedy, sql, *_ = done.stdout.splitlines()
    assert first.startswith("policies.yaml:")
    assert ": error: public.orders: row security is off" in first
    assert remedy == "    rlsgen apply enables it"
    assert sql == '    | ALTER TABLE "public"."orders" ENABLE ROW LEVEL SECURITY'
    assert "1 error, 1 warning" in done.stdout.splitlines()[-1]

    machine = on_ready("lint", "--format", "json")
    assert machine.returncode == 3
    document = json.loads(machine.stdout)
    assert [each["rule"] for each in document["findings"]] == ["row-security-off", "filter-without-index"]
    assert {"rule", "severity", "object", "message", "remedy", "sql", "file", "line", "column"} == set(
        document["findings"][0]
    )
    assert document["summary"] == {"error": 1, "warning": 1, "notice": 0}
    assert {each["rule"] for each in document["ignored"]} <= {"server-version"}

    assert on_ready("lint", "--format", "github").stdout.startswith("::error file=policies.yaml,line=")
    sarif = on_ready("lint", "--format", "sarif")
    assert (sarif.returncode, json.loads(sarif.stdout)["version"]) == (3, "2.1.0")
    junit = ElementTree.fromstring(on_ready("lint", "--format", "junit").stdout)
    assert junit.get("failures") == "2"


def test_the_threshold(on_ready: Rlsgen, shop_ready: Broken) -> None:
    shop_ready.run("DROP INDEX teams_organisation_id_idx")
    assert on_ready("lint", "--severity", "error").returncode == 0
    assert on_ready("lint", "--severity", "notice").returncode == 3


def test_a_terminal_gets_a_table(on_ready: Rlsgen, shop_ready: Broken) -> None:
    shop_ready.run("ALTER TABLE orders DISABLE ROW LEVEL SECURITY")
    code, shown = on_ready.on_terminal("lint")
    assert code == 3
    assert "public.orders" in shown
    assert "│" in shown
    assert "1 error" in shown


def test_rules_are_listed_and_explained(on_ready: Rlsgen) -> None:
    listed = on_ready("lint", "--rules").stdout.splitlines()
    assert [line.split()[0] for line in listed] == [rule.id for rule in RULES]
    assert "Regrouped" not in on_ready("lint", "--explain", "policy-altered").stdout
    assert "regrouped parentheses" in on_ready("lint", "--explain", "policy-altered").stdout
    refused = on_ready("lint", "--explain", "policy-alterd")
    assert refused.returncode == 2
    assert "policy-altered" in refused.stderr


def test_what_cannot_be_linted(on_ready: Rlsgen, tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("version: 1\nlint: {ignore: [{rule: drift}]}\n")
    broken = on_ready("lint", "--spec", "broken.yaml")
    assert broken.returncode == 1
    assert "lacks the key why" in broken.stderr
    nowhere = on_ready("lint", "--dsn", "host=/nowhere")
    assert (nowhere.returncode, nowhere.stdout) == (1, "")
    assert "cannot connect" in nowhere.stderr
