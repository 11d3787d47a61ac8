"""Checks that end a transaction of revocations: REVOKE of what one may not revoke, or another granted, only warns."""

from __future__ import annotations

from typing import LiteralString

from rlsgen.catalog.model import Dependency, Relation
from rlsgen.identifiers import Name, Sql, fill, identifier, literal

_HINT = "another role may have granted it: that role, or an administrator with REVOKE ... GRANTED BY, can revoke it"
_ON_TABLE: LiteralString = (
    "NOT has_table_privilege('public', {0}::regclass, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')"
    " AND NOT has_any_column_privilege('public', {0}::regclass, 'SELECT, INSERT, UPDATE, REFERENCES')"
)
_ON_SEQUENCE: LiteralString = "NOT has_sequence_privilege('public', {}::regclass, 'USAGE, SELECT, UPDATE')"
_ON_FUNCTION: LiteralString = (
    "NOT EXISTS (SELECT FROM pg_proc AS p WHERE p.pronamespace = {}::regnamespace AND p.proname = {} AND p.prosecdef"
    " AND has_function_privilege('public', p.oid, 'EXECUTE'))"
)
_ON_OTHER: LiteralString = (
    "NOT EXISTS (SELECT FROM pg_shdepend AS d, pg_identify_object(d.classid, d.objid, d.objsubid) AS o"
    " WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = {}::regrole AND d.deptype = 'a'"
    " AND d.dbid IN (0, (SELECT b.oid FROM pg_database AS b WHERE b.datname = current_database()))"
    " AND o.type = {} AND o.identity = {})"
)


def public_lost(relation: Relation) -> Sql:
    """Fails if PUBLIC may still do anything with a relation."""
    shape = _ON_SEQUENCE if relation.kind == "sequence" else _ON_TABLE
    return _revoked(fill(shape, literal(relation.name.sql)), "PUBLIC", f"{relation.kind} {relation.name}")


def public_lost_create(schema: str) -> Sql:
    """Fails if PUBLIC may still create objects in a schema."""
    return _revoked(
        fill("NOT has_schema_privilege('public', {}, 'CREATE')", literal(schema)), "PUBLIC", f"schema {schema}"
    )


def public_lost_function(name: Name) -> Sql:
    """Fails if PUBLIC may still execute a SECURITY DEFINER function of that name."""
    fact = fill(_ON_FUNCTION, literal(identifier(name.schema)), literal(name.name))
    return _revoked(fact, "PUBLIC", f"function {name}")


def role_lost(dependency: Dependency, role: str, privileges: Sql) -> Sql:
    """Fails if a role still holds privileges (of schemas and databases: these) on something that is no relation."""
    who = literal(identifier(role))
    if dependency.type not in ("schema", "database"):
        fact = fill(_ON_OTHER, who, literal(dependency.type), literal(dependency.address))
        return _revoked(fact, role, dependency.object)
    table, acl, name = ("pg_namespace", "nspacl", "nspname")
    if dependency.type == "database":
        table, acl, name = ("pg_database", "datacl", "datname")
    # The address is quoted as an identifier; quote_ident of the name gives the same.
    named = fill("quote_ident(o.{})", Sql(name))
    words = Sql(", ".join(literal(word) for word in privileges.split(", ")))
    fact = fill(
        "NOT EXISTS (SELECT FROM {} AS o, aclexplode(o.{}) AS a"
        " WHERE {} = {} AND a.grantee = {}::regrole AND a.privilege_type = ANY (ARRAY[{}]))",
        Sql(table), Sql(acl), named, literal(dependency.address), who, words,
    )  # fmt: skip
    return _revoked(fact, role, dependency.object)


def _revoked(fact: Sql, role: str, what: str) -> Sql:
    message = f"REVOKE had no effect: {role} still holds privileges on {what}"
    return fill("SELECT rlsgen_private.assert_true({}, {}, {})", fact, literal(message), literal(_HINT))
