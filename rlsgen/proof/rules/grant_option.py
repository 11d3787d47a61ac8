"""The conversation role may pass a privilege on.

What it grants to PUBLIC or to another role stays when its own privilege is taken back without CASCADE, and when the
conversation is over.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.identifiers import Name
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject
from rlsgen.provision.plan import Step

RULE = Rule.described("grant-option", Severity.error, __doc__)
_RIGHT = "the right to grant "


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each step that takes such a right back."""
    for name, step in _steps(subject):
        shown = step.object.removeprefix(_RIGHT)
        place = subject.position(name) if name else None
        message = f"{subject.role} may grant to others what it holds: {shown}"
        remedy = "rlsgen apply takes it back, and what was passed on with it"
        yield RULE.finding(
            name or shown.partition(" on ")[2].partition(" from ")[0], message, remedy, steps=[step], position=place
        )


def _steps(subject: Subject) -> Iterator[tuple[Name | None, Step]]:
    for found in (subject.differences.tables, subject.differences.views):
        for name, transaction in found.items():
            yield from ((name, step) for step in transaction.steps if step.object.startswith(_RIGHT))
    for _, steps in subject.differ.surplus.others():
        yield from ((None, step) for step in steps if step.object.startswith(_RIGHT))
