"""A shared table has a column that says, elsewhere, whose a row is.

Every organisation reads all rows of a shared table. A column by which other tables are filtered suggests that this
one was meant to be filtered, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rlsgen.identifiers import display
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.pinned import tied
from rlsgen.proof.subject import Subject

RULE = Rule.described("shared-with-tenant-column", Severity.warning, __doc__)
_GENERIC = ("id", "name", "code", "type", "kind")


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each shared table; columns by which at least two tables are filtered count."""
    used = Counter(
        name for table in subject.scoped for name in {each.column for each in tied(table, table.spec.filter)}
    )
    keys = {name for name, number in used.items() if number > 1 and name.lower() not in _GENERIC}
    for name, table in subject.resolved.tables.items():
        found = [column.name for column in table.relation.columns if column.name in keys]
        if table.spec.access == "shared" and found:
            yield RULE.finding(
                f"{name}.{display(found[0])}",
                f"the table is shared, and {used[found[0]]} tables are filtered by a column of this name",
                "give it a filter; or accept this under lint.ignore, saying why all may read all of it",
                position=table.spec.position,
            )
