"""The policies of a scoped table: restrictive for all four commands, permissive for the allowed ones."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from rlsgen.catalog.model import Catalog, LedgerEntry, Policy
from rlsgen.identifiers import Name, Sql, fill, identifier, literal
from rlsgen.provision.predicates import FALSE, Predicates
from rlsgen.provision.resolve import Resolved, Table
from rlsgen.spec.model import COMMANDS, Command

CommandWord = Literal["ALL", "SELECT", "INSERT", "UPDATE", "DELETE"]
_WORDS: Mapping[Command, CommandWord] = {"select": "SELECT", "insert": "INSERT", "update": "UPDATE", "delete": "DELETE"}
UNRESTRICTED = "rlsgen_unrestricted"


@dataclass(frozen=True, slots=True)
class DesiredPolicy:
    """A policy as it should be; expressions are SQL text, not yet deparsed by any server."""

    table: Name
    name: str
    command: CommandWord
    permissive: bool
    roles: tuple[str, ...]
    using: Sql | None
    check: Sql | None

    @property
    def create(self) -> Sql:
        """The CREATE POLICY statement."""
        return create_policy(self.table, self.name, self.command, self.permissive, self.roles, self.using, self.check)

    @property
    def source(self) -> str:
        """The hash of what was asked for, which the ledger keeps."""
        return hashlib.sha256(self.create.encode()).hexdigest()


def create_policy(
    table: Name,
    name: str,
    command: CommandWord,
    permissive: bool,
    roles: Iterable[str],
    using: Sql | None,
    check: Sql | None,
) -> Sql:
    """A CREATE POLICY statement; an empty role name is PUBLIC."""
    kind = Sql("PERMISSIVE" if permissive else "RESTRICTIVE")
    to = Sql(", ".join(identifier(role) if role else "PUBLIC" for role in roles))
    statement = fill("CREATE POLICY {} ON {} AS {} FOR {} TO {}", identifier(name), table.sql, kind, Sql(command), to)
    if using is not None:
        statement = fill("{} USING ({})", statement, using)
    if check is not None:
        statement = fill("{} WITH CHECK ({})", statement, check)
    return statement


def drop_policy(table: Name, name: str) -> Sql:
    """A DROP POLICY statement."""
    return fill("DROP POLICY {} ON {}", identifier(name), table.sql)


def live_text(policy: Policy) -> str:
    """What the ledger compares: every part with its length before it, so that no two policies give one text.

    The function rlsgen_private.policy_text in templates/ledger.sql.j2 gives the same text inside the database.
    """
    parts = [
        policy.command,
        "permissive" if policy.permissive else "restrictive",
        *policy.roles,
        policy.using,
        policy.check,
    ]
    text = "".join("-" if part is None else f"{len(part)}:{part}" for part in parts)
    return f"{text}#{policy.calls}" if policy.calls else text


def recorded_policy(name: str, text: str) -> Policy | None:
    """The policy that `live_text` was made of; None where somebody wrote something else into the ledger."""
    parts: list[str | None] = []
    calls = ""
    while text:
        size, _, rest = text.partition(":")
        if text[0] == "-":
            parts, text = [*parts, None], text[1:]
        elif text[0] == "#":
            calls, text = text[1:], ""
        elif size.isdecimal():
            parts, text = [*parts, rest[: int(size)]], rest[int(size) :]
        else:
            return None
    roles = tuple(part for part in parts[2:-2] if part is not None)
    command = next((word for word in ("ALL", *_WORDS.values()) if parts and word == parts[0]), None)
    if command is None or len(parts) < 5 or parts[1] not in ("permissive", "restrictive"):
        return None
    return Policy(name, command, parts[1] == "permissive", roles, parts[-2], parts[-1], calls)


def recreate(table: Name, policy: Policy) -> Sql:
    """The statement that makes a live policy again, from what pg_get_expr showed of it."""
    using = None if policy.using is None else Sql(policy.using)
    check = None if policy.check is None else Sql(policy.check)
    return create_policy(table, policy.name, policy.command, policy.permissive, policy.roles, using, check)


def conversation_policies(table: Table, predicates: Predicates, conversation: str) -> list[DesiredPolicy]:
    """Eight policies at most: the same expressions restrict, and (where allowed) permit."""
    read = predicates.policy(table, "read")
    write = predicates.policy(table, "write")
    made = []
    for permissive in (False, True):
        for command in COMMANDS:
            allowed = command in table.spec.allow
            if permissive and not allowed:
                continue
            expression = read if command == "select" else write if allowed else FALSE
            using = None if command == "insert" else expression
            check = expression if command in ("insert", "update") else None
            name = f"rlsgen_{'allow' if permissive else 'only'}_{command}"
            word = _WORDS[command]
            made.append(DesiredPolicy(table.name, name, word, permissive, (conversation,), using, check))
    return made


def unrestricted_policy(table: Table, conversation: str, roles: tuple[str, ...]) -> DesiredPolicy:
    """What keeps the rows visible for unrestricted roles that row security would otherwise hide them from."""
    outside = fill("(SELECT session_user) <> {}", literal(conversation))
    return DesiredPolicy(table.name, UNRESTRICTED, "ALL", True, roles, outside, outside)


def path_policy(table: Table, predicates: Predicates, conversation: str) -> DesiredPolicy:
    """What the owner reads under forced row security in a conversation's session: path functions run as the owner.

    CASE, since an accessor raises in any other session, and nobody else may call it.
    """
    shape = "CASE WHEN (SELECT session_user) = {} THEN {} ELSE false END"
    inside = fill(shape, literal(conversation), predicates.of_path_functions(table))
    return DesiredPolicy(table.name, "rlsgen_paths", "SELECT", True, (table.relation.owner,), inside, None)


@dataclass(frozen=True, slots=True)
class RowSecurity:
    """A table's two flags."""

    on: bool
    forced: bool


def row_security_before(
    table: Table, resolved: Resolved, ledger: Mapping[tuple[str, Name, str], LedgerEntry]
) -> RowSecurity:
    """The flags as they were before rlsgen came.

    A table with policies of ours and no ledger entry was renamed: then what is on was switched on for them, unless
    somebody else's policies say that it was in use before.
    """
    entry = ledger.get(("table", table.name, ""))
    relation = table.relation
    if entry is not None:
        return RowSecurity(bool(entry.before.get("row_security")), bool(entry.before.get("force")))
    ours = any(policy.name.startswith("rlsgen_") for policy in relation.policies)
    theirs = any(not policy.name.startswith("rlsgen_") for policy in relation.policies)
    return RowSecurity(
        relation.row_security and (theirs or not ours),
        relation.force_row_security and not (ours and resolved.spec.force),
    )


def privileges_of(role: str, catalog: Catalog) -> frozenset[str]:
    """The role and every role whose privileges it has without SET ROLE."""
    return _inherited(role, _granted(catalog))


def privileges_of_all(catalog: Catalog) -> Mapping[str, frozenset[str]]:
    """The same for every role of the cluster, which may have thousands."""
    granted = _granted(catalog)
    return {name: _inherited(name, granted) for name in catalog.roles}


def _granted(catalog: Catalog) -> Mapping[str, list[str]]:
    """By member, the roles whose privileges it inherits."""
    granted: dict[str, list[str]] = defaultdict(list)
    for each in catalog.memberships:
        if each.inherit:
            granted[each.member].append(each.role)
    return granted


def _inherited(role: str, granted: Mapping[str, list[str]]) -> frozenset[str]:
    held, todo = {role}, [role]
    while todo:
        for each in granted.get(todo.pop(), ()):
            if each not in held:
                held.add(each)
                todo.append(each)
    return frozenset(held)


def subject_roles(
    table: Table, resolved: Resolved, closures: Mapping[str, frozenset[str]], before: RowSecurity
) -> tuple[str, ...]:
    """Unrestricted roles that row security on this table would touch, so that they need a policy of their own.

    Where row security was on before, roles stay under the policies that they know, unless the spec replaces them. The
    owner is touched where it is forced.
    """
    known = before.on and table.spec.existing != "replace"
    subject = (
        set() if known else {name for name in resolved.spec.unrestricted if _touched(name, table, resolved, closures)}
    )
    owner = resolved.catalog.roles.get(table.relation.owner)
    newly = resolved.spec.force and not before.forced if known else resolved.spec.force or before.forced
    if newly and owner and not (owner.superuser or owner.bypass_rls):
        subject.add(owner.name)
    return tuple(sorted(subject))


def _touched(name: str, table: Table, resolved: Resolved, closures: Mapping[str, frozenset[str]]) -> bool:
    role = resolved.catalog.roles.get(name)
    exempt = role is None or role.superuser or role.bypass_rls
    return not exempt and table.relation.owner not in closures[name]
