"""SQL and privileges that the ledger keeps, read back with suspicion: a row runs nothing but what its kind is for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import postgast
from google.protobuf.message import DecodeError
from postgast import pg_query_pb2 as pb

from rlsgen.errors import ServerError
from rlsgen.identifiers import Name, Sql, join

# What aclexplode says of relations and their columns.
_ON_RELATIONS = frozenset(
    {"SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER", "MAINTAIN", "USAGE"}
)
_HINT = "somebody changed rlsgen.object; put the row right, or give back by hand what it is about"


def kept_policy(text: object, table: Name, policy: str) -> Sql:
    """The statement that makes a replaced policy again: this policy on this table, and nothing else.

    Raises:
        ServerError: it is something else.
    """
    statements = _parsed(text)
    if len(statements) == 1 and statements[0].WhichOneof("node") == "create_policy_stmt":
        made = statements[0].create_policy_stmt
        if (made.policy_name, made.table.schemaname, made.table.relname) == (policy, table.schema, table.name):
            return Sql(str(text))
    raise ServerError(f"the ledger's row about policy {policy!r} on {table} does not make that policy", hint=_HINT)


def kept_privileges(text: object, database: str) -> Sql:
    """The statements that give privileges back: GRANT, REVOKE, and both in ALTER DEFAULT PRIVILEGES.

    What they say of a database is said of `database`: the ledger may have come here in a copy, or the database was
    renamed, and another database's privileges are not this one's to give.

    Raises:
        ServerError: something else is among them.
    """
    statements = _parsed(text)
    kinds = {statement.WhichOneof("node") for statement in statements}
    if kinds and kinds <= {"grant_stmt", "alter_default_privileges_stmt"}:
        if not any(map(_on_database, statements)):
            return Sql(str(text))
        return join(";\n", [_on_this(statement, database) for statement in statements])
    raise ServerError("the ledger's row about a privilege does more than give it back", hint=_HINT)


def kept_grants(entries: object, table: Name) -> list[tuple[str, str]]:
    """Privileges on a relation and its columns.

    Raises:
        ServerError: there is a word among them that is no privilege.
    """
    rows: list[Any] = entries if isinstance(entries, list) else [entries]
    if not all(_is_pair(row) and row[0] in _ON_RELATIONS for row in rows):
        raise ServerError(f"the ledger's row about privileges on {table} has something else in it", hint=_HINT)
    return [(str(privilege), str(column)) for privilege, column in rows]


def _on_database(statement: pb.Node) -> bool:
    grant = statement.grant_stmt if statement.WhichOneof("node") == "grant_stmt" else None
    return grant is not None and grant.objtype == pb.OBJECT_DATABASE


def _on_this(statement: pb.Node, database: str) -> Sql:
    if _on_database(statement):
        del statement.grant_stmt.objects[:]
        statement.grant_stmt.objects.add().string.sval = database
    return Sql(postgast.deparse(pb.ParseResult(stmts=[pb.RawStmt(stmt=statement)])))


def _is_pair(entry: object) -> bool:
    return isinstance(entry, Sequence) and not isinstance(entry, str) and len(entry) == 2


def _parsed(text: object) -> list[pb.Node]:
    try:
        return [statement.stmt for statement in postgast.parse(str(text)).stmts]
    except (postgast.PgQueryError, DecodeError):
        return []
