"""The spec says `force: true`, and row security of a table does not hold for its owner.

Definer functions and views that belong to the owner, and that conversations may use, then show all rows.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.identifiers import fill
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject

RULE = Rule.described("row-security-not-forced", Severity.error, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each table."""
    for table in subject.scoped:
        label = f"forced row security of {table.name}"
        steps = [step for step in subject.steps_of(table.name) if step.object == label and step.action == "enable"]
        if steps and table.name not in subject.new:
            sql = fill("ALTER TABLE {} FORCE ROW LEVEL SECURITY", table.name.sql)
            message = "row security is not forced: what runs with the owner's rights sees all organisations' rows"
            yield RULE.finding(
                table.name, message, "rlsgen apply forces it", sql=sql, steps=steps, position=table.spec.position
            )
