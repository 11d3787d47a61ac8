"""A private column has statistics.

Somebody set its statistics target again, or ANALYZE ran before it was 0; or an index on an expression or a statistics
object keeps values of it. What the planner knows of other organisations' values, a conversation can ask for.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.identifiers import display
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject
from rlsgen.provision.plan import Step
from rlsgen.provision.statistics import statistics_problems

RULE = Rule.described("private-statistics", Severity.error, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each column, and for each derived statistics."""
    for table in subject.scoped:
        for column in table.spec.private:
            steps = [step for step in subject.steps_of(table.name) if _is_about(step, column)]
            if steps and table.name not in subject.new:
                yield RULE.finding(
                    f"{table.name}.{display(column)}",
                    "it is private, and keeps statistics (of it, or of the same column of a partition)",
                    "rlsgen apply clears them, and sets the target to 0",
                    steps=steps,
                    position=table.spec.column_positions.get(column, table.spec.position),
                )
    for problem in statistics_problems(subject.resolved):
        about = problem.message.removeprefix("private column ").partition(":")[0]
        yield RULE.finding(f"column {about}", problem.message, problem.hint, position=problem.position)


def _is_about(step: Step, column: str) -> bool:
    return step.object.startswith((f"statistics target of {column} of ", f"stored statistics of {column} of "))
