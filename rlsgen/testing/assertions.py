"""What tests claim about isolation. What was not compared proves nothing, a mistake is no refusal."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING

import psycopg

from rlsgen.errors import ContextRefused, QueryFailed, RlsgenError, SpecError, StatementRefused
from rlsgen.testing.database import IsolatedDatabase
from rlsgen.testing.mistakes import mistake

if TYPE_CHECKING:
    from rlsgen.proof.verify import VerifyResult

_PRIVILEGE = "42501"  # insufficient_privilege: no right, no context, or a row that a policy does not take


def assert_isolated(
    database: IsolatedDatabase,
    *contexts: Mapping[str, object],
    tables: Collection[str] = (),
    attacks: bool = False,
) -> VerifyResult:
    """Each tenant sees exactly the rows that the spec gives it, in every table, and writes no others.

    `rlsgen verify` on this database: conversations are compared with plain joins for the tenants that are found in the
    data and for `contexts`; tables without rows get some; writes are tried; all of it is rolled back. Rows that your
    test has not committed are not seen.

    Args:
        database: what the fixture `isolated_database` gave.
        contexts: tenants to compare besides those in the data.
        tables: only what is found about these counts, by their names as verify shows them: public.orders, or orders.
        attacks: also try the attack catalogue; it takes seconds.

    Raises:
        AssertionError: rows leak, are missing, or something could not be compared.
    """
    __tracebackhide__ = True
    # It needs the guard, the attacks and the rest: not for tests that only refuse.
    from rlsgen.proof.attacks.catalogue import catalogue  # noqa: PLC0415
    from rlsgen.proof.verify import Options, verify  # noqa: PLC0415

    try:
        result = verify(
            database.spec, database.signing_key,
            database.server.dsn(database.name), database.dsn(database.conversation),
            options=Options(writes=True, plant=True), contexts=contexts, attacks=catalogue() if attacks else (),
        )  # fmt: skip
    except SpecError as error:
        raise AssertionError(f"not isolated: the spec does not fit the database {database.name}:\n{error}") from error
    wrong = list(_wrong(result, tables))
    if wrong:
        raise AssertionError("\n".join([f"not isolated: {database.name}", *wrong]))
    return result


def _wrong(result: VerifyResult, tables: Collection[str]) -> Iterator[str]:
    """What is wrong, a line for each."""
    known = [table for table in result.tables if not tables or _named(str(table.table), tables)]
    missing = [name for name in tables if not any(_named(str(table.table), [name]) for table in result.tables)]
    for name in missing:
        yield f"  {name}: no such table was compared; verify knows {', '.join(str(t.table) for t in result.tables)}"
    for table in known:
        if table.status != "isolated":
            notes = "; ".join(note.message for note in table.notes if note.status == table.status)
            yield f"  {table.table}: {table.status}: {notes}"
    if tables:
        return
    for attack in result.attacks:
        if attack.status == "leak":
            yield f"  attack {attack.id}, ring {attack.ring}: leak: {attack.title}"
    for left in result.uncovered:
        if not left.what.startswith("table "):  # which is told above
            yield f"  {left.what}: not compared: {left.why}"
    if not known:
        yield "  no table was compared"


def _named(table: str, names: Collection[str]) -> bool:
    return table in names or table.partition(".")[2] in names


class assert_refused:  # noqa: N801 - it is read as an assertion
    """`with assert_refused():` something in the block is refused: not run, or denied by the database.

    Taken as refusals: StatementRefused, ContextRefused, and Postgres' insufficient_privilege, from psycopg, from a
    conversation or wrapped by SQLAlchemy. What returns, changes nothing or finds no rows was not refused; a mistake in
    the SQL, a missing table or a timeout neither: those fail the test, also where the guard has refused them, which
    does not say what exists. Around `await` it is a plain `with`.

    Args:
        reason: what StatementRefused must give as its `reason`: relation, function, statement...
        match: what the message must contain.

    Attributes:
        error: the refusal, after the block.
    """

    def __init__(self, reason: str = "", match: str = "") -> None:
        self.error: BaseException | None = None
        self._reason = reason
        self._match = match

    def __enter__(self) -> assert_refused:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> bool:
        __tracebackhide__ = True
        if error is None:
            raise AssertionError("not refused: the block ran to its end")
        if not isinstance(error, Exception):
            return False  # Ctrl-C, and pytest's own
        refusal = next((each for each in _chain(error) if _refuses(each)), None)
        if refusal is None:
            raise AssertionError(f"not refused, but failed: {type(error).__name__}: {error}") from error
        reason = getattr(refusal, "reason", "")
        if isinstance(refusal, StatementRefused) and (wrong := mistake(refusal, self._reason)):
            raise AssertionError(f"not refused, but mistaken, since nobody could run it: {wrong}") from error
        if self._reason and reason != self._reason:
            message = (
                f"refused, but for another reason: {reason or type(refusal).__name__}, not {self._reason}: {refusal}"
            )
            raise AssertionError(message) from error
        if self._match not in str(refusal):
            raise AssertionError(f"refused, but without saying {self._match!r}: {refusal}") from error
        self.error = refusal
        return True


def _refuses(error: BaseException) -> bool:
    if isinstance(error, StatementRefused | ContextRefused):
        return True
    if isinstance(error, QueryFailed | psycopg.Error):
        return error.sqlstate == _PRIVILEGE
    return False


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, and what SQLAlchemy wrapped in it."""
    yield error
    inner = getattr(error, "orig", None)
    if isinstance(inner, BaseException) and not isinstance(error, RlsgenError):
        yield from _chain(inner)
