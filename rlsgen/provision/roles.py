"""The roles of a spec against the cluster's: a conversation role that is nobody else, owners that can be acted for."""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.catalog.model import Catalog
from rlsgen.errors import Position, Problem
from rlsgen.identifiers import Sql, display, fill, identifier
from rlsgen.provision.policies import privileges_of
from rlsgen.provision.resolve import OWN_SCHEMAS, Resolved, suggestion
from rlsgen.spec.model import Spec


def role_problems(spec: Spec, catalog: Catalog) -> Iterator[Problem]:
    """Roles that are missing, and everything that makes a conversation role more than it must be."""
    yield from named_problems(spec, catalog)
    if spec.conversation in catalog.roles:
        yield from _conversation(spec.conversation, catalog, spec.positions.get("roles.conversation"))


def named_problems(spec: Spec, catalog: Catalog) -> Iterator[Problem]:
    """Roles that are missing, or that are not what the database was provisioned for."""
    places = spec.positions
    conversation = spec.conversation
    if conversation not in catalog.roles:
        create = fill("CREATE ROLE {} LOGIN", identifier(conversation))
        hint = suggestion(conversation, list(catalog.roles)) or f"an administrator can run: {create}"
        yield Problem(f"role {display(conversation)} does not exist", places.get("roles.conversation"), hint)
    former = provisioned_role(catalog, conversation)
    if former is not None:
        message = f"this database is provisioned for {display(former)}, whose privileges nobody would take back"
        hint = f"run rlsgen destroy with the spec that names {display(former)}, then apply this one"
        yield Problem(message, places.get("roles.conversation"), hint)
    for number, name in enumerate(spec.unrestricted):
        place = places.get(f"roles.unrestricted.{number}", places.get("roles.unrestricted"))
        if name not in catalog.roles:
            hint = suggestion(name, list(catalog.roles)) or "create it, or take it out"
            yield Problem(f"role {display(name)} does not exist", place, hint)
        elif conversation in privileges_of(name, catalog):
            revoke = fill("REVOKE {} FROM {}", identifier(conversation), identifier(name))
            message = (
                f"unrestricted role {display(name)} inherits from {display(conversation)}: its policies would bind it"
            )
            yield Problem(message, place, f"an administrator can run: {revoke}")


def provisioned_role(catalog: Catalog, conversation: str) -> str | None:
    """The role that rlsgen's restrictive policies name, if none of them names `conversation`."""
    policies = (policy for relation in catalog.relations.values() for policy in relation.policies)
    named = {role for policy in policies if policy.name.startswith("rlsgen_only_") for role in policy.roles}
    return None if conversation in named else min(named - {""}, default=None)


def _conversation(name: str, catalog: Catalog, place: Position | None) -> Iterator[Problem]:
    role = catalog.roles[name]
    who = identifier(name)
    attributes = {
        "SUPERUSER": role.superuser,
        "BYPASSRLS": role.bypass_rls,
        "CREATEROLE": role.create_role,
        "CREATEDB": role.create_db,
        "REPLICATION": role.replication,
    }
    for attribute, held in attributes.items():
        if held:
            change = fill("ALTER ROLE {} {}", who, Sql(f"NO{attribute}"))
            yield Problem(
                f"conversation role {display(name)} has {attribute}", place, f"an administrator can run: {change}"
            )
    if not role.login:
        hint = f"an administrator can run: {fill('ALTER ROLE {} LOGIN', who)}"
        yield Problem(f"conversation role {display(name)} cannot log in", place, hint)
    if role.settings:
        hint = f"an administrator can run: {fill('ALTER ROLE {} RESET ALL', who)} (and IN DATABASE …)"
        names = ", ".join(setting.partition("=")[0] for setting in role.settings)
        yield Problem(f"conversation role {display(name)} has settings of its own: {names}", place, hint)
    for membership in catalog.memberships:
        if membership.member == name:
            revoke = fill("REVOKE {} FROM {}", identifier(membership.role), who)
            message = f"conversation role {display(name)} is a member of {display(membership.role)}"
            yield Problem(message, place, f"an administrator can run: {revoke}")
    owned = [dependency.object for dependency in catalog.dependencies if dependency.kind == "owner"]
    if owned:
        shown = ", ".join(owned[:3]) + ("…" if len(owned) > 3 else "")
        hint = f"give them another owner: {fill('REASSIGN OWNED BY {} TO …', who)}"
        yield Problem(f"conversation role {display(name)} owns {shown}", place, hint)


def premises_problems(catalog: Catalog) -> Iterator[Problem]:
    """Owners of rlsgen's schemas, or of something in them, whom the role that applies has no reason to trust.

    It runs the functions that are there and the SQL that the ledger keeps; their owner could have put anything there,
    before the first apply too.
    """
    me = display(catalog.current_user)
    mine = privileges_of(catalog.current_user, catalog)
    owned = [(each.name, each.owner, f"schema {each.name}") for each in catalog.schemas.values()]
    owned += [(each.name.schema, each.owner, str(each.name)) for each in catalog.relations.values()]
    owned += [(each.name.schema, each.owner, f"function {each.name}") for each in catalog.functions]
    owners: dict[str, str] = {}
    for schema, owner, what in owned:
        if schema in OWN_SCHEMAS and owner not in mine and not catalog.roles[owner].superuser:
            owners.setdefault(owner, what)
    for owner, what in owners.items():
        who = fill("GRANT {} TO {}", identifier(owner), identifier(catalog.current_user))
        yield Problem(
            f"{what} belongs to {display(owner)}, and {me} would run what that role put there",
            None,
            f"connect as {display(owner)} or set PGOPTIONS='-c role={owner}' if it is the role that applies;"
            f" or if it is trusted: {who}",
        )


def owner_problems(resolved: Resolved) -> Iterator[Problem]:
    """Tables and views that the role which applies may not alter, by owner."""
    catalog = resolved.catalog
    me = catalog.roles[catalog.current_user]
    mine = privileges_of(me.name, catalog)
    if me.superuser:
        return
    foreign: dict[str, list[str]] = {}
    scoped = [table.relation for table in resolved.tables.values() if table.spec.access != "hidden"]
    views = [view.relation for view in resolved.views.values() if view.spec.access != "hidden"]
    for relation in (*scoped, *views):
        if relation.owner not in mine:
            foreign.setdefault(relation.owner, []).append(str(relation.name))
    for owner, names in sorted(foreign.items()):
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        grant = fill("GRANT {} TO {}", identifier(owner), identifier(me.name))
        yield Problem(
            f"{shown} belong to {display(owner)}, and {display(me.name)} is not a member of that role",
            resolved.spec.positions.get("tables"),
            f"an administrator can run: {grant}",
        )
    if catalog.provision is None and not catalog.can_create and "rlsgen" not in catalog.schemas:
        grant = fill("GRANT CREATE ON DATABASE {} TO {}", identifier(catalog.database), identifier(me.name))
        message = f"{display(me.name)} may not create schemas in database {display(catalog.database)}"
        yield Problem(message, None, f"its owner can run: {grant}")
