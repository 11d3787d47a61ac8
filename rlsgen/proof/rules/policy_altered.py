"""A policy is not as rlsgen made it.

Compared is what Postgres shows of it now with what it showed right after the last apply: regrouped parentheses and
changed casts count, other spellings of the same do not. The finding shows both, and says what that means where it is
plain: always true, another command, other roles, permissive instead of restrictive.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from rlsgen.catalog.model import Policy
from rlsgen.identifiers import display
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import PolicyState, Subject
from rlsgen.provision.policies import live_text, recorded_policy

RULE = Rule.described("policy-altered", Severity.error, __doc__)
_TRUE = ("true", "(true)")


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each policy."""
    for state in subject.policies:
        if state.live is None or state.desired is None:
            continue
        altered = state.entry is None or state.entry.live != live_text(state.live)
        if altered and _calls_another(state, state.live):
            continue  # filter-function
        if altered or not state.spec_changed:
            yield RULE.finding(
                state.table.name,
                f"policy {display(state.name)} {_difference(state, state.live)}",
                "rlsgen apply makes it again; find out who altered it",
                steps=[state.step],
                position=state.table.spec.position,
            )


def _calls_another(state: PolicyState, live: Policy) -> bool:
    """Whether it is as it was made, and a function that it calls is not."""
    before = recorded_policy(state.name, state.entry.live) if state.entry is not None else None
    return before is not None and replace(before, calls=live.calls) == live


def _difference(state: PolicyState, live: Policy) -> str:
    before = recorded_policy(state.name, state.entry.live) if state.entry is not None else None
    if before is None:
        shown = _expressions(live)
        return f"is not in rlsgen's record, so that nobody can say what it was made as; it says {shown}"
    changes = list(_changes(before, live))
    return "; ".join(changes) if changes else "is not what rlsgen's record says that was asked for"


def _changes(before: Policy, live: Policy) -> Iterator[str]:
    if before.permissive != live.permissive:
        yield (
            "is permissive, no longer restrictive: it adds rows instead of holding others' policies back"
            if live.permissive
            else "is restrictive, no longer permissive: it lets nothing through by itself"
        )
    if before.command != live.command:
        yield f"holds for {live.command}, no longer for {before.command}"
    if before.roles != live.roles:
        yield f"holds for {_roles(live)}, no longer for {_roles(before)}"
    for clause, old, new in (("USING", before.using, live.using), ("WITH CHECK", before.check, live.check)):
        if old != new:
            yield f"says {clause} {new or 'nothing'}, and was made as {old or 'nothing'}{_meaning(old, new)}"


def _meaning(old: str | None, new: str | None) -> str:
    if new in _TRUE or new is None:
        return ": every row passes"
    if old is not None and _letters(old) == _letters(new):
        return ": its parts are grouped otherwise"
    return ""


def _letters(text: str) -> str:
    return "".join(each for each in text if each not in "() \n\t")


def _roles(policy: Policy) -> str:
    return ", ".join(display(role) if role else "PUBLIC" for role in policy.roles)


def _expressions(live: Policy) -> str:
    parts = [f"USING {live.using}" if live.using else "", f"WITH CHECK {live.check}" if live.check else ""]
    return ", ".join(part for part in parts if part) or "nothing"
