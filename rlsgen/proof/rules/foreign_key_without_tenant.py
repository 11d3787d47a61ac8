"""Conversations can write a reference to a scoped table that may lead to another organisation's row.

Postgres checks foreign keys with the owner's rights, past every policy: an INSERT that succeeds tells that the id
exists, and the row then points into another organisation, where joins, cascades and the application follow it.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.identifiers import display
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.pinned import pinned, written
from rlsgen.proof.subject import Subject

RULE = Rule.described("foreign-key-without-tenant", Severity.warning, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each foreign key."""
    shared = {name for name, table in subject.resolved.tables.items() if table.spec.access == "shared"}
    tables = {table.name: table for table in subject.scoped if len(table.spec.allow) > 1}
    for key in subject.catalog.foreign_keys:
        table = tables.get(key.relation)
        if table is None or key.parent in shared:
            continue
        columns = set(key.columns)
        if columns & written(table) and not columns & pinned(table):
            shown = ", ".join(map(display, key.columns))
            yield RULE.finding(
                table.name,
                f"foreign key {display(key.name)} ({shown}) may refer to rows of {key.parent} that are not the"
                " conversation's: it learns whether they exist, and points to them",
                f"add through: {shown} -> {key.parent}(…) to the spec; or put the tenant's column into the foreign key",
                position=table.spec.position,
            )
