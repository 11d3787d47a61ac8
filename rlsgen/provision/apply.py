"""Apply for a live database: one short transaction after another, each a safe state, with retries and no long waits."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus

from rlsgen.catalog.connect import driver_errors, require_writable_session
from rlsgen.catalog.model import Catalog
from rlsgen.catalog.read import read_catalog
from rlsgen.errors import ApplyFailed, HazardRefused, PlanChanged, Problem, ServerError, SpecError
from rlsgen.identifiers import Sql, fill
from rlsgen.provision.diff import Comparison, compare, compare_anywhere, search_path
from rlsgen.provision.judge import judge
from rlsgen.provision.plan import SETTINGS, Plan, Transaction
from rlsgen.provision.resolve import Resolver
from rlsgen.spec.model import Spec

Connection = psycopg.Connection[Any]
Progress = Callable[[str, int, int], None]  # title, transactions done, transactions in all

# Two applies must not interleave; the number is the first eight bytes of SHA-256("rlsgen apply"), so that no other
# tool's lock is likely to be the same.
ADVISORY_LOCK = 0x1E9C_4B7A_52D3_0F61
LOCK_POLL = 0.2  # seconds
_RETRIED = (
    errors.LockNotAvailable,
    errors.DeadlockDetected,
    errors.SerializationFailure,
    errors.InternalError_,  # "tuple concurrently updated": somebody granted on the same table at that moment
)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for locks. All in seconds.

    `lock_timeout` stays below Postgres' deadlock_timeout of one second, so that apply gives way before the application
    is chosen as the victim; it bounds how long statements of the application can queue behind a waiting apply.
    """

    lock_timeout: float = 0.8
    attempts: int = 20
    first_pause: float = 0.1
    longest_pause: float = 5.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an apply did."""

    plan: Plan
    retries: int


def make_plan(connection: Connection, spec: Spec, *, portable: bool = False) -> Plan:
    """The plan for a database as it stands. Changes nothing. `portable`: to be carried out by `to_migration` anywhere.

    Raises:
        SpecError: the spec does not fit the database, all problems in it.
        ServerError: the server cannot be used.
    """
    return judged(connection, spec, portable=portable).plan


def judged(connection: Connection, spec: Spec, *, portable: bool = False) -> Comparison:
    """The comparison of spec and database, every new filter accepted by Postgres itself."""
    catalog = read_catalog(connection, spec.conversation)
    try:
        comparison = (compare_anywhere if portable else compare)(spec, catalog)
    except SpecError as misfit:
        raise SpecError([*misfit.problems, *_also(connection, spec, catalog, misfit)]) from None
    problems = judge(connection, comparison.resolved, comparison.unjudged, search_path(spec))
    if problems:
        raise SpecError(problems)
    return comparison


def _also(connection: Connection, spec: Spec, catalog: Catalog, misfit: SpecError) -> Iterator[Problem]:
    """What Postgres has against the filters of the tables that were found: all problems come at once."""
    resolved, _ = Resolver(spec, catalog).resolve()
    scoped = [table for table in resolved.tables.values() if table.spec.access == "scoped"]
    told = {problem.position for problem in misfit.problems}
    for problem in judge(connection, resolved, scoped, search_path(spec)):
        if problem.position not in told:
            yield problem


def apply(
    connection: Connection,
    spec: Spec,
    *,
    allow: Collection[str] = (),
    expected: str | None = None,
    single_transaction: bool = False,
    patience: Patience | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Bring a database to what the spec says.

    Args:
        connection: autocommitting, straight to a primary.
        spec: what is declared.
        allow: names of hazards that may happen.
        expected: the fingerprint of the plan that was reviewed; None applies whatever is needed.
        single_transaction: all or nothing, holding all locks until the end: for small databases.
        patience: how long to wait for locks, and how often.
        progress: called before each transaction.

    Raises:
        SpecError: the spec does not fit the database.
        PlanChanged: the plan is not the expected one.
        HazardRefused: a hazard was not allowed.
        ApplyFailed: a transaction failed; what was committed before it stands, and apply can be run again.
        ServerError: the server or the connection cannot be used for this.
    """
    require_writable_session(connection)
    with exclusive(connection):
        plan = make_plan(connection, spec)
        check_plan(plan, allow, expected)
        return execute(connection, plan, single_transaction=single_transaction, patience=patience, progress=progress)


def check_plan(plan: Plan, allow: Collection[str], expected: str | None) -> None:
    """Refuse a plan that is not the reviewed one, or that has hazards nobody allowed."""
    if expected is not None and plan.fingerprint != expected:
        raise PlanChanged(
            "the database or the spec has changed since this plan was made",
            hint="run plan again, review it, and apply the new file",
        )
    refused = plan.refused(allow)
    if refused:
        names = " ".join(f"--allow {name}" for name in refused)
        raise HazardRefused(
            refused,
            f"refused, since nobody allowed it: {', '.join(refused)}{chr(10)}{plan.hazard_text().rstrip()}",
            hint=f"if that is acceptable: rlsgen apply {names}",
        )


@contextmanager
def exclusive(connection: Connection) -> Iterator[None]:
    """Hold the advisory lock of all applies on this database; a second apply waits here, then finds nothing to do.

    It waits by asking again: a statement that waits would hold a snapshot, for which CREATE INDEX CONCURRENTLY waits.
    """
    with driver_errors("take the advisory lock"):
        while not _locked(connection):
            time.sleep(LOCK_POLL)
    try:
        yield
    finally:
        if not connection.closed and connection.info.transaction_status == TransactionStatus.IDLE:
            with driver_errors("release the advisory lock"):
                connection.execute("SELECT pg_catalog.pg_advisory_unlock(%s)", (ADVISORY_LOCK,), prepare=False)


def _locked(connection: Connection) -> bool:
    row = connection.execute("SELECT pg_catalog.pg_try_advisory_lock(%s)", (ADVISORY_LOCK,), prepare=False).fetchone()
    return row is not None and row[0] is True


def execute(
    connection: Connection,
    plan: Plan,
    *,
    single_transaction: bool = False,
    patience: Patience | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Run a plan's transactions; between any two of them the database stands in a safe state."""
    patience = patience or Patience()
    transactions = plan.transactions
    if single_transaction and transactions:
        statements = tuple(statement for each in transactions for statement in each.statements)
        transactions = (Transaction("everything", (), statements),)
    _prepare_session(connection, patience)
    retries = 0
    try:
        for done, transaction in enumerate(transactions):
            if progress:
                progress(transaction.title, done, len(transactions))
            retries += _run(connection, transaction, plan.search_path, patience, done, len(transactions))
    finally:
        if not connection.closed:
            with driver_errors("reset the session"):
                connection.execute("RESET ALL", prepare=False)
    if progress and transactions:
        progress("done", len(transactions), len(transactions))
    return Outcome(plan, retries)


def _prepare_session(connection: Connection, patience: Patience) -> None:
    """Settings that a role or database may have changed, and that change what literals mean or how long we wait."""
    settings = {
        **SETTINGS,
        "lock_timeout": f"{int(patience.lock_timeout * 1000)}ms",
        "statement_timeout": "0",
        "idle_in_transaction_session_timeout": "60s",  # a killed machine must not hold locks
        "default_transaction_isolation": "read committed",
        "jit": "off",
    }
    with driver_errors("prepare the session"):
        for name, value in settings.items():
            connection.execute("SELECT pg_catalog.set_config(%s, %s, false)", (name, value), prepare=False)


def _run(connection: Connection, transaction: Transaction, path: Sql, patience: Patience, done: int, total: int) -> int:
    """One transaction in one message. Returns how often it had to be tried again."""
    text = script(transaction, path)
    for attempt in range(patience.attempts):
        try:
            connection.execute(text.encode(), prepare=False)
        except _RETRIED as error:
            _rollback(connection)
            if attempt + 1 == patience.attempts or not _worth_retrying(error):
                raise _failed(transaction, error, done, total) from error
            pause = min(patience.first_pause * 2**attempt, patience.longest_pause)
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  (so that two who collide do not collide again)
        except psycopg.Error as error:
            if connection.closed:
                raise _lost(transaction, error, done, total) from error
            _rollback(connection)
            raise _failed(transaction, error, done, total) from error
        except BaseException:
            if not connection.closed:
                _rollback(connection)
            raise
        else:
            return attempt
    raise AssertionError("patience has at least one attempt")


def script(transaction: Transaction, path: Sql) -> Sql:
    """A transaction as one text, for one round trip."""
    begin = fill("BEGIN;\nSET LOCAL search_path = {};\n", path)
    body = "".join(f"{statement};\n" for statement in transaction.statements)
    return Sql(f"{begin}{body}COMMIT")


def _worth_retrying(error: psycopg.Error) -> bool:
    return not isinstance(error, errors.InternalError_) or "concurrently" in (error.diag.message_primary or "")


def _rollback(connection: Connection) -> None:
    try:
        connection.execute("ROLLBACK", prepare=False)
    except psycopg.OperationalError as error:
        raise ServerError(
            "the connection was lost; the transaction is rolled back by the server",
            hint="run plan to see where the database stands, then apply again",
        ) from error


def _lost(transaction: Transaction, error: psycopg.Error, done: int, total: int) -> ApplyFailed:
    said = error.diag.message_primary or str(error).strip()
    stand = f"{done} of {total} transactions are committed, each a safe state; this one is, too, or not at all"
    return ApplyFailed(
        f"{transaction.title}: the connection was lost: {said}\n{stand}",
        done=done,
        total=total,
        hint="run plan to see where the database stands, then apply again",
    )


def _failed(transaction: Transaction, error: psycopg.Error, done: int, total: int) -> ApplyFailed:
    said = error.diag.message_primary or str(error).strip()
    detail = (
        f" ({error.diag.message_detail})" if error.diag.message_detail and "held:" in error.diag.message_detail else ""
    )
    hints = {
        errors.LockNotAvailable: "the table is in use; try again at a quieter time, or with a longer --lock-timeout",
        errors.InsufficientPrivilege: "run as the owner of the table, or as an administrator",
    }
    hint = error.diag.message_hint or next((text for kind, text in hints.items() if isinstance(error, kind)), "")
    stand = f"{done} of {total} transactions are committed, each a safe state; this one is rolled back"
    return ApplyFailed(
        f"{transaction.title}: {said}{detail}\n{stand}",
        done=done,
        total=total,
        hint=hint or "run plan to see what is left, then apply again",
    )
