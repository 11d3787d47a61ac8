"""Conversations may execute a SECURITY DEFINER function of somebody else.

It runs with its owner's rights, to whom row security most often does not apply: whatever it returns or does, it does
for all organisations. EXECUTE is everybody's as soon as a function is made. A schema that conversations may not enter
does not keep it from them where something else leads to it: an operator, a cast, a view, an aggregate or another
function's SQL body, a default, a check.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.catalog.model import Function
from rlsgen.identifiers import Sql, display, fill, identifier
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject
from rlsgen.provision.resolve import OWN_SCHEMAS

RULE = Rule.described("definer-function", Severity.error, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each function."""
    by_public = {id(function): step for function, step in subject.differ.surplus.public_functions()}
    others = [(each.address.partition("(")[0], steps) for each, steps in subject.differ.surplus.others()]
    for function in reachable_definers(subject):
        steps = [by_public[id(function)]] if id(function) in by_public else []
        steps += [
            step for name, revokes in others if name in (str(function.name), function.name.sql) for step in revokes
        ]
        owner = subject.catalog.roles.get(function.owner)
        who = "a superuser" if owner and owner.superuser else display(function.owner)
        target = fill("ROUTINE {}({})", function.name.sql, Sql(function.arguments))
        yield RULE.finding(
            f"function {function.name}({function.arguments})",
            f"conversations may execute it, and it runs as {who}, for whom policies of conversations do not hold",
            "rlsgen apply --allow PUBLIC_REVOKE revokes EXECUTE; or let it be SECURITY INVOKER",
            sql="" if steps else fill("REVOKE EXECUTE ON {} FROM PUBLIC, {}", target, identifier(subject.conversation)),
            steps=steps,
        )


def reachable_definers(subject: Subject) -> Iterator[Function]:
    """SECURITY DEFINER functions, not rlsgen's own, that the conversation role may call."""
    ours = {(entry.relation, entry.name) for entry in subject.catalog.ledger if entry.kind == "function"}
    for function in subject.catalog.functions:
        own = (function.name, function.arguments) in ours or function.name.schema == OWN_SCHEMAS[1]
        entered = subject.enters(function.name.schema) or function.offered or function.name.schema == OWN_SCHEMAS[0]
        if function.definer and not own and entered and subject.holds(function.grants, "EXECUTE"):
            yield function
