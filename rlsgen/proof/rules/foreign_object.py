"""Somebody put something of his own into rlsgen's schemas.

A trigger or a rule on the key tables copies keys, or undoes what retires them; on the ledger, it decides what counts as
unchanged. A function beside the setter, with its name and other argument types, gets the tokens of drivers that
send another type of text.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.identifiers import Sql, display, fill, identifier
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject
from rlsgen.provision.resolve import OWN_SCHEMAS

RULE = Rule.described("foreign-object", Severity.error, __doc__)
_REMEDY = "look at what it does and who made it, then drop it"


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each trigger and rule on rlsgen's tables, and each function that shares a name of rlsgen's."""
    for hook in subject.catalog.hooks:
        if hook.relation.schema in OWN_SCHEMAS:
            kind = "trigger" if hook.function else "rule"
            does = f"calls {hook.function}" if hook.function else "runs"
            yield RULE.finding(
                f"{kind} {display(hook.name)} on {hook.relation}",
                f"it {does} whenever somebody writes to this table of rlsgen's, which has none of its own",
                _REMEDY,
                sql=fill("DROP {} {} ON {}", Sql(kind.upper()), identifier(hook.name), hook.relation.sql),
            )
    recorded = {(entry.relation, entry.name) for entry in subject.catalog.ledger if entry.kind == "function"}
    names = {name for name, _ in recorded}
    for function in subject.catalog.functions:
        if function.name in names and (function.name, function.arguments) not in recorded:
            yield RULE.finding(
                f"function {function.name}({function.arguments})",
                "it has the name of one of rlsgen's, and is called instead where its argument types fit better",
                _REMEDY,
                sql=fill("DROP ROUTINE {}({})", function.name.sql, Sql(function.arguments)),
            )
