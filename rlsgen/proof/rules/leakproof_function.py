"""Somebody marked a function LEAKPROOF.

Postgres runs leakproof functions on rows before the policies have filtered them, and lets them read statistics of all
rows. One that shows its argument, in an error, a log or by its time, shows it for rows of other organisations.
Those that Postgres came with so are left out.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.identifiers import Sql, fill
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject
from rlsgen.provision.resolve import OWN_SCHEMAS

RULE = Rule.described("leakproof-function", Severity.warning, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each function."""
    for function in subject.catalog.functions:
        if function.leakproof and function.name.schema not in OWN_SCHEMAS:
            sql = fill("ALTER ROUTINE {}({}) NOT LEAKPROOF", function.name.sql, Sql(function.arguments))
            message = "it is marked LEAKPROOF: Postgres runs it on rows that policies have not filtered yet"
            remedy = "take the mark off, unless it provably tells nothing about its arguments"
            yield RULE.finding(f"function {function.name}({function.arguments})", message, remedy, sql=sql)
