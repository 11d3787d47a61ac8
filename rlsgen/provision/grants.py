"""Privileges of the conversation role on relations: what it should hold, what it holds, and the steps between."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from rlsgen.catalog.model import Column, Grant, Relation
from rlsgen.identifiers import Name, Sql, fill, identifier, identifiers, join, literal
from rlsgen.provision.plan import Step
from rlsgen.provision.resolve import Table, View

Privileges = frozenset[tuple[str, str]]  # (SELECT, column); the column is empty for a privilege on the whole relation


def wanted_on_table(table: Table) -> Privileges:
    """Column by column, so that a column added later is invisible until the next apply.

    INSERT and UPDATE leave out what Postgres fills: identity, serial and generated columns. An explicit id is an oracle
    (unique violations) and can block other tenants' inserts.
    """
    if table.spec.access == "hidden":
        return frozenset()
    held = {("SELECT", column.name) for column in table.shown}
    writable = [c.name for c in table.shown if not (c.identity or c.generated or c.sequence)]
    held |= {("INSERT", column) for column in writable if "insert" in table.spec.allow}
    held |= {("UPDATE", column) for column in writable if "update" in table.spec.allow}
    if "delete" in table.spec.allow:
        held.add(("DELETE", ""))
    return frozenset(held)


def wanted_on_view(view: View) -> Privileges:
    """SELECT on the columns that are not hidden."""
    if view.spec.access == "hidden":
        return frozenset()
    return frozenset(("SELECT", column.name) for column in view.shown)


def wanted_sequences(table: Table) -> list[Name]:
    """Sequences that an INSERT draws from. Identity columns need no privilege."""
    if "insert" not in table.spec.allow or table.spec.access != "scoped":
        return []
    return sorted({column.sequence for column in table.relation.columns if column.sequence})


def held_on(relation: Relation, role: str | None) -> Privileges:
    """What a role (None: PUBLIC) was granted on a relation and its columns, itself and not through others."""
    whole = {(grant.privilege, "") for grant in relation.grants if grant.grantee == role}
    columns = {
        (grant.privilege, column.name)
        for column in relation.columns
        for grant in column.grants
        if grant.grantee == role
    }
    return frozenset(whole | columns)


def privilege_steps(relation: Relation, role: str, held: Privileges, wanted: Privileges) -> list[Step]:
    """REVOKE what is too much, then GRANT what is missing.

    Revoking a privilege on the whole table takes the same privilege on its columns with it.
    """
    whole = {privilege for privilege, column in held - wanted if not column}
    surplus = {entry for entry in held - wanted if entry[0] not in whole or not entry[1]}
    remaining = {entry for entry in held & wanted if not entry[1] or entry[0] not in whole}
    kind = Sql("SEQUENCE") if relation.kind == "sequence" else Sql("TABLE")
    target = fill("{} {}", kind, relation.name.sql)
    who = identifier(role)
    label = f"{relation.name} for {role}"
    steps = []
    if surplus:
        what = _listed(surplus, relation.columns)
        revoke = fill("REVOKE {} ON {} FROM {}", what, target, who)
        reverse = fill("GRANT {} ON {} TO {}", what, target, who)
        along = {entry for entry in held if entry[1] and entry[0] in whole}
        if along:
            reverse = fill("{};\nGRANT {} ON {} TO {}", reverse, _listed(along, relation.columns), target, who)
        steps.append(Step("revoke", f"{_words(surplus)} on {label}", revoke, reverse))
    missing = wanted - remaining
    if missing:
        what = _listed(missing, relation.columns)
        grant = fill("GRANT {} ON {} TO {}", what, target, who)
        steps.append(
            Step("grant", f"{_words(missing)} on {label}", grant, fill("REVOKE {} ON {} FROM {}", what, target, who))
        )
    return steps


def grant_option_steps(relation: Relation, role: str, kept: Privileges) -> Iterator[Step]:
    """REVOKE GRANT OPTION FOR privileges that stay: a role that runs untrusted SQL must not pass anything on."""
    grants = [("", grant) for grant in relation.grants]
    grants += [(column.name, grant) for column in relation.columns for grant in column.grants]
    optional = {(grant.privilege, name) for name, grant in grants if grant.grantee == role and grant.grantable} & kept
    if optional:
        kind = Sql("SEQUENCE") if relation.kind == "sequence" else Sql("TABLE")
        what, target, who = _listed(optional, relation.columns), relation.name.sql, identifier(role)
        yield Step(
            "revoke",
            f"the right to grant {_words(optional)} on {relation.name} for {role}",
            fill("REVOKE GRANT OPTION FOR {} ON {} {} FROM {} CASCADE", what, kind, target, who),
            fill("GRANT {} ON {} {} TO {} WITH GRANT OPTION", what, kind, target, who),
        )


def assert_privileges(relation: Name, role: str, wanted: Privileges) -> Sql:
    """A statement that fails unless the role holds exactly these privileges."""
    entries = join(", ", [literal(f"{privilege}:{column}") for privilege, column in sorted(wanted)])
    return fill(
        "SELECT rlsgen_private.assert_privileges({}::regclass, {}, ARRAY[{}]::text[])",
        literal(relation.sql),
        literal(role),
        entries,
    )


def before_json(held: Privileges) -> list[list[str]]:
    """Privileges as the ledger keeps them."""
    return [list(entry) for entry in sorted(held)]


def public(grants: Iterable[Grant]) -> list[str]:
    """What PUBLIC holds."""
    return sorted({grant.privilege for grant in grants if grant.grantee is None})


def _listed(entries: Iterable[tuple[str, str]], columns: Sequence[Column]) -> Sql:
    order = {column.name: number for number, column in enumerate(columns)}
    grouped: defaultdict[str, list[str]] = defaultdict(list)
    for privilege, column in sorted(entries, key=lambda entry: (entry[0], order.get(entry[1], -1))):
        grouped[privilege] += [column] if column else []
    # Privilege names are Postgres' own keywords, from aclexplode or from this module.
    return join(
        ", ",
        [
            fill("{} ({})", Sql(privilege), identifiers(names)) if names else Sql(privilege)
            for privilege, names in grouped.items()
        ],
    )


def _words(entries: Iterable[tuple[str, str]]) -> str:
    counts: defaultdict[str, int] = defaultdict(int)
    for privilege, column in entries:
        counts[privilege] += bool(column)
    shown = [f"{privilege} ({number} columns)" if number else privilege for privilege, number in sorted(counts.items())]
    return ", ".join(shown)
