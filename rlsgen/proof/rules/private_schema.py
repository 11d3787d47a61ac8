"""The conversation role may enter rlsgen's private schema.

Without USAGE on it, nothing in it can be named. With it, the planner's estimates over the key tables gave away 44
bits of a key: planning reads statistics before privileges are checked.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject

RULE = Rule.described("private-schema", Severity.error, __doc__)
_SCHEMA = "rlsgen_private"


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for the schema."""
    schema = subject.catalog.schemas.get(_SCHEMA)
    if schema is not None and subject.holds(schema.grants, "USAGE"):
        steps = [
            s for dependency, steps in subject.differ.surplus.others() if dependency.address == _SCHEMA for s in steps
        ]
        steps += subject.differences.foundation.steps if subject.differences.foundation else ()
        message = f"{subject.role} may enter it: what is in it can be named, planned with and estimated"
        remedy = "rlsgen apply takes that back; then rlsgen keys rotate, and retire the old keys"
        sql = f"REVOKE ALL ON SCHEMA {_SCHEMA} FROM PUBLIC"
        yield RULE.finding(f"schema {_SCHEMA}", message, remedy, sql="" if steps else sql, steps=steps)
