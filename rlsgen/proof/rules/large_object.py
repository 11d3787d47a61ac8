"""Conversations may read or write large objects.

Large objects have no rows and no policies: who may read one reads all of it. With `lo_compat_privileges` everybody
may read and write all of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.identifiers import Sql, fill, join
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject

RULE = Rule.described("large-object", Severity.error, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for those of everybody, and one for each that the role was granted."""
    found = subject.catalog.large_objects
    if found.compatible and found.number:
        message = f"lo_compat_privileges is on: everybody reads and writes all large objects, {found.number} of them"
        yield RULE.finding("large objects", message, "an administrator can switch lo_compat_privileges off")
    elif found.number:
        more = "" if found.number <= len(found.some) else f" (the first of {found.number})"
        sql = join(";\n", [fill("REVOKE ALL ON LARGE OBJECT {} FROM PUBLIC", Sql(str(oid))) for oid in found.some])
        message = f"everybody may use {found.number} large objects, and conversations with them"
        yield RULE.finding("large objects", message, f"their owners can revoke that{more}", sql=sql)
    for dependency, steps in subject.differ.surplus.others():
        if dependency.type == "large object":
            message = f"{subject.role} may use it, and no policy filters what is in it"
            yield RULE.finding(dependency.object, message, "rlsgen apply revokes it", steps=steps)
