"""The verdict of a report: the worst that is known, in one sentence, and what it rests on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rlsgen.proof.finding import Severity
from rlsgen.proof.lint import LintResult
from rlsgen.proof.report.data import Level, Verdict
from rlsgen.proof.verify.result import VerifyResult

ERRORS = 2
"""Findings that the verdict itself names."""

_HEADLINES: dict[Level, str] = {
    "leaks": "Isolation does not hold",
    "broken": "No leak was found, but conversations do not work as declared",
    "endangered": "No leak was found, but something here can defeat isolation",
    "partial": "No leak was found where it could be compared; not everything could",
    "unproven": "Nothing is known to defeat isolation; rows were not compared",
    "holds": "Isolation held in everything that was tried",
}


def verdict(lint: LintResult, verify: VerifyResult | None) -> Verdict:
    """The worst first: a leak that was seen outweighs whatever might be."""
    level = _level(lint, verify)
    headline = _HEADLINES[level]
    if level == "endangered" and verify is None:
        headline = "Something here can defeat isolation; rows were not compared"
    return Verdict(level, headline, tuple(_sentences(lint, verify)))


def _level(lint: LintResult, verify: VerifyResult | None) -> Level:
    if verify is not None and verify.leaks:
        return "leaks"
    if verify is not None and verify.failed:
        return "broken"
    if lint.at_least(Severity.error):
        return "endangered"
    if verify is None:
        return "unproven"
    return "holds" if verify.complete else "partial"


def _sentences(lint: LintResult, verify: VerifyResult | None) -> Iterator[str]:
    if verify is not None:
        yield from _verified(verify)
    counts = Counter(finding.severity for finding in lint.findings)
    told = [_count(counts[each], str(each)) for each in Severity if counts[each]]
    found = f"Lint found {', '.join(told)}" if told else "Lint found nothing in the catalog that would defeat the spec"
    accepted = f"; {_count(len(lint.ignored), 'finding')} accepted by the spec" if lint.ignored else ""
    yield f"{found}{accepted}."
    for error in lint.at_least(Severity.error)[:ERRORS]:
        yield f"Error: {error.object}: {error.message}."


def _verified(verify: VerifyResult) -> Iterator[str]:
    status = Counter(table.status for table in verify.tables)
    leaking = [str(table.table) for table in verify.tables if table.status == "leak"]
    if leaking:
        more = f" and {len(leaking) - 5} more" if len(leaking) > 5 else ""
        yield f"Rows that must not be seen or written: {', '.join(leaking[:5])}{more}."
    pairs = sum(table.pairs for table in verify.tables)
    yield (
        f"{_count(status['isolated'], 'table')} of {len(verify.tables):,} isolated,"
        f" compared for {_count(len(verify.contexts), 'context')} and {_count(pairs, 'pair')} of real tenants."
    )
    for number, word in ((status["failed"], "where conversations do not work"), (status["uncovered"], "not covered")):
        if number:
            yield f"{_count(number, 'table')} {word}."
    if verify.attacks:
        ended = Counter(attack.status for attack in verify.attacks)
        skipped = f", {ended['skipped']} not carried out" if ended["skipped"] else ""
        through = _count(ended["leak"], "attack")
        got = f"{through} got through, {ended['blocked']} did not" if ended["leak"] else ""
        yield f"{got or _count(ended['blocked'], 'attack') + ' tried, none got through'}{skipped}."


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
