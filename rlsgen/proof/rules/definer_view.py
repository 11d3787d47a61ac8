"""Conversations can read a view that runs with its owner's rights.

Without `security_invoker`, a view reads as its owner, to whom row security most often does not apply: it shows all
organisations' rows of what it reads. (Declared views that lost the option have a rule of their own.)
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.identifiers import display
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.reach import readers, who
from rlsgen.proof.subject import Subject, listed

RULE = Rule.described("definer-view", Severity.error, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each view and holder."""
    for excess in readers(subject):
        view = excess.relation
        if view.kind == "view" and not view.security_invoker:
            reads = listed([str(name) for name in view.reads]) or "what it reads"
            message = (
                f"{who(subject, excess)} may read it, and it reads {reads} with the rights of {display(view.owner)}"
            )
            remedy = "revoke that (rlsgen apply does); or declare the view as invoker"
            yield RULE.finding(view.name, message, remedy, steps=excess.steps, position=subject.position(view.name))
