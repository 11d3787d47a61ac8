"""The spec is newer than what was provisioned.

The database still enforces what the spec said at the last apply: a filter that was narrowed since is not in force, a
column that was hidden since can be read. Runtimes with the new spec refuse such a database where they would show
something else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from rlsgen.identifiers import Name, display
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject, listed
from rlsgen.provision.plan import Step

RULE = Rule.described("spec-not-applied", Severity.error, __doc__)
_REMEDY = "review rlsgen plan, then rlsgen apply"


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for the database, and one for each table whose policies would change."""
    if not subject.complete or not subject.newer:
        return
    database = f"database {display(subject.catalog.database)}"
    steps = [*_of(subject.differences.provision), *_of(subject.differences.retired), *_functions(subject)]
    message = f"{subject.spec.file} says something else than what was applied last"
    yield RULE.finding(database, message, _REMEDY, steps=steps)
    for table in subject.scoped:
        if table.name in subject.new_tables:
            message = "the table is scoped since the last apply, and not yet protected or shown"
            steps = list(subject.steps_of(table.name))
            yield RULE.finding(table.name, message, _REMEDY, steps=steps, position=table.spec.position)
    changed: dict[Name, list[Step]] = {}
    names: dict[Name, list[str]] = {}
    for state in subject.policies:
        if state.spec_changed:
            changed.setdefault(state.table.name, []).append(state.step)
            names.setdefault(state.table.name, []).append(state.name)
    for name, changes in changed.items():
        message = f"the spec has changed since these policies were made: {listed(names[name], 8)}"
        yield RULE.finding(name, message, _REMEDY, steps=changes, position=subject.position(name))


def _of(transaction: object) -> tuple[Step, ...]:
    return getattr(transaction, "steps", ())


def _functions(subject: Subject) -> Iterator[Step]:
    """Functions of which another version was asked for when they were made, and who may use those that are new."""
    recorded = {
        f"function {entry.relation}({entry.name})": entry.source
        for entry in subject.catalog.ledger
        if entry.kind == "function"
    }
    new: set[str] = set()
    for step in _of(subject.differences.functions):
        if step.action in ("grant", "revoke"):
            if any(step.object.startswith(f"EXECUTE on {label} ") for label in new):
                yield step
        elif step.object not in recorded:
            new.add(step.object)
            yield step
        elif recorded[step.object] != hashlib.sha256(step.sql.encode()).hexdigest():
            yield step
