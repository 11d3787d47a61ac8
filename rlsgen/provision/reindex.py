"""Making missing indexes on a live database: one statement at a time, CONCURRENTLY, safe to repeat after a kill."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg

from rlsgen.catalog.read import read_catalog
from rlsgen.errors import ApplyFailed
from rlsgen.provision.apply import Patience, exclusive, execute
from rlsgen.provision.diff import search_path
from rlsgen.provision.indexes import IndexStatement, index_statements, missing_indexes
from rlsgen.provision.plan import Plan, Transaction
from rlsgen.provision.resolve import Resolver
from rlsgen.spec.model import Spec

Progress = Callable[[str, int, int], None]


def make_indexes(
    connection: psycopg.Connection[Any], spec: Spec, progress: Progress, patience: Patience | None = None
) -> list[str]:
    """Make every index that a predicate wants and that is missing, or that a killed run left invalid.

    Args:
        connection: autocommitting, straight to a primary.
        spec: what is declared, and provisioned.
        progress: called before each statement.
        patience: how long to wait for locks, and how often, where partitioned tables need a moment of them.

    Returns:
        What was done, statement by statement, for people.

    Raises:
        ApplyFailed: a statement failed; indexes made before it stand, and an invalid one is replaced next time.
    """
    with exclusive(connection):
        catalog = read_catalog(connection, spec.conversation)
        resolved, _ = Resolver(spec, catalog).resolve()
        statements = [each for missing in missing_indexes(resolved) for each in index_statements(missing, catalog)]
        for done, statement in enumerate(statements):
            progress(statement.label, done, len(statements))
            if statement.concurrently:
                _concurrently(connection, statement, done, len(statements))
            else:
                short = Transaction(statement.label, (), (statement.sql,))
                execute(connection, Plan((short,), search_path(spec)), patience=patience)
    return [statement.label for statement in statements]


def _concurrently(connection: psycopg.Connection[Any], statement: IndexStatement, done: int, total: int) -> None:
    """Run a statement that waits for all older transactions, whatever timeouts the role has."""
    try:
        for setting in ("lock_timeout", "statement_timeout"):
            connection.execute("SELECT pg_catalog.set_config(%s, '0', false)", (setting,), prepare=False)
        connection.execute(statement.sql.encode(), prepare=False)
        connection.execute("RESET ALL", prepare=False)
    except psycopg.Error as error:
        said = error.diag.message_primary or str(error).strip()
        hint = "run apply --indexes again: what is there is kept, and what is invalid is made anew"
        raise ApplyFailed(f"{statement.label}: {said}", done=done, total=total, hint=hint) from error
