"""The conversation role owns something.

An owner is exempt from row security, grants what it likes to whom it likes, and replaces what others rely on.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.identifiers import fill, identifier
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject

RULE = Rule.described("role-owns", Severity.error, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each thing."""
    for dependency in subject.catalog.dependencies:
        if dependency.kind == "owner":
            shown = str(dependency.identity) if dependency.identity else dependency.object
            remedy = f"give it another owner: {fill('REASSIGN OWNED BY {} TO …', identifier(subject.conversation))}"
            message = f"{subject.role} owns it: row security does not apply to owners, who may also grant it to others"
            yield RULE.finding(shown, message, remedy, position=subject.place("roles.conversation"))
