"""A table in the spec's schemas that nobody declared.

Conversations cannot read it, unless somebody grants it. But nobody has decided about it, and plan and apply refuse to
go on. Not looked for where the spec says `undeclared: hidden`. Partitions, and children of declared tables, are
covered by these.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject
from rlsgen.provision.resolve import undeclared

RULE = Rule.described("undeclared-table", Severity.error, __doc__)
_KINDS = {"matview": "materialized view", "foreign": "foreign table"}


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each table."""
    if subject.spec.undeclared == "hidden":
        return
    for relation in undeclared(subject.resolved):
        message = f"this {_KINDS.get(relation.kind, 'table')} is not declared, and apply refuses to go on until it is"
        remedy = "add it under tables: with a filter, `hidden`, or {access: shared, why: …}"
        yield RULE.finding(relation.name, message, remedy, position=subject.place("tables"))
