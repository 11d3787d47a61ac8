"""A key was made on another server: this database is a copy that still uses the original's keys.

Dumps carry keys. Whoever can read the copy (a staging system, a laptop) holds what verifies the original's tokens,
and forges contexts of the original from it; and tokens of the one are taken by the other.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject

RULE = Rule.described("key-copied", Severity.error, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each key that is valid. Where the system identifier may not be seen, nothing can be told."""
    here = subject.catalog.system_identifier
    for key in subject.catalog.keys or ():
        if here and key.system_identifier not in ("", here) and not key.retired:
            remedy = "rlsgen keys rotate, which also renews the key of the seals"
            if key.kind == "signing":
                remedy += f", then rlsgen keys retire {key.kid}"
            shown = f"key {key.kid}" if key.kind == "signing" else "key of the seals"
            yield RULE.finding(shown, "it was made on another server, and came here in a dump", remedy)
