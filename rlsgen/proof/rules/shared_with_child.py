"""A table that is scoped or hidden inherits from a shared one, or is a partition of it.

A query of the parent reads its children too, with the parent's privileges and policies: a shared parent has none, and
shows every row of the child to every organisation.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.identifiers import Name, Sql, fill
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject

RULE = Rule.described("shared-with-child", Severity.error, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each such child, however far below."""
    for name, table in subject.resolved.tables.items():
        if table.spec.access == "shared":
            continue
        parent = _shared_above(subject, name)
        if parent is not None:
            word = Sql("DETACH PARTITION") if table.relation.partition else Sql("NO INHERIT")
            above = table.relation.parents[0]
            changed = (above, word, name) if table.relation.partition else (name, word, above)
            yield RULE.finding(
                name,
                f"it is {table.spec.access}, and whoever reads {parent}, which is shared, reads its rows there",
                "take it out of the shared table; or give that one a filter",
                sql=fill("ALTER TABLE {} {} {}", changed[0].sql, changed[1], changed[2].sql),
                position=table.spec.position,
            )


def _shared_above(subject: Subject, name: Name) -> Name | None:
    relation = subject.catalog.relations.get(name)
    for parent in relation.parents if relation is not None else ():
        table = subject.resolved.tables.get(parent)
        if table is not None and table.spec.access == "shared":
            return parent
        above = _shared_above(subject, parent)
        if above is not None:
            return above
    return None
