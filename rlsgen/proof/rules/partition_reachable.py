"""A partition, or a table that inherits, can be reached by its own name.

Row security belongs to the table that a query names. Policies of a partitioned table hold for its partitions only
when they are queried through it; a partition that is named directly shows all organisations' rows, however and
whenever it was attached.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.reach import covering, ordinary, who
from rlsgen.proof.subject import Subject, privileges_in_words

RULE = Rule.described("partition-reachable", Severity.error, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each partition or child, and holder."""
    for excess in subject.excess:
        parent, privileges = covering(subject, excess.relation), ordinary(excess)
        if parent is not None and privileges:
            message = (
                f"{who(subject, excess)} holds {privileges_in_words(privileges)}: named directly, it is not under the"
                f" policies of {parent}, and shows all organisations' rows"
            )
            yield RULE.finding(
                excess.relation.name,
                message,
                "rlsgen apply revokes it: queries go through the parent",
                steps=excess.steps,
                position=subject.position(parent),
            )
