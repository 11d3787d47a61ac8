"""The forms of findings: what each consumer can read, whatever is in a name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
import yaml

from rlsgen.errors import Position
from rlsgen.proof.exclusions import fits
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.formats import finding_document, summary, to_github, to_junit, to_sarif, to_text
from rlsgen.proof.manual import explanation, manual
from rlsgen.proof.rules import ALWAYS, PROVISIONED, RULES
from rlsgen.spec.model import Exclusion

HOSTILE = 'public."a\nerror: b: forged, %0A::error file=x::y]]><\x1b\x00\u2028\u202e\ud7ff'
PLACE = Position("my policies.yaml", 7, 3)
FINDINGS = (
    Finding("row-security-off", Severity.error, HOSTILE, "row security is\r\noff", "apply", "ALTER 1;\nALTER 2", PLACE),
    Finding("row-security-off", Severity.error, "public.b", "row security is off", "apply"),
    Finding("seal-off", Severity.warning, "spec p.yaml", "no seal", "seal it"),
    Finding("unseen", Severity.notice, "role x", "not seen", "look"),
)


def test_text_has_two_lines_and_the_sql_of_each_finding() -> None:
    lines = to_text(FINDINGS).splitlines()
    assert len(lines) == 2 * len(FINDINGS) + 2
    assert lines[0].startswith('my policies.yaml:7:3: error: public."a error: b: forged')
    assert lines[0].endswith(": row security is off [row-security-off]")
    assert lines[2:4] == ["    | ALTER 1;", "    | ALTER 2"]
    assert to_text(()) == ""
    assert summary(FINDINGS, 3) == "2 errors, 1 warning, 1 notice (3 accepted by the spec)."
    assert summary(()) == "No findings."


def test_json() -> None:
    assert finding_document(FINDINGS[1]) == {
        "rule": "row-security-off",
        "severity": "error",
        "object": "public.b",
        "message": "row security is off",
        "remedy": "apply",
    }
    placed = finding_document(FINDINGS[0])
    assert (placed["file"], placed["line"], placed["column"], placed["sql"]) == (*_parts(PLACE), "ALTER 1;\nALTER 2")


def _parts(place: Position) -> tuple[str, int, int]:
    return place.file, place.line, place.column


def test_github_gets_one_command_for_each_finding() -> None:
    lines = to_github(FINDINGS, "p.yaml").splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["::error", "::error", "::warning", "::notice"]
    head, message = lines[0].removeprefix("::error ").split("::", 1)
    assert head.startswith('file=my policies.yaml,line=7,col=3,title=row-security-off%3A public."a%0Aerror%3A b%3A')
    assert message == "row security is%0D%0Aoff%0Aapply"
    assert "%250A%3A%3Aerror file=x" in head
    assert all(line.isprintable() for line in lines)
    assert "file=p.yaml,line=1,col=1" in lines[1]


def test_sarif_is_what_the_standard_says() -> None:
    document = json.loads(to_sarif(FINDINGS, RULES, "p.yaml"))
    schema: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("sarif.yaml").read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
    validator.validate(document)
    (run,) = document["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert len({rule["id"] for rule in rules}) == len(rules) == len(RULES)
    for finding, result in zip(FINDINGS, run["results"], strict=True):
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"] == finding.rule
        assert result["locations"][0]["logicalLocations"][0]["fullyQualifiedName"] == finding.object
    assert [result["level"] for result in run["results"]] == ["error", "error", "warning", "note"]
    assert run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "my%20policies.yaml"
    marks = {result["partialFingerprints"]["rlsgen/v1"] for result in run["results"]}
    assert len(marks) == len(FINDINGS)
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({**document, "runs": [{**run, "results": [{"level": "fatal"}]}]})


def test_sarif_without_findings_closes_all_alerts() -> None:
    assert json.loads(to_sarif((), RULES, "p.yaml"))["runs"][0]["results"] == []


def test_junit_has_a_case_for_each_rule() -> None:
    text = to_junit(FINDINGS, RULES)
    root = ElementTree.fromstring(text)
    cases = root.findall("testsuite/testcase")
    assert [case.get("name") for case in cases] == [rule.id for rule in RULES]
    failed = {case.get("name"): case.find("failure") for case in cases if case.find("failure") is not None}
    assert set(failed) == {"row-security-off", "seal-off", "unseen"}
    assert root.get("failures") == root.findall("testsuite")[0].get("failures") == "3"
    failure = failed["row-security-off"]
    assert failure is not None
    assert "public.b" in (failure.text or "")
    assert "\x1b" not in text


def test_junit_of_verify_has_a_case_for_each_table_whatever_its_name() -> None:
    rule = Rule(f"table {HOSTILE}", Severity.error, "Isolated, and covered.", "")
    (case,) = ElementTree.fromstring(to_junit((), (rule,), suite="rlsgen verify")).findall("testsuite/testcase")
    assert (case.get("name") or "").startswith('table public."a')


def test_the_manual_is_that_of_the_rules() -> None:
    page = Path(__file__).parents[3] / "docs" / "lint.md"
    assert page.read_text(encoding="utf-8") == manual(), "python -m rlsgen.proof.manual > docs/lint.md"


def test_every_rule_is_documented_and_named_as_its_module() -> None:
    assert len({rule.id for rule in RULES}) == len(RULES) >= 50
    for rule in RULES:
        assert rule.title.endswith("."), rule.id
        assert len(rule.explanation) > 60, rule.id
        assert rule.explanation in explanation(rule)
    for check in (*ALWAYS, *PROVISIONED):
        assert check.__name__.rpartition(".")[2].replace("_", "-") == check.RULE.id  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        (None, "anything", True),
        ("public.a", "public.a", True),
        ("public.a", "public.ab", False),
        ("public.*", "public.a", True),
        ("*.email", "public.users.email", True),
        ("public.*.email", "public.users.email", True),
        ("public.*.email", "public.email", False),
        ("*", "", True),
        ("a*a", "a", False),
        ("a*b*c", "a-b-b-c", True),
        ("a*b*c", "a-c", False),
        ("public.[a]", "public.a", False),
        ("public.a?", "public.ab", False),
    ],
)
def test_what_an_exclusion_fits(pattern: str | None, text: str, expected: bool) -> None:
    finding = Finding("drift", Severity.warning, text, "m", "r")
    assert fits(Exclusion("drift", pattern, "why", None, PLACE), finding) is expected
    assert not fits(Exclusion("other", pattern, "why", None, PLACE), finding)
