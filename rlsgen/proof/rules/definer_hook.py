"""Something runs with its owner's rights whenever conversations write to a table.

Triggers whose function is SECURITY DEFINER, and rules (CREATE RULE), are not asked whether the conversation may
execute them. What they read and write is not under its policies.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.identifiers import display
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject

RULE = Rule.described("definer-hook", Severity.warning, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each trigger or rule on a table that conversations write to."""
    written = {table.name: table for table in subject.scoped if len(table.spec.allow) > 1}
    for hook in subject.catalog.hooks:
        table = written.get(hook.relation)
        if table is not None and hook.definer:
            what = (
                f"trigger {display(hook.name)} calls {hook.function}" if hook.function else f"rule {display(hook.name)}"
            )
            message = f"{what}, which runs as {display(hook.owner)} when conversations write"
            remedy = "let it run with the rights of whoever writes, or look at what it does with rows of others"
            yield RULE.finding(hook.relation, message, remedy, position=table.spec.position)
