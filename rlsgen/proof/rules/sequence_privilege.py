"""Everybody or the conversation role holds more on a sequence than an INSERT needs.

Its last value tells how many rows all organisations have made; `setval` and `nextval` spend or repeat ids that are
everybody's.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.reach import who
from rlsgen.proof.subject import Subject, privileges_in_words

RULE = Rule.described("sequence-privilege", Severity.error, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each sequence and holder."""
    for excess in subject.excess:
        if excess.relation.kind == "sequence":
            message = (
                f"{who(subject, excess)} holds {privileges_in_words(excess.privileges)}: it tells how much all"
                " organisations write, or changes which ids they get"
            )
            yield RULE.finding(excess.relation.name, message, "rlsgen apply revokes it", steps=excess.steps)
