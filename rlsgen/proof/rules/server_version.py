"""The server has known holes in row security itself.

They are kept as data (`rlsgen/runtime/server_holes.toml`), with what fixed them. An error where a conversation could
reach others' rows or values through one; a warning where it could break what protects them; a notice for the rest.
Pools refuse the first kind too, unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject
from rlsgen.runtime.versions import Hole, holes_in, mended_in

RULE = Rule.described("server-version", Severity.error, __doc__)
_KINDS = {
    Severity.error: "by which conversations may reach others' rows or values",
    Severity.warning: "by which conversations may take away what protects them",
    Severity.notice: "in row security, which conversations cannot use by themselves",
}


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each severity."""
    version = subject.catalog.server_version
    holes: dict[Severity, list[Hole]] = {}
    for hole in holes_in(version):
        kind = Severity.error if hole.grave else Severity.warning if hole.reachable else Severity.notice
        holes.setdefault(kind, []).append(hole)
    major, minor = divmod(version, 10_000)
    for severity, found in holes.items():
        ids = ", ".join(hole.id for hole in found)
        message = f"PostgreSQL {major}.{minor} has known holes {_KINDS[severity]}: {ids}"
        yield RULE.finding("server", message, f"upgrade it to {mended_in(version)} or later", severity=severity)
