"""A policy of somebody else stands on a scoped table.

Restrictive policies of rlsgen's hold it back, as long as they are there: before PostgreSQL 18.7 and 15.20 a
conversation can drop them itself (`DROP OWNED BY CURRENT_USER`), and a permissive policy that names the conversation
role or PUBLIC then opens the table. Where the spec says `existing: keep`, such a permissive policy is a warning. A
restrictive one, or one for other roles, is none then; otherwise it is a warning, since apply refuses to go on until
the spec says what becomes of it.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.catalog.model import Policy
from rlsgen.identifiers import display
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject
from rlsgen.provision.policies import drop_policy
from rlsgen.provision.resolve import Table, others_policies
from rlsgen.provision.tables import policy_label

RULE = Rule.described("foreign-policy", Severity.error, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each policy, those that are named like rlsgen's and are not included."""
    for table in subject.scoped:
        for policy in others_policies(table):
            yield from _of(subject, table, policy)
    for state in subject.policies:
        if state.desired is None and state.live is not None and not state.spec_changed:
            opens = _opens(subject, state.live)
            yield RULE.finding(
                state.table.name,
                f"policy {display(state.name)} is named like rlsgen's, which never made it"
                + (f": it shows rows {_where(state.live)}" if opens else ""),
                "rlsgen apply drops it; find out who made it",
                steps=[state.step],
                position=state.table.spec.position,
            )


def _of(subject: Subject, table: Table, policy: Policy) -> Iterator[Finding]:
    opens, kept = _opens(subject, policy), table.spec.existing == "keep"
    if kept and not opens:
        return
    who = "PUBLIC" if "" in policy.roles else ", ".join(map(display, policy.roles))
    if opens:
        message = (
            f"the permissive policy {display(policy.name)} of somebody else, for {who}, shows rows {_where(policy)};"
            " only rlsgen's restrictive policies hold it back"
        )
    else:
        message = f"policy {display(policy.name)} of somebody else, for {who}, stops apply until the spec says about it"
    label = policy_label(policy.name, table.name)
    yield RULE.finding(
        table.name,
        message,
        "drop it, or let it name the roles that it is for" + ("" if kept else "; or say `existing:` in the spec"),
        sql=drop_policy(table.name, policy.name),
        steps=[step for step in subject.steps_of(table.name) if step.object == label],
        position=table.spec.position,
        severity=Severity.error if opens and not kept else Severity.warning,
    )


def _opens(subject: Subject, policy: Policy) -> bool:
    return policy.permissive and bool({"", subject.conversation} & set(policy.roles))


def _where(policy: Policy) -> str:
    condition = policy.using or policy.check
    return f"where {condition}" if condition else "of all organisations"
