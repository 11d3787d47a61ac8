"""The context is not sealed, and a field of it is compared with ids that count up.

With `seal: off`, a context comes from wherever the SQL comes from, and 1, 2, 3 are tried in a moment. Random ids
(uuid) do not isolate either, but have to be known first. Under the seal, ids may count up: a context cannot be
chosen.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.identifiers import Name, display
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.pinned import tied
from rlsgen.proof.subject import Subject, listed

RULE = Rule.described("guessable-tenant", Severity.warning, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each field of the context."""
    if subject.spec.seal:
        return
    counting: dict[str, list[str]] = {}
    for table in subject.scoped:
        for each in tied(table, table.spec.filter):
            source = _counts(subject, table.name, each.column)
            if source:
                counting.setdefault(each.field, []).append(source)
    for field in subject.spec.context:
        sources = list(dict.fromkeys(counting.get(field.name.lower(), [])))
        if sources:
            message = f"without a seal its values can be tried one by one: {listed(sources)} counts up"
            remedy = "seal the context, or let the ids be random uuids"
            yield RULE.finding(f"context field {field.name}", message, remedy, position=field.position)


def _counts(subject: Subject, table: Name, column: str) -> str:
    """The column that gives the values of this one, if a sequence fills it."""
    names = [(table, column)]
    for key in subject.catalog.foreign_keys:
        if key.relation == table and column in key.columns:
            names.append((key.parent, key.parent_columns[key.columns.index(column)]))
    for name, wanted in names:
        relation = subject.catalog.relations[name]
        found = relation.column(wanted)
        if found is not None and (found.identity or found.sequence):
            return f"{name}.{display(wanted)}"
    return ""
