"""A run in Markdown for a pull request, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rlsgen.ci.changes import Access, Change, Direction
from rlsgen.ci.run import Result, Verdict
from rlsgen.proof.finding import Finding
from rlsgen.proof.formats import finding_document
from rlsgen.proof.report.markdown import code, text

MOST = 200
"""Rows of a table, and findings. GitHub shows a summary of at most 1 MiB:
https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands#step-isolation-and-limits"""

WIDEST = 400
"""Characters of a filter in a table, and of a message."""

_HEADLINES: dict[Verdict, str] = {
    "fine": "Isolation holds",
    "failed": "This change does not work",
    "findings": "This change has findings",
    "hazard": "Applying this change has a hazard that nobody allowed",
}
_MARKS = {"fine": "✅", "findings": "❌", "failed": "❌", "skipped": "➖"}
_ARROWS = {
    Direction.widened: "⚠️ **widened**",
    Direction.changed: "⚠️ **changed**, not shown to be narrower",
    Direction.narrowed: "narrowed",
    Direction.unchanged: "unchanged",
}


def to_markdown(result: Result) -> str:
    """GitHub-flavoured Markdown. Names can forge neither markup nor mentions."""
    lines = [f"## rlsgen: {_headline(result)}", ""]
    if result.access is not None:
        lines += _access(result.access)
    lines += _steps(result)
    if result.hazards:
        names = " ".join(f"--allow {name}" for name in result.hazards)
        lines += ["", f"The deployment’s apply has to allow: {code(names)}"]
    lines += _findings(result.findings)
    return "\n".join(lines) + "\n"


def _headline(result: Result) -> str:
    access = result.access
    if access is None:
        return _HEADLINES[result.verdict]
    if access.opens:
        wider = access.count(Direction.widened) + access.count(Direction.changed)
        told = f"access is **wider** in {wider} place{'' if wider == 1 else 's'}"
    elif access.count(Direction.narrowed):
        told = "access is narrower"
    else:
        told = "access is unchanged"
    return f"{_HEADLINES[result.verdict]}; {told}"


def _access(access: Access) -> Iterator[str]:
    yield "### Who can read what"
    yield ""
    base = f"Compared with {code(access.base)}" if access.base else "There was no spec before"
    counts = ", ".join(f"{access.count(each)} {each}" for each in Direction)
    yield f"{base}: {counts}."
    groups = list(access.groups().values())
    rows = [_row(each) for group in groups for each in group if each.direction is not Direction.unchanged]
    if rows:
        yield ""
        yield "| Role | What | Access | Change | Before | Now |"
        yield "|---|---|---|---|---|---|"
        yield from rows[:MOST]
        yield from _more(rows)
    same = sorted({each.object for group in groups for each in group if each.direction is Direction.unchanged})
    if same:
        yield ""
        told = ", ".join(map(code, same[:MOST])) + (f" and {len(same) - MOST} more" if len(same) > MOST else "")
        yield f"<details><summary>Unchanged: {len(same)}</summary>\n\n{told}\n\n</details>"
    yield ""


def _row(each: Change) -> str:
    cells = (
        code(each.role), code(each.object), text(each.aspect), f"{_ARROWS[each.direction]}: {text(each.message)}",
        code(_short(each.before)) or "–", code(_short(each.after)) or "–",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _short(shown: str) -> str:
    return shown if len(shown) <= WIDEST else f"{shown[:WIDEST]}…"


def _more(rows: Sequence[object]) -> Iterator[str]:
    if len(rows) > MOST:
        yield ""
        yield f"… and {len(rows) - MOST} more."


def _steps(result: Result) -> Iterator[str]:
    yield "| | Step | | |"
    yield "|---|---|---|---|"
    for step in result.steps.values():
        seconds = f"{step.seconds:.1f} s" if step.status != "skipped" else ""
        yield f"| {_MARKS[step.status]} | {step.title} | {text(step.detail)} | {seconds} |"


def _findings(findings: Sequence[Finding]) -> Iterator[str]:
    told = [each for each in findings if not each.rule.startswith("access-")]  # those are in the table above
    if not told:
        return
    yield ""
    yield "### Findings"
    yield ""
    for each in told[:MOST]:
        place = f" ({code(str(each.position))})" if each.position else ""
        yield f"- **{each.severity}** {code(each.object)}, {each.rule}{place}: {text(_short(each.message))}"
        if each.remedy:
            yield f"  To do: {text(each.remedy)}"
    yield from _more(told)


def document(result: Result) -> dict[str, object]:
    """For machines."""
    access = result.access
    return {
        "result": result.verdict,
        "steps": [
            {"step": each.name, "status": each.status, "detail": each.detail, "seconds": round(each.seconds, 3)}
            for each in result.steps.values()
        ],
        "access": None if access is None else _access_document(access),
        "hazards": list(result.hazards),
        "findings": [finding_document(each) for each in result.findings],
        "verify": result.verified.summary if result.verified else None,
    }


def _access_document(access: Access) -> dict[str, object]:
    return {
        "base": access.base or None,
        "wider": access.opens,
        "summary": {str(each): access.count(each) for each in Direction},
        "changes": [
            {
                "role": each.role, "object": each.object, "aspect": each.aspect, "direction": str(each.direction),
                "message": each.message, "before": each.before, "after": each.after,
            }
            for group in access.groups().values()
            for each in group
        ],
    }  # fmt: skip
