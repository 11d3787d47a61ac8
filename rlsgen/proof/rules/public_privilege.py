"""Everybody holds privileges on a relation, and so does the conversation role.

What PUBLIC may do, it may do, whatever was revoked from the role itself: read hidden tables, columns that are hidden
or new, and write where the spec lets it read.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.reach import is_ordinary, ordinary
from rlsgen.proof.subject import Excess, Subject, privileges_in_words

RULE = Rule.described("public-privilege", Severity.error, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each relation."""
    for excess in subject.excess:
        privileges = ordinary(excess)
        if excess.public and privileges and is_ordinary(subject, excess.relation):
            yield RULE.finding(
                excess.relation.name,
                f"everybody, so conversations too, holds {privileges_in_words(privileges)}: {_state(subject, excess)}",
                "grant it to the roles that need it, and revoke it from PUBLIC; rlsgen apply --allow PUBLIC_REVOKE does"
                " both where the spec shows it",
                steps=excess.steps,
                position=subject.position(excess.relation.name),
            )


def _state(subject: Subject, excess: Excess) -> str:
    name = excess.relation.name
    table, view = subject.resolved.tables.get(name), subject.resolved.views.get(name)
    declared = table or view
    if declared is None:
        return "nobody declared it"
    if declared.spec.access == "hidden":
        return "it is declared hidden"
    return "new columns too, and whatever the spec hides"
