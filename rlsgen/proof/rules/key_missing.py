"""The key of the seals is gone.

Without it no context can be set, so that every conversation is refused. Nothing leaks; whoever deleted it could write
to the key tables.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject

RULE = Rule.described("key-missing", Severity.error, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for the key."""
    keys = subject.catalog.keys
    if keys is not None and subject.spec.seal and not any(key.kind == "seal" for key in keys):
        message = "there is none, so that every conversation is refused"
        remedy = "DROP TABLE rlsgen_private.seal_key and run rlsgen apply, which makes both again"
        yield RULE.finding("key of the seals", message, remedy, sql="DROP TABLE rlsgen_private.seal_key")
