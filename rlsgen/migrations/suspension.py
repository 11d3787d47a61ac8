"""What of rlsgen's stands in the way of a migration: taken off before it, as it was again when the migration is undone.

Postgres refuses to change the type of a column, or to drop a column or a table, while a policy or function depends on
it. Which do is in pg_depend, column by column. The conversation role is shut out of a table first, so that no state on
the way shows rows; forced row security is lifted, so that the migration's own statements reach every row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from rlsgen.catalog.connect import driver_errors
from rlsgen.catalog.model import Catalog, Function, Relation
from rlsgen.identifiers import Name, Sql, fill, identifier, identifiers
from rlsgen.migrations.operations import ApplyOp
from rlsgen.migrations.statements import one_by_one
from rlsgen.provision.grants import held_on, privilege_steps
from rlsgen.provision.ledger import Ledger
from rlsgen.provision.policies import drop_policy, recreate
from rlsgen.provision.resolve import OWN_SCHEMAS
from rlsgen.provision.routines import signature
from rlsgen.provision.tables import forget

_DEPENDENCIES = r"""
SELECT d.objid, p.polrelid, d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass, d.refobjid, d.refobjsubid
FROM pg_catalog.pg_depend AS d
LEFT JOIN pg_catalog.pg_policy AS p ON d.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass AND p.oid = d.objid
LEFT JOIN pg_catalog.pg_proc AS f ON d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND f.oid = d.objid
LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = f.pronamespace
WHERE d.refclassid IN ('pg_catalog.pg_class'::pg_catalog.regclass, 'pg_catalog.pg_proc'::pg_catalog.regclass)
  AND (p.polname LIKE 'rlsgen\_%' OR n.nspname = 'rlsgen')
"""


@dataclass(frozen=True, slots=True)
class Touched:
    """What a migration takes away from under policies, by what Postgres calls it."""

    relations: frozenset[int]  # gone
    dropped: frozenset[tuple[int, int]]  # columns that are gone
    retyped: frozenset[tuple[int, int]]  # columns of another type


def touched(before: Catalog, after: Catalog) -> Touched:
    """The difference of two catalogs that matters here: what is gone, and which columns have another type."""
    now = {relation.oid: relation for relation in after.relations.values()}
    gone, dropped, retyped = set(), set(), set()
    for relation in _theirs(before):
        still = now.get(relation.oid)
        if still is None:
            gone.add(relation.oid)
            continue
        columns = {column.number: column for column in still.columns}
        for column in relation.columns:
            same = columns.get(column.number)
            if same is None:
                dropped.add((relation.oid, column.number))
            elif same.type != column.type:
                retyped.add((relation.oid, column.number))
    return Touched(frozenset(gone), frozenset(dropped), frozenset(retyped))


def _theirs(catalog: Catalog) -> Iterator[Relation]:
    return (relation for name, relation in catalog.relations.items() if name.schema not in OWN_SCHEMAS)


@dataclass(frozen=True, slots=True)
class Suspension:
    """Tables without rlsgen's policies and privileges for a while, and functions that are gone until then."""

    relations: tuple[Relation, ...] = ()
    functions: tuple[Function, ...] = ()

    @property
    def forced(self) -> frozenset[Name]:
        """Tables that were under forced row security."""
        return frozenset(each.name for each in self.relations if each.force_row_security)


def everything(before: Catalog) -> Suspension:
    """All that has policies of rlsgen's, or privileges of the conversation role, and all path functions."""
    relations = [each for each in _theirs(before) if _policies(each)]
    return Suspension(tuple(relations), tuple(_path_functions(before)))


def suspension(connection: psycopg.Connection[Any], before: Catalog, role: str, changed: Touched) -> Suspension:
    """What must be taken off before the migration, and no more."""
    edges = _edges(connection)
    columns = changed.dropped | changed.retyped
    tables = set(changed.relations) | {oid for oid, _ in changed.dropped}
    functions: set[int] = set()
    while True:
        hit = [
            (oid, table)
            for oid, table, on_function, target, number in edges
            if (
                target in functions
                if on_function
                else target in changed.relations or (number and (target, number) in columns)
            )
        ]
        tables |= {table for _, table in hit if table is not None}
        more = {oid for oid, table in hit if table is None}
        if more <= functions:
            break
        functions |= more
    relations = [each for each in _theirs(before) if each.oid in tables and (_policies(each) or held_on(each, role))]
    return Suspension(tuple(relations), tuple(each for each in before.functions if each.oid in functions))


def _edges(connection: psycopg.Connection[Any]) -> list[tuple[int, int | None, bool, int, int]]:
    with driver_errors("read what depends on tables"), connection.cursor(row_factory=tuple_row) as cursor:
        return cursor.execute(_DEPENDENCIES, prepare=False).fetchall()


def _policies(relation: Relation) -> list[str]:
    return [policy.name for policy in relation.policies if policy.name.startswith("rlsgen_")]


def _path_functions(catalog: Catalog) -> Iterator[Function]:
    return (each for each in catalog.functions if each.name.schema == "rlsgen" and each.name.name.startswith("path_"))


@dataclass(frozen=True, slots=True)
class _Part:
    """One thing taken off, and put back."""

    off: tuple[Sql, ...]
    on: Sql


def operations(
    suspended: Suspension, before: Catalog, role: str, changed: Touched, search_path: Sql
) -> Iterator[ApplyOp]:
    """One operation for each table, then one for the functions; undoing them puts all of it back, in reverse order."""
    ledger = Ledger(before.ledger)
    for relation in suspended.relations:
        parts = list(_table(relation, before, role, changed, ledger))
        kind = "view" if relation.kind == "view" else "table"
        yield _operation(f"{kind} {relation.name}, out of the way of the migration", parts, search_path)
    if suspended.functions:
        oldest_last = sorted(suspended.functions, key=lambda each: each.oid, reverse=True)
        parts = [_function(each) for each in oldest_last]
        yield _operation("path functions, out of the way of the migration", parts, search_path)


def _operation(title: str, parts: list[_Part], search_path: Sql) -> ApplyOp:
    statements = [each for part in parts for sql in part.off for each in one_by_one(sql)]
    undo = [each for part in reversed(parts) for each in one_by_one(part.on)]
    return ApplyOp(title, statements, search_path=search_path, undo=undo, follows=False)


def _table(relation: Relation, before: Catalog, role: str, changed: Touched, ledger: Ledger) -> Iterator[_Part]:
    name, gone = relation.name, relation.oid in changed.relations
    closed = [relation, *(_sequences(relation, before) if gone else ())]
    for each in closed:
        for step in privilege_steps(each, role, held_on(each, role), frozenset()):
            yield _Part((step.sql,), step.reverse)
    if relation.force_row_security:
        off = fill("ALTER TABLE {} NO FORCE ROW LEVEL SECURITY", name.sql)
        yield _Part((off,), fill("ALTER TABLE {} FORCE ROW LEVEL SECURITY", name.sql))
    if gone and relation.row_security:
        yield _Part((), fill("ALTER TABLE {} ENABLE ROW LEVEL SECURITY", name.sql))
    for policy in relation.policies:
        if policy.name.startswith("rlsgen_"):
            off = drop_policy(name, policy.name)
            yield _Part((off, forget("policy", name, policy.name)), recreate(name, policy))
    for entry in ledger.of(name, "statistics"):
        column = relation.column(entry.name)
        if column and (gone or (relation.oid, column.number) in changed.dropped):
            again = fill("ALTER TABLE ONLY {} ALTER COLUMN {} SET STATISTICS 0", name.sql, identifier(column.name))
            yield _Part((), again)
    if gone and relation.security_invoker and ("view", name, "") in ledger:
        yield _Part((), fill("ALTER VIEW {} SET (security_invoker = true)", name.sql))


def _sequences(relation: Relation, before: Catalog) -> Iterable[Relation]:
    names = {column.sequence for column in relation.columns if column.sequence}
    return (before.relations[name] for name in sorted(names) if name in before.relations)


def _function(function: Function) -> _Part:
    target = signature(function.name, function.arguments)
    named = sorted({grant.grantee for grant in function.grants if grant.grantee and grant.grantee != function.owner})
    on = fill("{};\nREVOKE ALL ON FUNCTION {} FROM PUBLIC", Sql(function.definition.rstrip()), target)
    if named:
        on = fill("{};\nGRANT EXECUTE ON FUNCTION {} TO {}", on, target, identifiers(named))
    forgotten = forget("function", function.name, function.arguments)
    return _Part((fill("DROP FUNCTION {}", target), forgotten), on)
