"""Conversations can read a column that looks like a secret: a password's hash, a token, a key.

Row security keeps rows of other organisations away; it does not keep a conversation from showing its own user's
colleagues' credentials, or from writing them into an answer. Such columns are for applications, and hidden from
language models.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.identifiers import display
from rlsgen.proof.column_names import looks
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject

RULE = Rule.described("secret-column", Severity.warning, __doc__)
_TYPES = frozenset({"text", "character varying", "bpchar", "bytea", "uuid", "json", "jsonb", "public.citext"})


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each column."""
    for name, table in subject.resolved.tables.items():
        if table.spec.access == "hidden":
            continue
        for column in table.shown:
            if column.base in _TYPES and looks(column.name, "secrets"):
                yield RULE.finding(
                    f"{name}.{display(column.name)}",
                    "it looks like a secret, and conversations can read it",
                    f"add columns: {{hide: [{column.name}]}} to the table; or accept this under lint.ignore",
                    position=table.spec.position,
                )
