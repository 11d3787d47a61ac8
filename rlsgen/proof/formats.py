"""Findings in the forms that people, terminals and CI read: text, JSON, GitHub annotations, SARIF, JUnit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from xml.etree import ElementTree

from rlsgen import __version__
from rlsgen.errors import Position
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.spec.model import Exclusion

SARIF_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {Severity.error: "error", Severity.warning: "warning", Severity.notice: "note"}


def summary(findings: Collection[Finding], ignored: int = 0) -> str:
    """`2 errors, 1 warning (3 accepted)`."""
    counts = [(each, sum(finding.severity is each for finding in findings)) for each in Severity]
    told = ", ".join(f"{number} {each}{'' if number == 1 else 's'}" for each, number in counts if number)
    return (told or "No findings") + (f" ({ignored} accepted by the spec)" if ignored else "") + "."


def to_text(findings: Sequence[Finding]) -> str:
    """For people and pipes: each finding with its object first, then what to do, then the SQL."""
    lines: list[str] = []
    for finding in findings:
        where = f"{finding.position}: " if finding.position else ""
        lines.append(_one_line(f"{where}{finding.severity}: {finding.object}: {finding.message} [{finding.rule}]"))
        lines.append(f"    {_one_line(finding.remedy)}")
        lines += [f"    | {_one_line(line)}" for line in finding.sql.splitlines()]
    return "\n".join(lines) + ("\n" if lines else "")


def finding_document(finding: Finding) -> dict[str, object]:
    """A finding for machines."""
    at = finding.position
    document: dict[str, object] = {
        "rule": finding.rule,
        "severity": str(finding.severity),
        "object": finding.object,
        "message": finding.message,
        "remedy": finding.remedy,
    }
    if finding.sql:
        document["sql"] = finding.sql
    if at is not None:
        document |= {"file": at.file, "line": at.line, "column": at.column}
    return document


def lint_document(findings: Sequence[Finding], ignored: Sequence[tuple[Finding, Exclusion]] = ()) -> dict[str, object]:
    """All of a lint for machines."""
    accepted = [
        {**finding_document(finding), "why": each.why, "until": each.until.isoformat() if each.until else None}
        for finding, each in ignored
    ]
    counts = {str(each): sum(finding.severity is each for finding in findings) for each in Severity}
    return {"findings": [finding_document(each) for each in findings], "ignored": accepted, "summary": counts}


def to_github(findings: Sequence[Finding], file: str) -> str:
    """Workflow commands, which GitHub shows as annotations of the spec.

    https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
    """
    lines = []
    for finding in findings:
        at = finding.position or Position(file, 1, 1)
        values = {"file": at.file, "line": at.line, "col": at.column, "title": f"{finding.rule}: {finding.object}"}
        told = ",".join(f"{key}={_property(str(value))}" for key, value in values.items())
        lines.append(f"::{finding.severity} {told}::{_data(f'{finding.message}{chr(10)}{finding.remedy}')}")
    return "\n".join(lines) + ("\n" if lines else "")


def _data(text: str) -> str:
    # A log is read on terminals: what would steer them, or turn the reading direction, is shown as an escape.
    shown = "".join(
        each if each in "\r\n" or each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )
    return shown.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def to_sarif(findings: Sequence[Finding], rules: Sequence[Rule], file: str) -> str:
    """SARIF 2.1.0, for code scanning: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html."""
    order = {rule.id: number for number, rule in enumerate(rules)}
    driver = {"name": "rlsgen", "version": __version__, "rules": [_sarif_rule(rule) for rule in rules]}
    results = [_sarif_result(finding, order, file) for finding in findings]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return json.dumps({"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _sarif_rule(rule: Rule) -> dict[str, object]:
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.explanation or rule.title},
        "help": {"text": rule.explanation or rule.title, "markdown": rule.explanation or rule.title},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
    }


def _sarif_result(finding: Finding, order: Mapping[str, int], file: str) -> dict[str, object]:
    at = finding.position or Position(file, 1, 1)
    # What stays the same from run to run, so that an alert is closed when its finding is gone and not before.
    identity = hashlib.sha256("\x00".join((finding.rule, finding.object, finding.message)).encode()).hexdigest()
    place = {
        "physicalLocation": {
            "artifactLocation": {"uri": _uri(at.file)},
            "region": {"startLine": at.line, "startColumn": at.column},
        },
        "logicalLocations": [{"fullyQualifiedName": finding.object}],
    }
    return {
        "ruleId": finding.rule,
        "ruleIndex": order[finding.rule],
        "level": _LEVELS[finding.severity],
        "message": {"text": f"{finding.object}: {finding.message}\n{finding.remedy}"},
        "locations": [place],
        "partialFingerprints": {"rlsgen/v1": identity},
    }


def _uri(path: str) -> str:
    """A relative or absolute path as a URI reference."""
    from urllib.parse import quote  # noqa: PLC0415  (slow to import, and needed here alone)

    return f"file://{quote(path)}" if path.startswith("/") else quote(path)


def to_junit(findings: Sequence[Finding], rules: Sequence[Rule], *, suite: str = "rlsgen lint") -> str:
    """JUnit's XML: a test case for each rule, which fails with each of its findings."""
    failed = sum(any(each.rule == rule.id for each in findings) for rule in rules)
    root = ElementTree.Element("testsuites", {"tests": str(len(rules)), "failures": str(failed)})
    counts = {"name": suite, "tests": str(len(rules)), "failures": str(failed), "errors": "0", "skipped": "0"}
    group = ElementTree.SubElement(root, "testsuite", counts)
    for rule in rules:
        case = ElementTree.SubElement(group, "testcase", {"classname": suite.replace(" ", "."), "name": _xml(rule.id)})
        found = [each for each in findings if each.rule == rule.id]
        if found:
            message = f"{len(found)} finding{'' if len(found) == 1 else 's'}: {found[0].object}"
            failure = ElementTree.SubElement(case, "failure", {"type": found[0].severity, "message": _xml(message)})
            failure.text = _xml(to_text(found))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _xml(text: str) -> str:
    """Text without the characters that XML 1.0 cannot carry, escaped or not."""
    bad = "\ufffe\uffff"
    return "".join(each if each in "\t\n" or (each >= " " and each not in bad) else "\ufffd" for each in text)


def _one_line(text: str) -> str:
    """Names may contain line breaks, which must not forge a finding."""
    return " ".join(text.splitlines())
