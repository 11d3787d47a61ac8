"""The database differs from the spec in something that no other rule explains.

Whatever `rlsgen plan` would change is a finding, so that lint is silent only where a plan is empty.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject

RULE = Rule.described("drift", Severity.warning, __doc__)


def find(subject: Subject, findings: Collection[Finding]) -> Iterator[Finding]:
    """One finding for each step that none of the findings has."""
    explained = {step.sql for finding in findings for step in finding.steps}
    for step in subject.steps:
        if step.sql not in explained:
            message = f"rlsgen plan would {step.action} it"
            yield RULE.finding(step.object, message, "review rlsgen plan, then rlsgen apply", steps=[step])
