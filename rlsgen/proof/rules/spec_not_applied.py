"""The spec is newer than what was provisioned.

The database still enforces what the spec said at the last apply: a filter that was narrowed since is not in force, a
column that was hidden since can be read. Runtimes with the new spec refuse such a database where they would show
something else.
"""

from __future__ import annotations

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
    steps = [*_of(subject.differences.provision), *_of(subject.differences.retired), *subject.new_functions]
    message = f"{subject.spec.file} says something else than what was applied last"
    yield RULE.finding(database, message, _REMEDY, steps=steps)
    for name in sorted(subject.new):
        message = "the spec shows it since the last apply, and the database does not yet"
        yield RULE.finding(name, message, _REMEDY, steps=subject.steps_of(name), position=subject.position(name))
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
