"""Who can read what: from grants, row security, ownership and memberships, as Postgres decides it.

A role counts as every role that it inherits from or may become, so what is said is what it can reach, not only what it
has at its login. Roles that cannot log in are not listed by themselves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

from rlsgen.catalog.model import Catalog, Grant, Policy, Relation, Role
from rlsgen.identifiers import Name, display
from rlsgen.proof.report.data import Access, Reach, Reader, Readers

_EVERYBODY = ""
_ORDER = ("conversation", "everybody", "unrestricted", "other", "bypass", "superuser")
_TITLES = {
    "conversation": "Conversations",
    "everybody": "Everybody (PUBLIC)",
    "unrestricted": "Unrestricted",
    "other": "Other logins",
    "bypass": "BYPASSRLS",
    "superuser": "Superusers",
}


def access(catalog: Catalog, conversation: str, unrestricted: Collection[str], relations: Sequence[Name]) -> Access:
    """What each login, and PUBLIC, reads of some relations; roles that read the same stand together."""
    becomes = _becoming(catalog)
    groups: dict[tuple[str, tuple[Reach, ...]], list[Reader]] = defaultdict(list)
    for name in (_EVERYBODY, *sorted(catalog.roles)):
        role = catalog.roles.get(name)
        if role is not None and not (role.login or name == conversation or name in unrestricted):
            continue
        held = becomes[name] if role else frozenset()
        reads = tuple(_reach(catalog, held, conversation, catalog.relations[each]) for each in relations)
        kind, why = _kind(catalog, name, held, conversation, unrestricted, relations)
        if kind in ("other", "bypass") and set(reads) <= {"none"}:
            continue
        groups[kind, reads].append(Reader(display(name) if role else "PUBLIC", why))
    found = [Readers(kind, _TITLES[kind], tuple(roles), reads) for (kind, reads), roles in groups.items()]
    found.sort(key=lambda each: (_ORDER.index(each.kind), each.roles[0].role))
    return Access(tuple(map(str, relations)), tuple(found))


def _becoming(catalog: Catalog) -> Mapping[str, frozenset[str]]:
    """Every role that a role inherits from or may SET ROLE to, itself included."""
    above: dict[str, list[str]] = defaultdict(list)
    for each in catalog.memberships:
        if each.inherit or each.set_role:
            above[each.member].append(each.role)
    return {name: frozenset(_closure(name, above)) for name in catalog.roles}


def _closure(first: str, above: Mapping[str, list[str]]) -> Iterator[str]:
    seen, todo = {first}, [first]
    while todo:
        role = todo.pop()
        yield role
        more = [each for each in above.get(role, ()) if each not in seen]
        seen.update(more)
        todo += more


def _kind(
    catalog: Catalog,
    name: str,
    held: frozenset[str],
    conversation: str,
    unrestricted: Collection[str],
    relations: Sequence[Name],
) -> tuple[str, str]:
    if not name:
        return "everybody", "what any login can read"
    roles = [catalog.roles[each] for each in sorted(held) if each in catalog.roles]
    superusers, bypassing = [r for r in roles if r.superuser], [r for r in roles if r.bypass_rls]
    if superusers:
        why = _through(name, superusers, "is a superuser", "a superuser")
    elif bypassing:
        why = _through(name, bypassing, "has BYPASSRLS", "which has BYPASSRLS")
    else:
        why = "owns tables" if any(catalog.relations[each].owner in held for each in relations) else ""
    if name == conversation:
        return "conversation", why or "runs untrusted SQL"
    if name in unrestricted:
        return "unrestricted", why or "by its grants and rlsgen’s policies for it"
    if superusers:
        return "superuser", why
    return ("bypass", why) if bypassing else ("other", why or "by its grants")


def _through(name: str, roles: Sequence[Role], own: str, others: str) -> str:
    """Why a role counts as such: itself, or through one that it may become."""
    if any(role.name == name for role in roles):
        return own
    return f"may become {display(roles[0].name)}, {others}"


def _reach(catalog: Catalog, held: frozenset[str], conversation: str, relation: Relation) -> Reach:
    roles = [catalog.roles[each] for each in held if each in catalog.roles]
    if any(role.superuser for role in roles):
        return "all"
    if not _reads(catalog, held, relation):
        return "none"
    if relation.kind == "view":
        return _through_view(catalog, held, conversation, relation)
    if not relation.row_security or any(role.bypass_rls for role in roles):
        return "all"
    if relation.owner in held and not relation.force_row_security:
        return "all"
    return _by_policies(held, conversation, relation)


def _through_view(catalog: Catalog, held: frozenset[str], conversation: str, view: Relation) -> Reach:
    """With security_invoker a view shows what its tables show; the least of them decides what a row needs."""
    if not view.security_invoker:
        return "owner"
    below = [catalog.relations[name] for name in view.reads if name in catalog.relations]
    reaches = [_reach(catalog, held, conversation, relation) for relation in below]
    order: tuple[Reach, ...] = ("none", "policies", "own", "owner")
    return next((reach for reach in order if reach in reaches), "all")


def _reads(catalog: Catalog, held: frozenset[str], relation: Relation) -> bool:
    if "pg_read_all_data" in held:
        return True
    schema = catalog.schemas.get(relation.name.schema)
    enters = schema is None or schema.owner in held or _granted(schema.grants, "USAGE", held)
    grants = [*relation.grants, *(grant for column in relation.columns for grant in column.grants)]
    return enters and _granted(grants, "SELECT", held)


def _granted(grants: Collection[Grant], privilege: str, held: frozenset[str]) -> bool:
    return any(each.privilege == privilege and (each.grantee is None or each.grantee in held) for each in grants)


def _by_policies(held: frozenset[str], conversation: str, relation: Relation) -> Reach:
    mine = [each for each in relation.policies if each.command in ("ALL", "SELECT") and _applies(each, held)]
    permissive = [each for each in mine if each.permissive]
    if not permissive:
        return "none"
    restricted = any(not each.permissive and each.name.startswith("rlsgen_") for each in mine)
    if conversation in held:
        return "own" if restricted else "policies"
    return "all" if any(each.name.startswith("rlsgen_") for each in permissive) else "policies"


def _applies(policy: Policy, held: frozenset[str]) -> bool:
    return any(role == _EVERYBODY or role in held for role in policy.roles)
