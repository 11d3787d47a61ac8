"""docs/mutants.md: every mutant, and what lint and verify say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.proof.mutants.mutant import MUTANTS, Mutant
from tests.proof.mutants.prover import Caught

PAGE = Path(__file__).parents[3] / "docs" / "mutants.md"
_SHOWN = 3
_HEAD = """\
# What lint and verify say of broken databases

A prover that cannot fail proves nothing. A test (`tests/proof/mutants`) breaks each protection in turn, on a clone of
the provisioned sample shop or of the schema with every shape that real ones have, and runs `rlsgen lint` and `rlsgen
verify` on it. At least one of them must say what is broken: lint by a rule and an object, verify by a table or an
attack. On the unbroken databases neither says anything. `python -m tests.proof.mutants` writes this page, and the test
holds each line of it current.

Of {all} mutants, {both} are caught by both, {lint} by lint alone, {verify} by verify alone, and none by neither.

- *Lint alone*: what takes nothing away yet, because something else still holds (the restrictive policy is gone, and the
  permissive one filters); what no statement shows (a seal without the pid); or what verify was not asked to try (writes
  and attacks, unless they concern the mutant).
- *Verify alone*: where somebody changed a protection together with rlsgen's record of it. So lint does not replace
  verify, nor verify lint.

`fails` is where verify says that tenants no longer see what is theirs. All other names in its column are leaks: tables,
views, and attacks with the ring that they broke ([verify](verify.md)). Rules are in [lint](lint.md).

| mutant | what was done | lint | verify |
|---|---|---|---|
"""


def page(caught: Mapping[str, Caught]) -> str:
    """The whole page, of what was said of every mutant."""
    sides = [(bool(caught[each.id].lint), bool(caught[each.id].verify)) for each in MUTANTS]
    head = _HEAD.format(
        all=len(sides),
        both=sides.count((True, True)),
        lint=sides.count((True, False)),
        verify=sides.count((False, True)),
    )
    return head + "".join(f"{row(each, caught[each.id])}\n" for each in MUTANTS)


def row(mutant: Mutant, caught: Caught) -> str:
    """One line of the table."""
    failed = [each.removeprefix("failed ") for each in caught.verify if each.startswith("failed ")]
    refuses = [each.removeprefix("refuses ") for each in caught.verify if each.startswith("refuses ")]
    leaks = [each for each in caught.verify if not each.startswith(("failed ", "refuses "))]
    parts = [
        _listed(leaks),
        f"fails: {_listed(failed)}" if failed else "",
        f"refuses to run: {_cell(refuses[0])}" if refuses else "",
    ]
    said = "; ".join(part for part in parts if part) or "–"
    return f"| {_cell(mutant.id)} | {_cell(mutant.what)} | {_listed(caught.lint) or '–'} | {said} |"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(_cell(name) for name in names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _cell(text: str) -> str:
    return text.replace("\n", " ").replace("|", "\\|").replace("<", "&lt;")
