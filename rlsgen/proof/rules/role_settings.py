"""The conversation role has settings of its own (ALTER ROLE … SET).

They are in force before the first statement of every session, whoever set them: in a transaction that may write, the
role itself can. `local_preload_libraries` or `statement_timeout` break every later login, `search_path` and its kin
change what text means.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.identifiers import fill, identifier
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject, listed

RULE = Rule.described("role-settings", Severity.error, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for all of them."""
    role = subject.catalog.roles.get(subject.conversation)
    if role is not None and role.settings:
        who, database = identifier(role.name), identifier(subject.catalog.database)
        sql = fill("ALTER ROLE {0} RESET ALL;\nALTER ROLE {0} IN DATABASE {1} RESET ALL", who, database)
        message = f"it has settings of its own: {listed(list(role.settings))}"
        yield RULE.finding(
            subject.role,
            message,
            "an administrator can reset them",
            sql=sql,
            position=subject.place("roles.conversation"),
        )
