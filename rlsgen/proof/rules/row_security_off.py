"""Row security of a scoped table is switched off.

Its policies are still listed, and do nothing: a conversation reads every organisation's rows.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.identifiers import fill
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject

RULE = Rule.described("row-security-off", Severity.error, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each table. (A table that is new in the spec, spec-not-applied tells.)"""
    for table in subject.scoped:
        if not table.relation.row_security and table.name not in subject.new:
            steps = [step for step in subject.steps_of(table.name) if step.object == f"row security of {table.name}"]
            sql = fill("ALTER TABLE {} ENABLE ROW LEVEL SECURITY", table.name.sql)
            message = "row security is off: its policies do nothing, and conversations read all organisations' rows"
            yield RULE.finding(
                table.name, message, "rlsgen apply enables it", sql=sql, steps=steps, position=table.spec.position
            )
