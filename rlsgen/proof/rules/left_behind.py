"""rlsgen's policies or records stand on a table that the spec does not declare any more.

The conversation role has no rights on it after an apply. Until then the table is what it was: readable, and filtered.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject

RULE = Rule.described("left-behind", Severity.warning, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each table."""
    for name, transaction in subject.differences.orphans.items():
        gone = name not in subject.catalog.relations
        message = "it is gone, and rlsgen's record still names it" if gone else "it has policies or records of rlsgen's"
        remedy = "rlsgen apply takes them off; or declare the table again"
        yield RULE.finding(name, f"nobody declares it: {message}", remedy, steps=transaction.steps)
