"""A privilege that row security does not hold back: TRUNCATE, REFERENCES, TRIGGER, MAINTAIN.

TRUNCATE empties the table for all organisations. A foreign key that REFERENCES it asks whether an id exists. A
TRIGGER sees and changes the rows of whoever writes. MAINTAIN locks the table, and refreshes statistics that tell of
all rows.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.reach import UNSAFE, who
from rlsgen.proof.subject import Subject, privileges_in_words

RULE = Rule.described("unsafe-privilege", Severity.error, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each relation and holder."""
    for excess in subject.excess:
        unsafe = frozenset(each for each in excess.privileges if each[0] in UNSAFE)
        if unsafe:
            message = (
                f"{who(subject, excess)} holds {privileges_in_words(unsafe)}, which row security does not hold back"
            )
            yield RULE.finding(
                excess.relation.name,
                message,
                "rlsgen apply revokes it",
                steps=excess.steps,
                position=subject.position(excess.relation.name),
            )
