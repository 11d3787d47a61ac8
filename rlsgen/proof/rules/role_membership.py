"""The conversation role is a member of another role.

What that role may do, it may do too, or may after `SET ROLE`; and so on, through every role that that one is a member
of. The finding follows the memberships to what is worst: a superuser, BYPASSRLS, an owner of scoped tables,
`pg_read_all_data`.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.catalog.model import Role
from rlsgen.identifiers import display, fill, identifier
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject

RULE = Rule.described("role-membership", Severity.error, __doc__)
_PREDEFINED = {
    "pg_read_all_data": "reads every table",
    "pg_write_all_data": "writes to every table",
    "pg_read_server_files": "reads the server's files",
    "pg_write_server_files": "writes to the server's files",
    "pg_execute_server_program": "runs programs on the server",
    "pg_monitor": "sees other sessions' statements and statistics",
    "pg_read_all_stats": "sees other sessions' statements and statistics",
    "pg_stat_scan_tables": "may lock tables by looking at them",
    "pg_signal_backend": "ends other sessions",
    "pg_maintain": "may lock, vacuum and refresh every table",
}


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each role that it is a member of."""
    for membership in subject.catalog.memberships:
        if membership.member == subject.conversation:
            path, danger = _worst(subject, membership.role)
            shown = ", which is a member of ".join(map(display, path))
            sql = fill("REVOKE {} FROM {}", identifier(membership.role), identifier(subject.conversation))
            yield RULE.finding(
                subject.role,
                f"it is a member of {shown}{f', which {danger}' if danger else ''}",
                f"an administrator can run: {sql}",
                sql=sql,
                position=subject.place("roles.conversation"),
            )


def _worst(subject: Subject, first: str) -> tuple[list[str], str]:
    """The shortest way from a role to one that is dangerous by itself, and why it is; or only that role."""
    owners = {table.relation.owner for table in subject.scoped}
    ways, seen = [[first]], {first}
    while ways:
        way = ways.pop(0)
        role = subject.catalog.roles.get(way[-1])
        danger = _danger(role, owners) if role is not None else ""
        if danger:
            return way, danger
        for each in subject.catalog.memberships:
            if each.member == way[-1] and each.role not in seen:
                seen.add(each.role)
                ways.append([*way, each.role])
    return [first], ""


def _danger(role: Role, owners: set[str]) -> str:
    if role.superuser:
        return "is a superuser"
    if role.bypass_rls:
        return "has BYPASSRLS"
    if role.name in owners:
        return "owns scoped tables, and row security does not apply to owners"
    return _PREDEFINED.get(role.name, "")
