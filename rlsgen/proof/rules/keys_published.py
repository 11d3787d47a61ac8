"""A publication sends the tables of the keys to its subscribers.

Whoever holds the key of the seals, or what verifies tokens, forges contexts. A publication of all tables, as tools for
change data capture make it, includes them. Name the tables that are wanted instead.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.identifiers import display
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject

RULE = Rule.described("keys-published", Severity.warning, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each publication."""
    for publication, tables in subject.catalog.publications.items():
        keys = [table for table in tables if table.schema == "rlsgen_private"]
        if keys or not tables:
            yield RULE.finding(
                f"publication {display(publication)}",
                f"it publishes {', '.join(map(str, keys)) if keys else 'all tables, and so those of the keys'}",
                "let it publish the tables that are wanted; then rlsgen keys rotate, if anybody has subscribed to it",
            )
