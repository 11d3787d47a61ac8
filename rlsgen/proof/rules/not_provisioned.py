"""The database was never provisioned, or an apply was not finished.

Nothing else in this list protects anybody then. An apply that was interrupted leaves a database that is safe, and not
yet what the spec says: its fingerprint is written last. Where rlsgen has never been, rules about what it made are
left out.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.identifiers import display
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject, listed

RULE = Rule.described("not-provisioned", Severity.error, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for the database."""
    database = f"database {display(subject.catalog.database)}"
    if not subject.provisioned:
        message = "rlsgen has not provisioned this database, or its record (rlsgen.provision) is gone"
        yield RULE.finding(database, message, "run rlsgen apply; or is this another database than was meant?")
    elif not subject.complete:
        message = "no apply has come to its end here: the fingerprint, which is written last, is missing"
        steps = [*subject.new_functions]
        steps += subject.differences.provision.steps if subject.differences.provision else ()
        waiting = sorted(subject.new)
        if waiting:
            message += f"; not reached yet: {listed([str(name) for name in waiting], 12)}"
            steps += [step for name in waiting for step in subject.steps_of(name)]
        yield RULE.finding(database, message, "run rlsgen apply: it goes on where it stopped", steps=steps)
