"""A SECURITY DEFINER function has no pinned search_path, or one that finds temporary objects first.

Names in it mean what the caller's search_path says: whoever may create a function, operator or temporary table puts
his own in front, and it runs with the owner's rights. A pinned path that does not name `pg_temp` looks there first,
for tables and types. A path that is not pinned is an error where conversations may call the function, or a trigger
calls it for them.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.catalog.model import Function
from rlsgen.identifiers import Sql, fill, identifier
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.rules.definer_function import reachable_definers
from rlsgen.proof.subject import Subject
from rlsgen.provision.resolve import OWN_SCHEMAS

RULE = Rule.described("search-path", Severity.error, __doc__)


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each function. (rlsgen's own: context-function.)"""
    reachable = {id(function) for function in reachable_definers(subject)}
    called = {hook.function for hook in subject.catalog.hooks if hook.relation in _written(subject)}
    for function in subject.catalog.functions:
        fault, severities = _fault(function)
        if not fault or not function.definer or function.extension or function.name.schema in OWN_SCHEMAS:
            continue
        shown = f"{function.name}({function.arguments})"
        grave = id(function) in reachable or shown in called
        target = fill("ROUTINE {}({})", function.name.sql, Sql(function.arguments))
        yield RULE.finding(
            f"function {shown}",
            f"it runs with its owner's rights, and {fault}",
            "pin the path, with pg_temp last, and qualify names of other schemas in the body",
            sql=fill("ALTER {} SET search_path = pg_catalog, {}, pg_temp", target, identifier(function.name.schema)),
            severity=severities[0 if grave else 1],
        )


def _written(subject: Subject) -> set[object]:
    return {table.name for table in subject.scoped if len(table.spec.allow) > 1}


def _fault(function: Function) -> tuple[str, tuple[Severity, Severity]]:
    """What is wrong, and how bad that is where conversations reach the function, and where they do not."""
    unpinned = (Severity.error, Severity.warning)
    path = next((each.partition("=")[2] for each in function.config if each.startswith("search_path=")), None)
    if path is None:
        return "its search_path is not pinned: names in it mean what the caller wants", unpinned
    words = [word.strip().strip('"') for word in path.split(",")]
    if "$user" in words:
        return "its search_path depends on the user", unpinned
    if words[-1] != "pg_temp":
        shadowed = (Severity.warning, Severity.notice)
        return "its search_path does not end in pg_temp: temporary tables and types of the caller come first", shadowed
    return "", unpinned
