"""A database to try things on: on a server that is thrown away, or one of the caller's, which must be empty.

On the throw-away server the first unrestricted role of the spec owns the database, migrates and applies; the others get
BYPASSRLS, as an application has that notices nothing. In a database of the caller's, the role of its DSN does all that,
and roles that are missing are made, and dropped at the end.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from rlsgen.catalog.connect import driver_errors, open_connection, read_dsn, set_password
from rlsgen.ci.migrations import run_file
from rlsgen.demo.server import temporary_server
from rlsgen.errors import ServerError
from rlsgen.identifiers import Sql, fill, identifier
from rlsgen.spec.model import Spec

_OWNER = "rlsgen_ci_owner"
_CONTENTS = """
SELECT kind, count(*), (array_agg(name ORDER BY name))[1:3] FROM (
  SELECT CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'view' WHEN 'S' THEN 'sequence' ELSE 'table' END AS kind,
         n.nspname || '.' || c.relname AS name, 'pg_class'::regclass AS catalog, c.oid AS oid
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
   WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
     AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
  UNION ALL
  SELECT 'function', n.nspname || '.' || p.proname, 'pg_proc'::regclass, p.oid
    FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
   WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
  UNION ALL
  SELECT 'schema', nspname, 'pg_namespace'::regclass, oid FROM pg_namespace
   WHERE nspname NOT IN ('pg_catalog', 'information_schema', 'public') AND nspname !~ '^pg_'
  UNION ALL
  SELECT 'large object', oid::text, 'pg_largeobject'::regclass, oid FROM pg_largeobject_metadata
) AS found
WHERE NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = catalog AND d.objid = found.oid AND d.deptype = 'e')
GROUP BY kind ORDER BY kind DESC"""


@dataclass(frozen=True, slots=True)
class Scratch:
    """A database whose contents nobody will miss."""

    dsn: str  # of the role that migrates and applies
    conversation_dsn: str
    verifier_dsn: str  # who compares: on the throw-away server a superuser, who may plant rows and be anybody
    throw_away: bool  # whether the server goes too


@contextmanager
def throw_away(
    spec: Spec, *, database: str = "ci", binaries: Path | None = None, setup: Sequence[Path] = ()
) -> Iterator[Scratch]:
    """A database on a server of its own, which is gone at the end, whatever happens.

    Args:
        spec: its roles are made where `setup` did not make them.
        database: the name of the database, for migrations that say it.
        binaries: a folder with `initdb`, `pg_ctl` and `postgres`; by default embedded Postgres.
        setup: SQL files that an administrator runs first: roles, extensions.

    Raises:
        ServerError: no server could be started.
        MigrationError: a file of `setup` failed.
    """
    owner = spec.unrestricted[0] if spec.unrestricted else _OWNER
    with temporary_server(binaries, small=True) as server:
        with psycopg.connect(server.dsn(), autocommit=True) as administrator:
            administrator.execute(fill("CREATE DATABASE {}", identifier(database)).encode())
        for file in setup:
            run_file(server.dsn(database), file)
        with psycopg.connect(server.dsn(), autocommit=True) as administrator, driver_errors("make the spec's roles"):
            passwords = {role: secrets.token_urlsafe(18) for role in (owner, spec.conversation)}
            attributes = dict.fromkeys(spec.unrestricted, Sql("LOGIN BYPASSRLS"))
            attributes |= {owner: Sql("LOGIN"), spec.conversation: Sql("LOGIN")}
            for role in sorted(attributes.keys() - _existing(administrator, attributes)):
                administrator.execute(fill("CREATE ROLE {} {}", identifier(role), attributes[role]).encode())
            for role, password in passwords.items():
                set_password(administrator, role, password)
            administrator.execute(
                fill("ALTER DATABASE {} OWNER TO {}", identifier(database), identifier(owner)).encode()
            )
        owned, asked = (server.dsn(database, role, passwords[role]) for role in (owner, spec.conversation))
        yield Scratch(owned, asked, server.dsn(database), throw_away=True)


@contextmanager
def scratch(dsn: str, spec: Spec, *, conversation_dsn: str | None, setup: Sequence[Path] = ()) -> Iterator[Scratch]:
    """A database of the caller's, which must be empty. Its contents stay; roles that were made here go.

    Raises:
        ServerError: it is not empty, cannot be reached, or has the conversation role and nobody says how that logs in.
        MigrationError: a file of `setup` failed.
    """
    with open_connection(dsn) as connection:
        require_empty(connection)
        for file in setup:
            run_file(dsn, file)
        wanted = [spec.conversation, *spec.unrestricted]
        missing = [role for role in wanted if role not in _existing(connection, wanted)]
        if conversation_dsn is None and spec.conversation not in missing:
            raise ServerError(
                f"the role {spec.conversation} is on this server already, and rlsgen does not change its password",
                hint="say how it logs in: --conversation-dsn or RLSGEN_CONVERSATION_DSN",
            )
        password = secrets.token_urlsafe(18)
        try:
            _make(connection, spec, missing, password)
            asked = conversation_dsn or _as_role(dsn, spec.conversation, password)
            yield Scratch(dsn, asked, dsn, throw_away=False)
        finally:
            if not connection.closed:
                _drop(connection, missing)


def require_empty(connection: psycopg.Connection[Any]) -> None:
    """Refuse a database that holds anything but extensions: whose it is cannot be told.

    Raises:
        ServerError: it is not empty.
    """
    with driver_errors("look whether the database is empty"):
        found = connection.execute(_CONTENTS).fetchall()
    if found:
        told = ", ".join(f"{number} {kind}{'' if number == 1 else 's'}" for kind, number, _ in found)
        first = ", ".join([*found[0][2], *(["…"] if found[0][1] > len(found[0][2]) else [])])
        raise ServerError(
            f"the database {connection.info.dbname} is not empty: it has {told} ({first})",
            hint="rlsgen ci changes only a database that is empty: create a new one, or leave --dsn out for a server of"
            " its own",
        )


def _existing(connection: psycopg.Connection[Any], roles: Iterable[str]) -> set[str]:
    query = "SELECT rolname FROM pg_catalog.pg_roles WHERE rolname = ANY (%s)"
    return {name for (name,) in connection.execute(query, [list(roles)]).fetchall()}


def _make(connection: psycopg.Connection[Any], spec: Spec, missing: Sequence[str], password: str) -> None:
    with driver_errors(f"make the roles {', '.join(missing)}, which the spec names"):
        for role in missing:
            attributes = Sql("LOGIN" if role == spec.conversation else "LOGIN BYPASSRLS")
            connection.execute(fill("CREATE ROLE {} {}", identifier(role), attributes).encode())
        if spec.conversation in missing:
            set_password(connection, spec.conversation, password)


def _drop(connection: psycopg.Connection[Any], roles: Sequence[str]) -> None:
    """Roles that were made here, with the rights that they got in this database."""
    existing = _existing(connection, roles)
    with driver_errors("drop the roles that were made for this"):
        for role in existing:
            connection.execute(fill("DROP OWNED BY {0}; DROP ROLE {0}", identifier(role)).encode())


def _as_role(dsn: str, role: str, password: str) -> str:
    return make_conninfo(read_dsn(dsn), user=role, password=password)
