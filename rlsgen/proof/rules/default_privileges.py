"""Default privileges will give the conversation role, or everybody, rights on what is not made yet.

A table that somebody creates tomorrow is then readable for conversations from its first moment until the next apply.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.identifiers import display
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject

RULE = Rule.described("default-privileges", Severity.error, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each default privilege."""
    for default, step in subject.differ.surplus.defaults():
        whose = "everybody" if default.grant.grantee is None else subject.role
        where = f" in schema {display(default.schema)}" if default.schema else ""
        what = f"{default.grant.privilege} on each {default.kind}"
        message = f"{whose} will hold {what} that {display(default.owner)} creates{where}"
        yield RULE.finding(f"role {display(default.owner)}", message, "rlsgen apply revokes it", steps=[step])
