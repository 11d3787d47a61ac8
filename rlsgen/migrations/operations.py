"""What a revision file calls: `op.rlsgen_apply`, frozen statements, and `op.rlsgen_every_row`, for data migrations."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from alembic.operations import MigrateOperation, Operations
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from rlsgen.identifiers import Sql
from rlsgen.migrations.frozen import entrance, every_row, framed

ATTEMPTS = 12  # for the locks of one operation, each for lock_timeout
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds between them


@Operations.register_operation("rlsgen_apply", "apply")
class ApplyOp(MigrateOperation):
    """Statements that become true together, and those that undo them. Frozen: it runs these and no others.

    Args:
        title: what they are about, for people.
        statements: SQL, one statement each, ledger rows and checks among them.
        search_path: for the statements, as `SET search_path` takes it.
        undo: the statements of the reverse operation.
        hazards: what the plan warns of, one line each, for whoever reads the revision.
        follows: whether it stands after the team's own changes, or before them.
    """

    def __init__(
        self,
        title: str,
        statements: Sequence[str],
        *,
        search_path: str,
        undo: Sequence[str] = (),
        hazards: Sequence[str] = (),
        follows: bool = True,
    ) -> None:
        self.title = title
        self.statements = tuple(statements)
        self.search_path = search_path
        self.undo = tuple(undo)
        self.hazards = tuple(hazards)
        self.follows = follows

    @classmethod
    def apply(cls, operations: Operations, title: str, statements: Sequence[str], *, search_path: str) -> None:
        """Run statements that rlsgen wrote into this revision, in the transaction of the migration.

        Raises:
            CommandError: one of them failed; the transaction is rolled back.
        """
        operations.invoke(cls(title, statements, search_path=search_path))

    def reverse(self) -> ApplyOp:
        """The operation that undoes this one."""
        return ApplyOp(
            self.title, self.undo, search_path=self.search_path, undo=self.statements, follows=not self.follows
        )

    def to_diff_tuple(self) -> tuple[str, str]:
        """What `alembic check` shows."""
        return ("rlsgen", self.title)


@Operations.register_operation("rlsgen_every_row", "every_row")
class EveryRowOp(MigrateOperation):
    """A block in which the owner's statements touch every row of tables, forced row security or not."""

    def __init__(self, tables: Sequence[str]) -> None:
        self.tables = tuple(tables)

    @classmethod
    def every_row(cls, operations: Operations, *tables: str) -> AbstractContextManager[None]:
        """A `with` block in which updates of these tables reach every row.

        It takes FORCE ROW LEVEL SECURITY off in the transaction of the migration, which nobody else can see, makes sure
        that no row is hidden from the current role, and puts FORCE on again.

        Args:
            operations: Alembic's.
            tables: as SQL names them: orders, billing."Line".

        Raises:
            CommandError: row security would hide rows from the current role all the same: it is not the owner.
        """
        made: AbstractContextManager[None] = operations.invoke(cls(tables))
        return made


@Operations.implementation_for(ApplyOp)
def _apply(operations: Operations, operation: ApplyOp) -> None:
    if operation.statements:
        statements = tuple(framed([Sql(each) for each in operation.statements], Sql(operation.search_path)))
        _run(operations, operation.title, tuple(entrance()))
        if operations.migration_context.as_sql:
            _run(operations, operation.title, statements)
        else:
            _patiently(operations, operation.title, statements)


def _patiently(operations: Operations, title: str, statements: Sequence[Sql]) -> None:
    """Again and again while somebody uses the table, letting go of it in between, as apply does."""
    connection = operations.migration_context.connection
    assert connection is not None  # noqa: S101 - only --sql goes without
    for left in reversed(range(ATTEMPTS)):
        savepoint = connection.begin_nested()
        try:
            _run(operations, title, statements)
        except CommandError as error:
            savepoint.rollback()
            if not left or not _in_use(error.__cause__):
                raise
            pause = min(FIRST_PAUSE * 2 ** (ATTEMPTS - left), LONGEST_PAUSE)
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
        else:
            savepoint.commit()
            return


def _in_use(error: BaseException | None) -> bool:
    cause = error.orig if isinstance(error, DBAPIError) else None
    return (getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)) == "55P03"


@Operations.implementation_for(EveryRowOp)
def _every_row(operations: Operations, operation: EveryRowOp) -> AbstractContextManager[None]:
    key = hashlib.sha256("\n".join(operation.tables).encode()).hexdigest()[:16]
    off, on = every_row(operation.tables, key)

    @contextmanager
    def block() -> Iterator[None]:
        title = f"every row of {', '.join(operation.tables)}"
        _run(operations, title, [off])
        yield
        _run(operations, title, [on])

    return block()


def _run(operations: Operations, title: str, statements: Iterable[Sql]) -> None:
    """Run, or write into the script of `--sql`, statement by statement."""
    context = operations.migration_context
    for statement in statements:
        if context.as_sql:
            context.impl.static_output(f"{statement};")
            continue
        connection = context.connection
        assert connection is not None  # noqa: S101 - only --sql goes without
        try:
            # A plain str: drivers written in C take no subclass.
            connection.exec_driver_sql(str(statement), execution_options={"no_parameters": True})
        except DBAPIError as error:
            raise CommandError(explained(title, error)) from error


def explained(title: str, error: DBAPIError) -> str:
    """What the server has against a statement of rlsgen's, and where that leaves the database."""
    lines = [f"rlsgen: {title}: {said(error)}"]
    detail, hint = _diagnosis(error, "message_detail"), _diagnosis(error, "message_hint")
    lines += [f"  {detail}"] if detail else []
    lines += [f"  {hint}"] if hint else []
    lines += (
        ["  the table is in use: try again at a quieter time, or with a longer lock_timeout"] if _in_use(error) else []
    )
    lines.append("  the transaction is rolled back: nothing of it stands. `rlsgen plan` shows how the database differs")
    return "\n".join(lines)


def said(error: DBAPIError) -> str:
    """The server's own words, without the statement."""
    return _diagnosis(error, "message_primary") or str(error.orig).strip() or type(error).__name__


def _diagnosis(error: DBAPIError, field: str) -> str:
    """A field of the server's message; psycopg and psycopg2 have them, other drivers only the whole text."""
    diagnosis: Any = getattr(error.orig, "diag", None)
    return str(getattr(diagnosis, field, None) or "")
