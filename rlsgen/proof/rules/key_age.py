"""A signing key has been in use for longer than the spec says keys should be (`lint: {key_days: 180}`).

A key that leaks is good for every context until it is retired. Rotating costs nothing: several keys are valid at
once.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject

RULE = Rule.described("key-age", Severity.warning, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each valid key that is too old."""
    most = subject.spec.lint.key_days
    for key in subject.catalog.keys or ():
        age = (subject.now - key.created_at).days
        if key.kind == "signing" and not key.retired and age > most:
            message = f"it is {age} days old, and keys should be in use for at most {most}"
            remedy = f"rlsgen keys rotate, give the new key to whoever signs, then rlsgen keys retire {key.kid}"
            yield RULE.finding(f"key {key.kid}", message, remedy, position=subject.place("lint.key_days"))
