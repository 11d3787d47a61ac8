"""Something in rlsgen's schemas belongs to another role than the rest.

`rlsgen apply` runs what is there, and conversations run it with its owner's rights: whoever owns it decides what it
does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rlsgen.identifiers import display
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject
from rlsgen.provision.resolve import OWN_SCHEMAS

RULE = Rule.described("foreign-owner", Severity.error, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each thing that belongs to somebody who is neither its majority's owner nor a superuser."""
    catalog = subject.catalog
    owned = [(f"schema {each.name}", each.owner) for each in catalog.schemas.values() if each.name in OWN_SCHEMAS]
    owned += [(str(each.name), each.owner) for each in catalog.relations.values() if each.name.schema in OWN_SCHEMAS]
    owned += [
        (f"function {each.name}({each.arguments})", each.owner)
        for each in catalog.functions
        if each.name.schema in OWN_SCHEMAS
    ]
    usual = Counter(owner for _, owner in owned).most_common(1)
    for what, owner in owned:
        role = catalog.roles.get(owner)
        if owner != usual[0][0] and not (role and role.superuser):
            message = f"it belongs to {display(owner)}, and the rest of rlsgen to {display(usual[0][0])}"
            yield RULE.finding(what, message, f"give it to {display(usual[0][0])}, or destroy and apply again")
