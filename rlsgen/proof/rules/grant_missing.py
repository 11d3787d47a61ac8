"""The spec gives the conversation role something that the database does not.

Nothing leaks. Statements over what the spec shows fail with "permission denied", as after a column was added: it is
invisible until the next apply.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.identifiers import Name
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject
from rlsgen.provision.plan import Step

RULE = Rule.described("grant-missing", Severity.warning, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each grant that a plan would make."""
    told = {step.sql for step in subject.new_functions}
    for name, step in _steps(subject):
        if step.sql in told:
            continue
        shown = name or step.object.partition(" on ")[2].partition(" for ")[0]
        place = subject.position(name) if name else None
        message = f"{subject.role} lacks what the spec gives it: {step.object}"
        yield RULE.finding(shown, message, "rlsgen apply grants it", steps=[step], position=place)


def _steps(subject: Subject) -> Iterator[tuple[Name | None, Step]]:
    for name, transaction in (*subject.differences.tables.items(), *subject.differences.views.items()):
        if name not in subject.new and name not in subject.doubtful:
            own = f"{name} for {subject.conversation}"
            grants = [step for step in transaction.steps if step.action == "grant"]
            yield from ((name, step) for step in grants if subject.lacks(name) or not step.object.endswith(own))
    if subject.differences.functions is not None:
        yield from ((None, step) for step in subject.differences.functions.steps if step.action == "grant")
