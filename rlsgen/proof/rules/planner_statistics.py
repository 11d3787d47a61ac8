"""A column that looks like personal data is readable, and keeps planner statistics.

Statistics are of all organisations' rows. Through comparisons that Postgres calls leakproof, EXPLAIN spells such
values out, and one plain SELECT gives away a bit in the order of its own rows, which no guard can see. `private`
columns keep none: their plans lose a little. Looked for are readable columns of scoped tables, by their names
(e-mail, phone, birth date, …), whose type has leakproof comparisons (text, date, inet, integers; not numeric, not
json). The list of words is kept as data. Key columns that a filter compares with the context are left out: the
planner needs them, and the policy reveals them anyway.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.identifiers import display
from rlsgen.proof.column_names import looks
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.pinned import pinned
from rlsgen.proof.subject import Subject

RULE = Rule.described("planner-statistics", Severity.warning, __doc__)
_LEAKPROOF = frozenset(
    {"text", "character varying", "bpchar", "name", "date", "inet", "cidr", "smallint", "integer", "bigint", "bytea",
     "timestamp without time zone", "timestamp with time zone", "macaddr"}
)  # fmt: skip


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each column."""
    for table in subject.scoped:
        personal = [each for each in table.shown if each.base in _LEAKPROOF and looks(each.name, "personal")]
        keys = pinned(table) if personal else frozenset()
        for column in personal:
            if column.name not in table.spec.private and column.name not in keys and column.has_statistics:
                yield RULE.finding(
                    f"{table.name}.{display(column.name)}",
                    "it looks like personal data, and the planner's statistics give values away, all organisations'",
                    f"add columns: {{private: [{column.name}]}} to the table; or accept this under lint.ignore",
                    position=table.spec.position,
                )
