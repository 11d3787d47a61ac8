"""No index of a table starts with what its filter, or a path to it, compares.

Every statement of every conversation then reads all organisations' rows to find its own. Under row security only
leakproof conditions reach an index before the filter, so a tenant's index is what makes everything else fast.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject
from rlsgen.provision.indexes import index_statements, missing_indexes

RULE = Rule.described("filter-without-index", Severity.warning, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each index that is missing."""
    for missing in missing_indexes(subject.resolved):
        sql = ";\n".join(statement.sql for statement in index_statements(missing, subject.catalog))
        remedy = "rlsgen apply --indexes makes it, without blocking writes"
        yield RULE.finding(missing.table, str(missing), remedy, sql=sql, position=subject.position(missing.table))
