"""A function of the sealed context, or of a path, is not as rlsgen made it.

The setter decides which tokens are taken, the accessors what every policy believes about the user, path functions
whose rows a table without a tenant column shows. Replaced, stripped of their pinned `search_path`, or executable for
others, each of them undoes the isolation of everything that uses it.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.catalog.model import Function
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject
from rlsgen.provision.plan import Step

RULE = Rule.described("context-function", Severity.error, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each step that would mend a function."""
    functions = {f"function {each.name}({each.arguments})": each for each in subject.catalog.functions}
    told = {step.sql for step in subject.new_functions}
    for step in _steps(subject):
        if step.action != "grant" and step.sql not in told:
            label = step.object.partition(" on ")[2].partition(" from ")[0] if step.action == "revoke" else step.object
            shown = label.removeprefix("function ")
            live = functions.get(f"function {shown}")
            yield RULE.finding(
                label,
                _message(step, live),
                "rlsgen apply puts it right; find out who changed it",
                steps=[step],
            )


def _steps(subject: Subject) -> Iterator[Step]:
    # What says that all is done is told elsewhere as long as not all is done.
    mark = None if subject.newer else subject.differences.provision
    for transaction in (subject.differences.functions, mark, subject.differences.retired):
        for step in transaction.steps if transaction else ():
            if "fingerprint of the provision" not in step.object:
                yield step


def _message(step: Step, live: Function | None) -> str:
    if step.action == "revoke":
        return f"more roles use it than must: {step.object}"
    if step.action == "drop":
        return "no policy uses it, and it is still there"
    if live is None:
        return "it is missing: whatever calls it fails"
    faults = []
    if "SECURITY DEFINER" in step.sql and not live.definer:
        faults.append("it no longer runs with its owner's rights")
    if not any(setting.startswith("search_path=") for setting in live.config):
        faults.append("its search_path is not pinned, so that whoever may create objects can put his own in front")
    return f"it is not what rlsgen made{': ' if faults else ''}{' and '.join(faults)}"
