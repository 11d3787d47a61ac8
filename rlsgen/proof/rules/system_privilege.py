"""Everybody may use a function or relation of Postgres' own that was kept from everybody.

Functions that read the server's files, see other sessions' memory or end them, and catalogs that hold passwords or
statistics of all rows, are for administrators. Somebody granted them to PUBLIC, and so to conversations.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.identifiers import Sql, fill
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject

RULE = Rule.described("system-privilege", Severity.error, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each object and privilege."""
    for each in subject.catalog.system_privileges:
        # The object is spelled as Postgres spells it, which quotes it.
        kind = Sql("FUNCTION" if each.kind == "function" else "TABLE")
        sql = fill("REVOKE {} ON {} {} FROM PUBLIC", Sql(each.privilege), kind, Sql(each.object))
        message = f"everybody holds {each.privilege} on it, which Postgres keeps for administrators"
        remedy = "grant it to the roles that need it, and revoke it from PUBLIC"
        yield RULE.finding(f"{each.kind} {each.object}", message, remedy, sql=sql)
