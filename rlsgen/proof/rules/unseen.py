"""Something could not be looked at.

Keys are readable for their owner alone, so whoever lints as another role learns nothing about their age and origin.
The system identifier, which tells a copy of a database from the original, some services show to administrators only.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.identifiers import display
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject

RULE = Rule.described("unseen", Severity.notice, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each thing."""
    me = f"role {display(subject.catalog.current_user)}"
    if subject.provisioned and subject.catalog.keys is None:
        message = "it may not see the keys: their age and origin were not looked at"
        yield RULE.finding(me, message, "lint as the role that runs rlsgen apply")
    if not subject.catalog.system_identifier:
        message = "it may not execute pg_control_system(): whether this database is a copy was not looked at"
        sql = "GRANT EXECUTE ON FUNCTION pg_catalog.pg_control_system() TO " + display(subject.catalog.current_user)
        yield RULE.finding(me, message, f"an administrator can run: {sql}")
