"""Conversations can read or write a foreign table that the spec does not share.

Its rows are elsewhere, fetched with the rights of a user mapping; it cannot carry row security.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.reach import ordinary, who
from rlsgen.proof.subject import Subject, privileges_in_words

RULE = Rule.described("foreign-table", Severity.error, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each foreign table and holder."""
    for excess in subject.excess:
        if excess.relation.kind == "foreign" and ordinary(excess):
            held = privileges_in_words(ordinary(excess))
            message = f"{who(subject, excess)} holds {held}: its rows are elsewhere, and cannot be filtered here"
            name = excess.relation.name
            remedy = "revoke that (rlsgen apply does)"
            yield RULE.finding(name, message, remedy, steps=excess.steps, position=subject.position(name))
