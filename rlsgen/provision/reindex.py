"""Making missing indexes on a live database: one statement at a time, CONCURRENTLY, safe to repeat after a kill."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg

from rlsgen.catalog.read import read_catalog
from rlsgen.errors import ApplyFailed
from rlsgen.provision.apply import exclusive
from rlsgen.provision.indexes import index_statements, missing_indexes
from rlsgen.provision.resolve import Resolver
from rlsgen.spec.model import Spec

Progress = Callable[[str, int, int], None]


def make_indexes(connection: psycopg.Connection[Any], spec: Spec, progress: Progress) -> list[str]:
    """Make every index that a predicate wants and that is missing, or that a killed run left invalid.

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
            try:
                connection.execute(statement.sql.encode(), prepare=False)
            except psycopg.Error as error:
                said = error.diag.message_primary or str(error).strip()
                hint = "run apply --indexes again: what is there is kept, and what is invalid is made anew"
                raise ApplyFailed(f"{statement.label}: {said}", done=done, total=len(statements), hint=hint) from error
    return [statement.label for statement in statements]
