"""A declared view no longer checks its caller: it lost `security_invoker`.

It then reads with its owner's rights, to whom row security most often does not apply, and shows all organisations'
rows. `CREATE OR REPLACE VIEW` drops the option without a word, while the grant stays.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.identifiers import fill
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject

RULE = Rule.described("view-lost-invoker", Severity.error, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each view."""
    for name, view in subject.resolved.views.items():
        if view.spec.access == "invoker" and not view.relation.security_invoker and name not in subject.new:
            steps = [step for step in subject.steps_of(name) if step.object == f"view {name}: security_invoker"]
            message = "it reads with its owner's rights: conversations see all organisations' rows through it"
            yield RULE.finding(
                name,
                message,
                "rlsgen apply sets it again; write WITH (security_invoker = true) where migrations replace the view",
                sql=fill("ALTER VIEW {} SET (security_invoker = true)", name.sql),
                steps=steps,
                position=view.spec.position,
            )
