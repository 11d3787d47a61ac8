"""The spec does not fit the database, so that plan and apply refuse it.

A table, column, role or schema that does not exist; policies that would go round in a circle; a filter that Postgres
cannot read any more. What is provisioned stays as it is meanwhile, and drifts away from what the database has become.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.errors import Problem
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject
from rlsgen.provision.roles import named_problems

RULE = Rule.described("spec-misfit", Severity.error, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each problem that `rlsgen check` would tell too, and that has no rule of its own."""
    for problem in (*subject.misfits, *named_problems(subject.spec, subject.catalog)):
        yield from of(subject, problem)


def of(subject: Subject, problem: Problem) -> Iterator[Finding]:
    """The finding for one problem."""
    remedy = problem.hint or "make the spec and the database fit; rlsgen check shows all of it"
    yield RULE.finding(f"spec {subject.spec.file}", problem.message, remedy, position=problem.position)
