"""The column that says whose a row is may be NULL.

A row without it is nobody's: no conversation sees it, and nothing says that one was forgotten. Should a later filter
say "NULL means shared", all such rows become everybody's. Looked for where a filter compares columns with the
context, and none of them is NOT NULL; filters that name NULL have thought of it.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.identifiers import display, fill, identifier
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.pinned import tied
from rlsgen.proof.subject import Subject

RULE = Rule.described("nullable-tenant-key", Severity.warning, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each table."""
    for table in subject.scoped:
        keys = [each.column for each in tied(table, table.spec.filter)]
        columns = [column for column in table.relation.columns if column.name in keys]
        if columns and not table.paths and not any(column.not_null for column in columns):
            first = next(column for column in columns if column.name == keys[0])
            yield RULE.finding(
                f"{table.name}.{display(first.name)}",
                "it says whose a row is, and may be NULL: such rows are nobody's, and nobody is told",
                "fill it and let it be NOT NULL; or let the filter say what NULL means",
                sql=fill("ALTER TABLE {} ALTER COLUMN {} SET NOT NULL", table.name.sql, identifier(first.name)),
                position=table.spec.position,
            )
