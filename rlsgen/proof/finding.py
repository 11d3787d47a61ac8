"""Findings and the rules that make them, as values: what is wrong, with what, why that is bad, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from rlsgen.errors import Position
from rlsgen.provision.plan import Step


class Severity(StrEnum):
    """How bad it is."""

    error = "error"  # rows or values of others can be reached, or conversations cannot work
    warning = "warning"  # it becomes an error with one more mistake, leaks a little, or costs much
    notice = "notice"  # worth knowing

    @property
    def rank(self) -> int:
        """0 for the worst."""
        return tuple(Severity).index(self)

    def reaches(self, threshold: Severity) -> bool:
        """Whether it is at least as bad as `threshold`."""
        return self.rank <= threshold.rank


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    rule: str  # the id of the rule
    severity: Severity
    object: str  # what it is about, as people write it: public.orders, public.users.email, role nl_conversation
    message: str
    remedy: str
    sql: str = ""  # the remedy as SQL, where it is mechanical; one or more statements
    position: Position | None = None  # the place in the spec that it is about
    steps: tuple[Step, ...] = field(default=(), compare=False, repr=False)  # of the plan, that mend it


@dataclass(frozen=True, slots=True)
class Rule:
    """What a rule looks for. `severity` is that of its findings, but for those that say otherwise."""

    id: str
    severity: Severity
    title: str  # one sentence
    explanation: str  # paragraphs in Markdown

    @classmethod
    def described(cls, id: str, severity: Severity, docstring: str | None) -> Rule:
        """A rule whose documentation is the docstring of its module: the first line, and the rest."""
        title, _, explanation = (docstring or "").strip().partition("\n")
        return cls(id, severity, title, explanation.strip())

    def finding(
        self,
        object: object,
        message: str,
        remedy: str,
        *,
        sql: str = "",
        steps: Iterable[Step] = (),
        position: Position | None = None,
        severity: Severity | None = None,
    ) -> Finding:
        """A finding of this rule; `steps` of the plan are its SQL where `sql` says nothing else."""
        mending = tuple(steps)
        text = sql or ";\n".join(dict.fromkeys(step.sql for step in mending if step.sql))
        return Finding(self.id, severity or self.severity, str(object), message, remedy, text, position, mending)
