"""Conversations can write a unique key that has no tenant in it.

A unique violation tells that somebody else has the value: an oracle for ids, e-mail addresses, names. And whoever
takes a value first keeps all other organisations from using it. Looked for where conversations may insert or update
every column of the key that they would need to choose; random ids (uuid) are left out, since nobody can guess them.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.catalog.model import Index
from rlsgen.identifiers import display
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.pinned import pinned, written
from rlsgen.proof.subject import Subject
from rlsgen.provision.resolve import Table

RULE = Rule.described("unique-without-tenant", Severity.warning, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each unique index."""
    for table in subject.scoped:
        if len(table.spec.allow) == 1:
            continue
        own, chosen = pinned(table), written(table)
        for index in table.relation.indexes:
            if index.unique and not own & set(index.columns) and _guessed(table, index, chosen):
                columns = [column for column in index.columns if column is not None]
                yield RULE.finding(
                    table.name,
                    f"unique index {display(index.name)} ({', '.join(map(display, columns)) or 'an expression'}) has no"
                    " column that is tied to the context: conversations learn which values others have, and take them",
                    "put the tenant's column into the key; or do not let conversations write these columns",
                    position=table.spec.position,
                )


def _guessed(table: Table, index: Index, chosen: frozenset[str]) -> bool:
    """Whether a conversation can choose what is compared, and guess what is there."""
    columns = [table.relation.column(name) for name in index.columns if name is not None]
    random = any(column is not None and column.base == "uuid" for column in columns)
    return not random and (None in index.columns or any(c is not None and c.name in chosen for c in columns))
