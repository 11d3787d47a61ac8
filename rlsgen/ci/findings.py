"""What a run found as findings, so that annotations, SARIF and JUnit show it as they show lint's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from rlsgen.ci.changes import Access, Change, Direction
from rlsgen.ci.migrations import MigrationError
from rlsgen.errors import HazardRefused, RlsgenError, SpecError
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import listed
from rlsgen.provision.plan import Plan
from rlsgen.provision.policies import UNRESTRICTED

MISFIT = Rule("ci-spec", Severity.error, "The spec is not valid, or does not fit what the migrations make.", "")
MIGRATION = Rule("ci-migration", Severity.error, "The migrations do not run on an empty database.", "")
BEHIND = Rule("ci-behind", Severity.error, "The migrations carry policies, and not those of the spec.", "")
HAZARD = Rule("ci-hazard", Severity.error, "Applying the spec has a hazard that nobody allowed.", "")
FAILED = Rule("ci-failed", Severity.error, "A step could not be done.", "")
WIDENED = Rule(
    "access-widened",
    Severity.error,
    "Somebody can read or write more than before.",
    "The spec of this change is compared with the spec that holds now. What is wider, and what is different and cannot"
    " be shown to be narrower, should be looked at by somebody who knows the customers' data. `--allow-widened` lets it"
    " through.",
)
NARROWED = Rule("access-narrowed", Severity.notice, "Somebody can read or write less than before.", "")
RULES = (MISFIT, MIGRATION, BEHIND, HAZARD, FAILED, WIDENED, NARROWED)


def of_error(error: RlsgenError, step: str, after: str = "") -> Iterator[Finding]:
    """The findings of a step that failed; `after` says what the migrations led to."""
    match error:
        case SpecError():
            for problem in error.problems:
                remedy = problem.hint or "change the spec"
                if after and "does not exist" in problem.message:
                    remedy += f"; this is after all migrations ({after}): does one of them belong into this change?"
                yield MISFIT.finding("spec", problem.message, remedy, position=problem.position)
        case MigrationError():
            yield MIGRATION.finding("migrations", error.message, error.hint, position=error.position)
        case HazardRefused():
            yield HAZARD.finding(step, error.message, f"if that is acceptable: {_allowing(error.hazards)}")
        case _:
            yield FAILED.finding(step, error.message, error.hint)


def behind(plan: Plan, after: str) -> Iterator[Finding]:
    """Of migrations that carry policies: what of the spec they do not make."""
    # Rights on the database itself name it, and this one has another name than the one that was meant.
    own = (step.object for step in plan.steps if " on database " not in step.object)
    if objects := list(dict.fromkeys(own)):
        message = f"the migrations ({after}) carry policies, and not what the spec says: {listed(objects)} would change"
        remedy = "add a migration that does what rlsgen plan shows after the others"
        if any(UNRESTRICTED in each for each in objects):
            remedy += (
                "; or, if they were made where the roles are not as here (all unrestricted roles but the first have"
                " BYPASSRLS here): make the roles as they are there, with a file for --setup"
            )
        yield BEHIND.finding("migrations", message, remedy)


def _allowing(hazards: tuple[str, ...]) -> str:
    return " ".join(f"--allow {name}" for name in hazards)


def of_access(access: Access, *, allowed: bool) -> Iterator[Finding]:
    """Each change that opens something or takes something away."""
    for each in access.changes:
        if each.direction is Direction.unchanged:
            continue
        rule = WIDENED if each.direction.opens else NARROWED
        remedy = "--allow-widened lets it through" if each.direction.opens else "nothing, if it is meant"
        finding = rule.finding(each.object, f"{each.role}: {said(each)}", remedy, position=each.position)
        yield replace(finding, severity=Severity.notice) if allowed else finding


def said(change: Change) -> str:
    """A change in one sentence, with what was and what is."""
    if not change.before and not change.after:
        return change.message
    return f"{change.message}; before: {change.before or 'nothing'}; now: {change.after or 'nothing'}"
