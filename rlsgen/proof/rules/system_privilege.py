"""Something of Postgres' own, kept from everybody when it was made, was granted to everybody.

Functions that read the server's files, see other sessions' memory or end them, and catalogs that hold passwords or
statistics of all rows, are for administrators. Parameters that only they may set switch triggers off or open large
objects; what somebody makes in pg_catalog or information_schema, everybody finds. System columns (ctid, tableoid) of a
table count its rows, hidden or not, for whoever was granted one by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rlsgen.identifiers import Sql, fill, identifier
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject

RULE = Rule.described("system-privilege", Severity.error, __doc__)
_KEYWORDS: Mapping[str, Sql] = {
    "function": Sql("ROUTINE"),
    "relation": Sql("TABLE"),
    "schema": Sql("SCHEMA"),
    "parameter": Sql("PARAMETER"),
    "foreign-data wrapper": Sql("FOREIGN DATA WRAPPER"),
    "foreign server": Sql("FOREIGN SERVER"),
}


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each object, privilege and holder."""
    for each in subject.catalog.system_privileges:
        # The object is spelled as Postgres spells it, which quotes it; so is a column in the privilege.
        grantee = Sql("PUBLIC") if each.everybody else identifier(subject.conversation)
        target = fill("{} {}", _KEYWORDS[each.kind], Sql(each.object))
        sql = fill("REVOKE {} ON {} FROM {}", Sql(each.privilege), target, grantee)
        who = "everybody" if each.everybody else subject.role
        message = f"{who} holds {each.privilege} on it, which Postgres keeps for administrators and owners"
        remedy = "grant it to the roles that need it, and revoke it from everybody else"
        yield RULE.finding(f"{each.kind} {each.object}", message, remedy, sql=sql)
