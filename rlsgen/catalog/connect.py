"""Connections for rlsgen's commands: opened with care for passwords, refused where the commands could not be safe."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict

from rlsgen.errors import ServerError
from rlsgen.identifiers import fill, identifier, literal

OLDEST_SERVER = 150000
CONNECT_TIMEOUT = 10  # seconds

_NOT_A_DSN = (
    "use postgresql://user:password@host:port/database with @ : / ? # % in user and password percent-encoded, "
    "or host=... dbname=... user=..."
)


@contextmanager
def driver_errors(doing: str) -> Iterator[None]:
    """Turn the driver's errors into ours: `doing` completes "cannot ...".

    Raises:
        ServerError: for every `psycopg.Error` inside the block, with what the server said and what to do.
    """
    try:
        yield
    except psycopg.Error as exc:
        said = exc.diag.message_primary or str(exc).strip() or type(exc).__name__
        raise ServerError(f"cannot {doing}: {said}", hint=_hint(exc)) from exc


def _hint(error: psycopg.Error) -> str:
    """What to do about an error of the server or of the connection to it."""
    match error:
        case errors.InsufficientPrivilege():
            return "connect as the role that owns the tables and ran apply, or as an administrator"
        case errors.QueryCanceled():
            return "it was cancelled, or statement_timeout is too short for it: raise it for this role"
        case errors.LockNotAvailable():
            return "another session holds a lock on a table, perhaps a migration; try again when it is through"
        case psycopg.OperationalError() if error.sqlstate is None or error.sqlstate.startswith(("08", "57P")):
            return "the connection failed or was lost: see that the server is up, then try again"
        case _:
            return ""


def read_dsn(dsn: str) -> str:
    """A DSN as libpq takes it: it is libpq's URI or keywords, or SQLAlchemy's URL, whose driver is left out.

    Raises:
        ServerError: it cannot be read, or is ambiguous. The error does not repeat it.
    """
    text = _without_driver(dsn)
    _parameters(text)
    return text


def open_connection(
    dsn: str | None, source: str = "--dsn, RLSGEN_DSN, DATABASE_URL or the PG* variables"
) -> psycopg.Connection[Any]:
    """An autocommitting connection that never prepares statements by name; without a DSN, libpq's PG* variables decide.

    Accepts libpq's URIs and keywords (https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING) and
    SQLAlchemy's URLs, whose driver is left out: postgresql+psycopg://. `source` says in hints where a DSN comes from.

    Raises:
        ServerError: the DSN cannot be read, or the connection fails. Neither repeats a password.
    """
    text = read_dsn(dsn or "")
    options: dict[str, Any] = {"fallback_application_name": "rlsgen"}
    if "connect_timeout" not in _parameters(text) and not os.environ.get("PGCONNECT_TIMEOUT"):
        options["connect_timeout"] = CONNECT_TIMEOUT
    try:
        return psycopg.connect(text, autocommit=True, prepare_threshold=None, **options)
    except psycopg.Error as exc:
        raise ServerError(
            f"cannot connect: {str(exc).strip()}",
            hint="see that the server is up and that host, port, database and user are right; "
            f"the DSN comes from {source}",
        ) from exc


def require_writable_session(connection: psycopg.Connection[Any]) -> None:
    """Refuse a server that rlsgen cannot change, or a connection whose session it would not keep.

    Args:
        connection: autocommitting, outside a transaction.

    Raises:
        ServerError: the server is older than 15, is a standby, the database is read-only, or there is a pooler between.
    """
    require_version(connection)
    with driver_errors("look at the session"):
        row = connection.execute(
            "SELECT pg_catalog.pg_backend_pid(), pg_catalog.pg_is_in_recovery(),"
            " pg_catalog.current_setting('transaction_read_only')::pg_catalog.bool",
            prepare=False,
        ).fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM has one row
    backend, in_recovery, read_only = row
    if backend != connection.info.backend_pid:
        raise ServerError(
            "the connection goes through a pooler, and what must be one session could be several",
            hint="connect to the server itself: its own port, not PgBouncer's",
        )
    if in_recovery:
        raise ServerError("the server is a standby and cannot be changed", hint="connect to the primary")
    if read_only:
        raise ServerError(
            "transactions are read-only here (default_transaction_read_only is on)",
            hint="connect as a role without that setting, or change it with ALTER ROLE or ALTER DATABASE",
        )


def set_password(connection: psycopg.Connection[Any], role: str, password: str) -> None:
    """Give a role a password. It is hashed here, since servers log statements.

    Raises:
        psycopg.Error: there is no such role, or no right to change it.
    """
    hashed = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    connection.execute(fill("ALTER ROLE {} PASSWORD {}", identifier(role), literal(hashed)).encode())


def require_version(connection: psycopg.Connection[Any]) -> None:
    """Refuse a server that lacks what rlsgen relies on: security_invoker views came with PostgreSQL 15.

    Raises:
        ServerError: the server is older than 15, or the connection is closed.
    """
    with driver_errors("ask for the server's version"):
        version = connection.info.server_version
    if version < OLDEST_SERVER:
        major = f"{version // 10000}" if version >= 100000 else f"{version // 10000}.{version // 100 % 100}"
        raise ServerError(
            f"the server is PostgreSQL {major}; rlsgen needs 15 or later",
            hint="upgrade it: views that check their caller's rows (security_invoker) exist since 15",
        )


def _without_driver(dsn: str) -> str:
    """The DSN with postgresql+psycopg:// or postgres:// as libpq wants it."""
    scheme, separator, rest = dsn.partition("://")
    if separator and scheme.lower().partition("+")[0] in ("postgresql", "postgres"):
        return f"postgresql://{rest}"
    return dsn


def _parameters(dsn: str) -> dict[str, Any]:
    """What libpq reads from the DSN. Its own complaints quote the text, password included, and are not repeated.

    An unencoded @ or / in a password makes libpq take the rest of it for a host or a port, which errors then show; so
    such URIs are refused.
    """
    scheme, separator, rest = dsn.partition("://")
    if separator and scheme == "postgresql":
        path, _, _ = rest.partition("?")
        authority, _, database = path.partition("/")
        if authority.count("@") > 1 or "@" in database:
            raise ServerError("the DSN is ambiguous: more than one @, or one after a /", hint=_NOT_A_DSN)
    try:
        return conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        raise ServerError("the DSN cannot be read", hint=_NOT_A_DSN) from None
