"""Reading the catalog: one snapshot, and a number of queries that does not depend on the number of tables."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from importlib.resources import files
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from rlsgen.catalog.assemble import Rows, assemble
from rlsgen.catalog.connect import driver_errors, require_version
from rlsgen.catalog.model import Catalog
from rlsgen.errors import ServerError

Connection = psycopg.Connection[Any]

_BEGIN = b"BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"
_ALWAYS = (
    "server", "roles", "memberships", "schemas", "acls", "default_privileges", "relations", "types", "columns",
    "not_validated", "defaults", "statistics", "derived_statistics", "indexes", "policies", "inheritance", "views",
    "functions", "dependencies", "publications", "subscriptions", "foreign_keys", "hooks", "extensions",
    "large_objects", "system_privileges", "session_settings",
)  # fmt: skip

_ABOUT_THE_ROLE = ("dependencies", "extensions", "functions", "system_privileges")


def read_catalog(connection: Connection, conversation: str) -> Catalog:
    """Read everything that a plan needs to know, as it was at one moment.

    One REPEATABLE READ, READ ONLY transaction, four round trips where libpq has pipelines. The connection is left as
    it was found. An ordinary role may read all of it, with four exceptions: the system identifier is empty where
    EXECUTE on pg_control_system() was revoked; for columns whose statistics target is 0, `has_statistics` is what
    pg_stats shows, which is nothing for tables that the role may not read or whose row security applies to it; rlsgen's
    own tables need their owner, or a grant; and what is known of its keys only their owner sees.

    Args:
        connection: outside a transaction; autocommit or not.
        conversation: the role whose dependencies are wanted; it need not exist.

    Raises:
        ServerError: the server is older than 15, a transaction is open, rlsgen's tables may not be read, the connection
            is lost, or a query fails.
    """
    require_version(connection)
    with _collector_paused():
        with _snapshot(connection), driver_errors("read the catalog"):
            rows = _run(connection, _ALWAYS, {"role": conversation})
            rows |= _run(connection, _optional(rows["server"]))
        return assemble(rows, connection.info.server_version)


def read_catalog_within(connection: Connection, conversation: str) -> Catalog:
    """The same inside the open transaction, with what it has changed itself; as consistent as its isolation level is.

    Raises:
        ServerError: no transaction is open, or as `read_catalog` says.
    """
    require_version(connection)
    if connection.info.transaction_status != TransactionStatus.INTRANS:
        raise ServerError("there is no transaction to read the catalog in", hint="begin one first")
    with _collector_paused(), driver_errors("read the catalog"):
        connection.execute("SAVEPOINT rlsgen_catalog", prepare=False)
        connection.execute(_query("settings"), prepare=False)
        rows = _run(connection, _ALWAYS, {"role": conversation})
        rows |= _run(connection, _optional(rows["server"]))
        connection.execute("ROLLBACK TO SAVEPOINT rlsgen_catalog; RELEASE SAVEPOINT rlsgen_catalog", prepare=False)
        return assemble(rows, connection.info.server_version)


def fix_output(connection: Connection) -> None:
    """Fix every setting that changes what Postgres deparses, as `read_catalog` does, until the open transaction ends.

    What is compared with a catalog's expressions must have been shown under the same settings.

    Raises:
        ServerError: there is no transaction, or the connection is lost.
    """
    if connection.info.transaction_status != TransactionStatus.INTRANS:
        raise ServerError("settings of a transaction need a transaction", hint="begin one first")
    with driver_errors("fix the session's settings"):
        connection.execute(_query("settings"), prepare=False)


@contextmanager
def _snapshot(connection: Connection) -> Iterator[None]:
    """A place for a transaction of our own kind, which is rolled back; psycopg's BEGIN is switched off meanwhile."""
    if connection.info.transaction_status != TransactionStatus.IDLE:
        raise ServerError(
            "the catalog is read in a transaction of its own, and this connection is in one or is closed",
            hint="commit or roll back first, or use another connection",
        )
    autocommit = connection.autocommit
    try:
        with driver_errors("begin a snapshot"):
            connection.autocommit = True
            # The settings first and alone: the encoding is among them, and a cursor keeps the one it was made under.
            with _pipeline(connection):
                connection.execute(_BEGIN, prepare=False)
                connection.execute(_query("settings"), prepare=False)
        yield
    finally:
        if not connection.closed:
            with driver_errors("end the snapshot"):
                if connection.info.transaction_status != TransactionStatus.IDLE:
                    connection.execute("ROLLBACK", prepare=False)
                connection.autocommit = autocommit


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Hundreds of thousands of values are made here, and all stay: searching them for cycles takes a third longer."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _pipeline(connection: Connection) -> AbstractContextManager[object]:
    """Statements are sent without waiting for the answers before them, where libpq is new enough (14)."""
    return connection.pipeline() if psycopg.Pipeline.is_supported() else nullcontext()


def _run(connection: Connection, names: Iterable[str], parameters: Mapping[str, str] | None = None) -> dict[str, Rows]:
    """The rows of queries by their names, all sent before the first answer is awaited."""
    cursors = {name: psycopg.Cursor(connection, row_factory=tuple_row) for name in names}
    with _pipeline(connection):
        for name, cursor in cursors.items():
            cursor.execute(_query(name), parameters if name in _ABOUT_THE_ROLE else None, prepare=False)
    return {name: cursor.fetchall() for name, cursor in cursors.items()}


def _optional(server: Rows) -> Iterator[str]:
    """Queries that only run where there is something that this role may read.

    They must not be in the same statement as the others: Postgres checks privileges before it evaluates a condition.
    """
    user, identified, ledger, provision, keys = server[0][3], *server[0][7:11]
    if identified:
        yield "system_identifier"
    if keys:
        yield "keys"
    for name, table, readable in (("ledger", "rlsgen.object", ledger), ("provision", "rlsgen.provision", provision)):
        if readable:
            yield name
        elif readable is False:
            raise ServerError(
                f"{table} exists, but {user} may not read it",
                hint="connect as the role that ran apply, or grant USAGE on schema rlsgen and SELECT on its tables",
            )


@cache
def _query(name: str) -> bytes:
    """A query of ours, by the name of its file."""
    return files("rlsgen.catalog").joinpath("queries", f"{name}.sql").read_bytes()
