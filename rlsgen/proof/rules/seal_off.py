"""The spec says `seal: off`.

Whoever writes the SQL text of a conversation then chooses its context too, with one `set_config`. That is for
applications whose SQL is trusted; where a language model or a customer writes it, nothing is isolated.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject

RULE = Rule.described("seal-off", Severity.warning, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for the spec."""
    if not subject.spec.seal:
        message = "the context is not sealed: whoever writes the SQL text chooses it"
        remedy = "take `seal: off` out and apply; or accept this under lint.ignore, saying why all SQL is trusted"
        yield RULE.finding(f"spec {subject.spec.file}", message, remedy, position=subject.place("seal"))
