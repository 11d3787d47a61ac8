"""A transaction in which a migration is carried out to see what it leaves, and that is always rolled back.

PostgreSQL's DDL is transactional: after the team's own operations, the catalog of this transaction is the database as
the migration will leave it. Nothing is guessed from models, and nobody else sees any of it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import psycopg
from alembic.operations import MigrateOperation, Operations
from alembic.operations.ops import OpContainer
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.pool import NullPool

from rlsgen.identifiers import Name, fill
from rlsgen.migrations.operations import said

LOCK_TIMEOUT = "5s"  # for the locks that the migration itself would take: this is a database that people may be using
_EMPTIED = 50  # tables, at most, for one operation


class _Rehearsed(MigrationContext):
    """What a migration finds as its context; it cannot commit."""

    def autocommit_block(self) -> NoReturn:
        raise CommandError(
            "rlsgen: a migration with an autocommit_block() cannot be tried in a transaction that is rolled back;\n"
            "  write the isolation into a revision of its own, after this one: rlsgen revision -m ..."
        )


@dataclass(frozen=True, slots=True)
class Stage:
    """The place of a rehearsal: one transaction, as Alembic, SQLAlchemy and psycopg see it."""

    context: MigrationContext
    connection: Connection
    raw: psycopg.Connection[Any]


Change = Callable[[Stage], None]


@contextmanager
def stage(context: MigrationContext) -> Iterator[Stage]:
    """A stage on the migration's own connection where that is psycopg's; otherwise on a second one to the same URL.

    Raises:
        CommandError: the migration has no connection.
    """
    with _connected(context) as connection:
        raw = connection.connection.driver_connection
        assert isinstance(raw, psycopg.Connection)  # noqa: S101 - _connected saw to it
        place = Stage(_context(context, connection), connection, raw)
        with undone(place):
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            _ensure_version_table(context, place)
            yield place


def _ensure_version_table(context: MigrationContext, place: Stage) -> None:
    """The first revision makes it; specs may name it.

    Raises:
        CommandError: Alembic is just making it on its own connection, and the rehearsal is on another.
    """
    there = context.connection is place.connection or place.context._has_version_table()
    if not there and context._has_version_table():
        raise CommandError(
            f"rlsgen: table {context.version_table} is not yet there for a second connection,"
            " which rlsgen needs with other drivers than psycopg\n  make it first: alembic stamp base"
        )
    place.context._ensure_version_table()


@contextmanager
def undone(place: Stage) -> Iterator[None]:
    """A part of the rehearsal that is rolled back at its end."""
    savepoint = place.connection.begin_nested()
    try:
        yield
    finally:
        savepoint.rollback()


@contextmanager
def _connected(context: MigrationContext) -> Iterator[Connection]:
    own = context.connection
    if own is None:
        raise CommandError("rlsgen: the database as the migration leaves it can only be found out on a database")
    driver = own.connection.driver_connection
    if isinstance(driver, psycopg.Connection) and not driver.autocommit:
        yield own
        return
    engine = create_engine(own.engine.url.set(drivername="postgresql+psycopg"), poolclass=NullPool)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _context(context: MigrationContext, connection: Connection) -> MigrationContext:
    return _Rehearsed(connection.dialect, connection, dict(context.opts), context.environment_context)


def perform(place: Stage, operations: Iterable[MigrateOperation]) -> None:
    """Carry out operations, containers by their members.

    Rows that a NOT NULL, a foreign key or a unique index finds in its way are taken out of it: the revision, once
    somebody has edited it, deals with them, and no policy depends on them.

    Raises:
        DBAPIError: the server has something else against one of them.
    """
    runner = Operations(place.context)
    for operation in operations:
        if isinstance(operation, OpContainer):
            perform(place, operation.ops)
        else:
            _perform(place, runner, operation)


def _perform(place: Stage, runner: Operations, operation: MigrateOperation) -> None:
    for left in reversed(range(_EMPTIED)):
        savepoint = place.connection.begin_nested()
        try:
            with warnings.catch_warnings():  # the migration itself gives them
                warnings.simplefilter("ignore")
                runner.invoke(operation)
        except IntegrityError as error:
            savepoint.rollback()
            table = _in_the_way(error)
            if table is None or not left:
                raise
            place.connection.exec_driver_sql(fill("TRUNCATE {} CASCADE", table.sql))
        except BaseException:
            savepoint.rollback()
            raise
        else:
            savepoint.commit()
            return


def _in_the_way(error: IntegrityError) -> Name | None:
    if not isinstance(error.orig, psycopg.Error):
        return None
    diagnosis = error.orig.diag
    if not (diagnosis.schema_name and diagnosis.table_name):
        return None
    return Name(diagnosis.schema_name, diagnosis.table_name)


def refused(error: DBAPIError) -> CommandError:
    """What to say of a migration that the rehearsal's server refused."""
    state = getattr(error.orig, "sqlstate", None)
    lines = [f"rlsgen: the operations of this revision fail when they are tried here: {said(error)}"]
    if state == "55P03":
        lines.append(f"  another session held a lock for {LOCK_TIMEOUT}; try again, on a database that nobody is using")
    else:
        lines.append("  make the revision without rlsgen's part: alembic -x rlsgen=off revision --autogenerate -m ...")
        lines.append("  edit it until it runs, then let rlsgen write its part into it: rlsgen revision --into head")
    return CommandError("\n".join(lines))
