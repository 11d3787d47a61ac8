"""The key tables, the ledger or the helpers are not as rlsgen made them, or not their owner's alone.

Whoever reads a signing key can act as anybody; whoever reads the seal's key can forge a context; whoever writes to
the ledger decides what counts as unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject
from rlsgen.provision.foundation import Foundation

RULE = Rule.described("foundation", Severity.error, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each fault, or one where only the definitions differ."""
    transaction = subject.differences.foundation
    if transaction is None:
        return
    faults = list(Foundation(subject.spec, subject.catalog, subject.ledger).faults())
    unknown = "a helper in rlsgen_private was replaced or dropped, or another version of rlsgen made it"
    for fault in faults or [unknown]:
        remedy = "rlsgen apply puts it right; where keys could be read, rotate them: rlsgen keys rotate"
        yield RULE.finding("schemas rlsgen and rlsgen_private", fault, remedy, steps=transaction.steps)
