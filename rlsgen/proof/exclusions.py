"""Findings that the spec accepts, told from those that it does not; and what is wrong with what it says about that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date

from rlsgen.proof.finding import Finding
from rlsgen.proof.rules import exclusion_expired, exclusion_unknown, exclusion_unused
from rlsgen.spec.model import Exclusion
from rlsgen.spec.validation import suggest

Accepted = list[tuple[Finding, Exclusion]]


def excluded(
    findings: Iterable[Finding], ignore: Sequence[Exclusion], known: list[str], today: date
) -> tuple[list[Finding], Accepted, list[Finding]]:
    """The findings that stay, those that are accepted, and findings about the exclusions themselves."""
    valid = [each for each in ignore if each.until is None or each.until >= today]
    kept: list[Finding] = []
    accepted: Accepted = []
    used: set[int] = set()
    for finding in findings:
        fitting = [each for each in valid if fits(each, finding)]
        used |= {id(each) for each in fitting}
        if fitting:
            accepted.append((finding, fitting[0]))
        else:
            kept.append(finding)
    return kept, accepted, list(_about(ignore, used, known, today))


def fits(exclusion: Exclusion, finding: Finding) -> bool:
    """Whether an exclusion is about a finding."""
    return exclusion.rule == finding.rule and (exclusion.object is None or _like(finding.object, exclusion.object))


def _like(text: str, pattern: str) -> bool:
    """Whether a text is what a pattern says, in which * stands for any characters."""
    first, *others = pattern.split("*")
    if not others:
        return text == pattern
    if not text.startswith(first):
        return False
    at = len(first)
    for part in others[:-1]:
        found = text.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return len(text) - at >= len(others[-1]) and text.endswith(others[-1])


def _about(ignore: Sequence[Exclusion], used: set[int], known: list[str], today: date) -> Iterator[Finding]:
    for each in ignore:
        shown = each.rule if each.object is None else f"{each.rule} of {each.object}"
        if each.rule not in known:
            remedy = suggest(each.rule, known, "rlsgen lint --rules shows all of them")
            message = f"there is no rule {each.rule}, so this excludes nothing"
            yield exclusion_unknown.RULE.finding(f"exclusion {shown}", message, remedy, position=each.position)
        elif each.until is not None and each.until < today:
            message = f"it held until {each.until} ({each.why})"
            remedy = "mend what it is about; or set a later day"
            yield exclusion_expired.RULE.finding(f"exclusion {shown}", message, remedy, position=each.position)
        elif id(each) not in used:
            remedy = "take it out"
            message = f"no finding fits it any more ({each.why})"
            yield exclusion_unused.RULE.finding(f"exclusion {shown}", message, remedy, position=each.position)
