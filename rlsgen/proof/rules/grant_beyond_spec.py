"""The conversation role holds a privilege that the spec does not give it.

rlsgen owns all privileges of this role in the database. A hidden column that can be selected shows itself, also
inside of whole-row references; an INSERT into an id column is an oracle and blocks others' ids; a table without row
security shows every row. What is worse than its name has rules of its own: partitions, views, TRUNCATE, CREATE,
sequences, large objects.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.identifiers import display
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.reach import is_ordinary, ordinary
from rlsgen.proof.rules.create_privilege import may_create
from rlsgen.proof.subject import Excess, Subject, privileges_in_words

RULE = Rule.described("grant-beyond-spec", Severity.error, __doc__)
_TOLD_ELSEWHERE = ("large object", "default acl")


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each relation and other object."""
    for excess in subject.excess:
        privileges = ordinary(excess)
        if not excess.public and privileges and is_ordinary(subject, excess.relation):
            yield RULE.finding(
                excess.relation.name,
                f"{display(subject.conversation)} holds {privileges_in_words(privileges)} beyond the spec: "
                + _danger(subject, excess),
                "rlsgen apply revokes it; find out who granted it",
                steps=excess.steps,
                position=subject.position(excess.relation.name),
            )
    definers = {str(function.name) for function in subject.catalog.functions if function.definer}
    for dependency, steps in subject.differ.surplus.others():
        name = dependency.address.partition("(")[0]
        told = dependency.type in _TOLD_ELSEWHERE or name in definers or name == "rlsgen_private"
        passed_on = bool(steps) and all(step.object.startswith("the right to grant ") for step in steps)
        if not told and not passed_on and not may_create(dependency, steps):
            message = f"{display(subject.conversation)} may use it, and the spec says nothing of that"
            yield RULE.finding(dependency.object, message, "rlsgen apply revokes it", steps=steps)


def _danger(subject: Subject, excess: Excess) -> str:
    table = subject.resolved.tables.get(excess.relation.name)
    if table is None:
        return "nobody declared it, and no policy of rlsgen's filters its rows"
    if table.spec.access == "hidden":
        return "it is declared hidden, and no policy filters its rows"
    return "columns and commands that the spec keeps from conversations"
