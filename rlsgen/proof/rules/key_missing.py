"""The key of the seals is gone, or there is no signing key that holds.

Without the first no context can be set, without the second no token is good: every conversation is refused. Nothing
leaks; whoever deleted them could write to the key tables. A database for which no signing key was made yet is a notice.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject

RULE = Rule.described("key-missing", Severity.error, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for the seals' key, one for signing keys."""
    keys = subject.catalog.keys
    if keys is None or not subject.spec.seal:
        return
    if not any(key.kind == "seal" for key in keys):
        message = "there is none, so that every conversation is refused"
        remedy = "DROP TABLE rlsgen_private.seal_key and run rlsgen apply, which makes both again"
        yield RULE.finding("key of the seals", message, remedy, sql="DROP TABLE rlsgen_private.seal_key")
    signing = [key for key in keys if key.kind == "signing"]
    if subject.complete and all(key.retired for key in signing):
        state = "all of them are retired" if signing else "there is none; if there ever was one, somebody deleted it"
        yield RULE.finding(
            "signing keys",
            f"{state}: every conversation is refused",
            "make one with rlsgen keys create, and give it to the application",
            severity=Severity.error if signing else Severity.notice,
        )
