"""Conversations can read a materialized view that the spec does not share.

Its rows were written with its owner's rights, and it cannot carry row security: whoever may read it reads all of
them.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.reach import readers, who
from rlsgen.proof.subject import Subject

RULE = Rule.described("materialized-view", Severity.error, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each materialized view and holder."""
    for excess in readers(subject):
        if excess.relation.kind == "matview":
            message = f"{who(subject, excess)} may read it: it holds rows of all organisations, and cannot filter them"
            remedy = "revoke that; share it in the spec, with a reason, only if every organisation may read all of it"
            name = excess.relation.name
            yield RULE.finding(name, message, remedy, steps=excess.steps, position=subject.position(name))
