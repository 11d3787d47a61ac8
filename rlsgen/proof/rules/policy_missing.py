"""A policy that rlsgen made is gone.

A restrictive one: whatever permissive policy anybody adds then opens the table for that command. A permissive one:
conversations see no rows, without an error. The one for unrestricted roles: those roles see no rows.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.identifiers import display
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import PolicyState, Subject, listed

RULE = Rule.described("policy-missing", Severity.error, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each policy."""
    for state in subject.policies:
        if state.live is None and not state.spec_changed:
            yield RULE.finding(
                state.table.name,
                f"policy {display(state.name)} is gone: {_danger(state)}",
                "rlsgen apply makes it again; find out who dropped it",
                steps=[state.step],
                position=state.table.spec.position,
            )


def _danger(state: PolicyState) -> str:
    policy = state.desired
    assert policy is not None  # noqa: S101  (there is a step that makes it)
    if policy.permissive and policy.command == "ALL":
        return f"{listed([display(role) for role in policy.roles])} no longer sees its rows"
    if policy.permissive:
        return f"conversations may no longer {policy.command} any row, and are told nothing of it"
    others = [
        each.name
        for each in state.table.relation.policies
        if each.permissive and each.command in ("ALL", policy.command)
    ]
    open_now = [display(name) for name in others if not name.startswith("rlsgen_")]
    if open_now:
        return f"{policy.command} is open as far as the permissive policy {listed(open_now)} says"
    return f"any permissive policy that somebody adds opens {policy.command} for conversations"
