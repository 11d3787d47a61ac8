"""The conversation role may create objects: in a schema, in the database, or temporary ones.

What it creates it owns, and may put in front of what others use: a table, function or operator of the same name,
where somebody's `search_path` finds it first. It fills the disk, too. New databases let everybody create temporary
objects; databases from before PostgreSQL 15 let everybody create in `public`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rlsgen.catalog.model import Dependency
from rlsgen.identifiers import Sql, display, fill, identifier
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject
from rlsgen.provision.grants import public
from rlsgen.provision.plan import Step

RULE = Rule.described("create-privilege", Severity.error, __doc__)
_ON_DATABASE = {"TEMPORARY": "temporary objects", "CREATE": "schemas"}


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each database privilege and schema, and holder."""
    catalog, steps = subject.catalog, {step.object: step for step in subject.differ.surplus.public_steps()}
    database = f"database {display(catalog.database)}"
    for privilege, what in _ON_DATABASE.items():
        if privilege in public(catalog.database_grants):
            step = steps.get(f"{privilege} on database {catalog.database} from PUBLIC")
            target = fill("DATABASE {}", identifier(catalog.database))
            yield _finding(database, f"everybody may create {what}", privilege, target, step)
    for schema in catalog.schemas.values():
        if "CREATE" in public(schema.grants):
            step = steps.get(f"CREATE on schema {schema.name} from PUBLIC")
            target = fill("SCHEMA {}", identifier(schema.name))
            yield _finding(f"schema {display(schema.name)}", "everybody may create objects", "CREATE", target, step)
    for dependency, revokes in subject.differ.surplus.others():
        if may_create(dependency, revokes):
            message = f"{subject.role} may create objects in it"
            remedy = "rlsgen apply revokes it; find out who granted it"
            yield RULE.finding(dependency.object, message, remedy, steps=revokes)


def may_create(dependency: Dependency, revokes: Iterable[Step]) -> bool:
    """Whether what the role was granted on a schema or database lets it create something there."""
    words = {word for step in revokes for word in step.object.partition(" on ")[0].replace(",", "").split()}
    return dependency.type in ("schema", "database") and not words.isdisjoint(_ON_DATABASE)


def _finding(what: str, message: str, privilege: str, target: Sql, step: Step | None) -> Finding:
    sql = fill("REVOKE {} ON {} FROM PUBLIC", Sql(privilege), target)
    remedy = "rlsgen apply --allow PUBLIC_REVOKE revokes it, and grants it to the unrestricted roles"
    return RULE.finding(what, message, remedy, sql="" if step else sql, steps=[step] if step else [])
