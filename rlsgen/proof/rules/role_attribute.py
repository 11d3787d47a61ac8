"""The conversation role has an attribute that it must not have.

SUPERUSER and BYPASSRLS: row security does not apply to it. REPLICATION: it reads everything as it is written.
CREATEROLE and CREATEDB: it makes itself what it is not. And without LOGIN no conversation can start.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.identifiers import Sql, fill, identifier
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject

RULE = Rule.described("role-attribute", Severity.error, __doc__)
_DANGERS = {
    "SUPERUSER": "row security and privileges do not apply to it: conversations read and write everything",
    "BYPASSRLS": "row security does not apply to it: conversations read all organisations' rows",
    "REPLICATION": "it can read everything that is written, of all databases of the cluster",
    "CREATEROLE": "it can make roles and grant itself what they have",
    "CREATEDB": "it can make databases, in which it owns everything",
}


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each attribute."""
    role = subject.catalog.roles.get(subject.conversation)
    if role is None:
        return
    held = {
        "SUPERUSER": role.superuser,
        "BYPASSRLS": role.bypass_rls,
        "REPLICATION": role.replication,
        "CREATEROLE": role.create_role,
        "CREATEDB": role.create_db,
    }
    place, who = subject.place("roles.conversation"), identifier(role.name)
    for attribute, danger in _DANGERS.items():
        if held[attribute]:
            sql = fill("ALTER ROLE {} {}", who, Sql(f"NO{attribute}"))
            message = f"it has {attribute}: {danger}"
            yield RULE.finding(subject.role, message, f"an administrator can run: {sql}", sql=sql, position=place)
    if not role.login:
        sql = fill("ALTER ROLE {} LOGIN", who)
        message = "it cannot log in, so that no conversation can start"
        yield RULE.finding(subject.role, message, f"an administrator can run: {sql}", sql=sql, position=place)
