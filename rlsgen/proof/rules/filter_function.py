"""A function of yours that a filter calls is not the one that it called when its policies were made.

Whoever may replace a function decides what the filter means. Recorded at each apply is a hash of the definition of
every function of users that a policy calls, also as an operator; not of what those call, nor of extensions' functions.
`verify` cannot see it: it computes what should be visible with the same function.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import PolicyState, Subject, listed
from rlsgen.provision.policies import recorded_policy

RULE = Rule.described("filter-function", Severity.error, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each table."""
    found: dict[str, list[tuple[PolicyState, list[str]]]] = {}
    for state in subject.policies:
        changed = list(_changed(state))
        if changed:
            found.setdefault(str(state.table.name), []).append((state, changed))
    for states in found.values():
        table = states[0][0].table
        names = sorted({name for _, changed in states for name in changed})
        yield RULE.finding(
            table.name,
            f"its policies call {listed(names)}, whose definition is not the one that they were made with",
            "read it; where it is right, rlsgen apply makes the policies again and records it as it is now",
            sql=";\n".join(state.step.record for state, _ in states if state.step.record),
            steps=[state.step for state, _ in states],
            position=table.spec.position,
        )


def _changed(state: PolicyState) -> Iterator[str]:
    before = recorded_policy(state.name, state.entry.live) if state.entry is not None else None
    if before is None or state.live is None or before.using != state.live.using or before.check != state.live.check:
        return
    was, now = _functions(before.calls), _functions(state.live.calls)
    yield from (name for name in {**was, **now} if was.get(name) != now.get(name))


def _functions(calls: str) -> Mapping[str, str]:
    found: Mapping[str, str] = json.loads(calls) if calls else {}
    return found
