"""The two sides of a comparison: the unrestricted role, that computes, and the conversation role, that sees.

Both read in REPEATABLE READ, READ ONLY transactions with one snapshot, exported by the first and imported by the
second, so that rows which change meanwhile are the same for both. Nothing is locked but what every SELECT locks.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, LiteralString

import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus

from rlsgen.catalog.connect import driver_errors, open_connection, require_version
from rlsgen.errors import RlsgenError, ServerError
from rlsgen.identifiers import Name, Sql, display, fill, identifier, join, literal
from rlsgen.provision.diff import search_path
from rlsgen.runtime.token import SigningKey, mint
from rlsgen.spec.model import Spec

Connection = psycopg.Connection[Any]
Context = Mapping[str, object]
LOCK_SECONDS = 2.0
"""How long a statement waits for a lock, such as a migration's, before its table counts as uncovered."""

# Whatever changes how values are spelled, or what names mean, is the same on both sides.
_SETTINGS: Mapping[str, str] = {
    "TimeZone": "UTC", "DateStyle": "ISO, MDY", "IntervalStyle": "postgres", "extra_float_digits": "1",
    "bytea_output": "hex", "xmloption": "content", "lc_monetary": "C", "standard_conforming_strings": "on",
    "idle_in_transaction_session_timeout": "0",
}  # fmt: skip
_BEGIN: LiteralString = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_HASH: LiteralString = 'pg_catalog.hashtextextended(ROW({})::text COLLATE "C", 0)'


class SideError(RlsgenError):
    """A statement of one side failed. `state` is the SQLSTATE; the server's own words may show values, and stay out."""

    def __init__(self, side: str, state: str, kind: str, ours: str = "") -> None:
        super().__init__(f"{side} got SQLSTATE {state} ({kind})")
        self.side, self.state, self.kind, self.ours = side, state, kind, ours


class TimeIsUp(RlsgenError):
    """The time budget is spent."""


@dataclass(frozen=True, slots=True)
class Digest:
    """How many rows, and a sum over their hashes: equal for equal rows, whatever their order."""

    count: int
    total: int


@dataclass(slots=True)
class Clock:
    """The time budget, and how long one statement may take."""

    seconds: float | None
    statement_seconds: float
    started: float = field(default_factory=time.monotonic)

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    @property
    def spent(self) -> bool:
        """Whether the time budget is."""
        return self.seconds is not None and self.elapsed >= self.seconds

    def milliseconds(self) -> int:
        """For statement_timeout.

        Raises:
            TimeIsUp: nothing is left.
        """
        left = self.statement_seconds
        if self.seconds is not None:
            left = min(left, self.seconds - self.elapsed)
        if left <= 0:
            raise TimeIsUp("the time budget is spent")
        return max(int(left * 1000), 1)


class Side:
    """One connection and how statements are asked on it."""

    def __init__(self, name: str, connection: Connection, spec: Spec, clock: Clock) -> None:
        self.name, self.connection, self.spec, self.clock = name, connection, spec, clock

    def ask(self, sql: Sql, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query.

        Raises:
            SideError: it failed; the transaction is rolled back.
            ServerError: the connection was lost.
            TimeIsUp: the time budget is spent.
        """
        milliseconds = self.clock.milliseconds()
        try:
            if milliseconds < self.clock.statement_seconds * 1000:
                self.connection.execute(fill("SET LOCAL statement_timeout = {}", literal(milliseconds)).encode())
            cursor = psycopg.RawCursor(self.connection)
            cursor.execute(sql.encode(), list(values) or None)
            return cursor.fetchall() if cursor.description else []
        except psycopg.Error as error:
            raise self.failed(error) from error

    def digest(self, relation: Sql, columns: Sequence[str], values: Sequence[object] = ()) -> Digest:
        """Of the rows of a relation, or of a query in parentheses: computed there, so that no row travels.

        Raises:
            SideError, ServerError, TimeIsUp: as `ask` does.
        """
        hashed = fill(_HASH, join(", ", [fill("t.{}", identifier(name)) for name in columns]))
        query = fill("SELECT count(*), coalesce(sum({}::numeric), 0) FROM {} AS t", hashed, relation)
        ((count, total),) = self.ask(query, values)
        return Digest(int(count), int(total))

    def hashes(self, relation: Sql, columns: Sequence[str], values: Sequence[object] = ()) -> dict[int, int]:
        """How many rows fall into each of 4,096 parts, by their hash: what differs is found, and no row travels."""
        hashed = fill(_HASH, join(", ", [fill("t.{}", identifier(name)) for name in columns]))
        query = fill("SELECT {} & 4095, count(*) FROM {} AS t GROUP BY 1", hashed, relation)
        return {int(part): int(count) for part, count in self.ask(query, values)}

    def failed(self, error: psycopg.Error) -> RlsgenError:
        """The error as ours; the transaction is ended."""
        if self.connection.closed or self.connection.broken:
            return ServerError(
                f"the connection of {self.name} was lost", hint="see that the server is up, then try again"
            )
        ours = error.diag.message_primary or ""
        known = ours if ours in ("no tenant context", "context token refused") else ""
        self.rollback()
        return SideError(self.name, error.sqlstate or "?", type(error).__name__, known)

    def rollback(self) -> None:
        """End the transaction, if there is one."""
        if not self.connection.closed and self.connection.info.transaction_status != TransactionStatus.IDLE:
            with driver_errors("roll back"):
                self.connection.execute("ROLLBACK")

    def begin(self, how: Sql, **settings: str) -> None:
        """A transaction with the settings that both sides share."""
        self.rollback()
        self.connection.execute(how.encode())
        self._settle(settings)

    def _settle(self, more: Mapping[str, str]) -> None:
        values = {
            **_SETTINGS, "search_path": search_path(self.spec), "lock_timeout": f"{int(LOCK_SECONDS * 1000)}ms",
            "statement_timeout": f"{self.clock.milliseconds()}ms", **more,
        }  # fmt: skip
        pairs = [(literal(name), literal(value)) for name, value in values.items()]
        calls = [fill("pg_catalog.set_config({}, {}, true)", *pair) for pair in pairs]
        self.connection.execute(fill("SELECT {}", join(", ", calls)).encode())


class Unrestricted(Side):
    """The role that reads everything. `row_security = off` makes Postgres refuse whatever a policy would shorten."""

    def snapshot(self) -> str | None:
        """Begin, and export the snapshot; None where the server cannot: a standby."""
        try:
            self.begin(Sql(_BEGIN), row_security="off")
            if self.connection.execute("SELECT pg_catalog.pg_is_in_recovery()").fetchone() == (True,):
                return None
            row = self.connection.execute("SELECT pg_catalog.pg_export_snapshot()").fetchone()
        except psycopg.Error as error:
            raise self.failed(error) from error
        return str(row[0]) if row else None

    def require_everything(self, names: Sequence[Name]) -> None:
        """Refuse a role that does not read all of these relations in whole.

        Raises:
            ServerError: it does not; what it cannot read is named.
        """
        query = fill(
            "SELECT n.nspname, c.relname, row_security_active(c.oid),"
            " has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')"
            " FROM ROWS FROM (pg_catalog.unnest(ARRAY[{}]::text[]), pg_catalog.unnest(ARRAY[{}]::text[])) AS w (s, r)"
            " JOIN pg_catalog.pg_namespace AS n ON n.nspname = w.s"
            " JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.r",
            join(", ", [literal(name.schema) for name in names]),
            join(", ", [literal(name.name) for name in names]),
        )
        with driver_errors("see what the unrestricted role may read"):
            rows = self.connection.execute(query.encode()).fetchall()
        user = display(self.connection.info.user)
        unreadable = [str(Name(s, r)) for s, r, _, readable in rows if not readable]
        limited = [str(Name(s, r)) for s, r, active, readable in rows if readable and active]
        if unreadable:
            raise ServerError(
                f"{user} may not read {_few(unreadable)}, and verify compares with everything",
                hint="give --dsn a role that reads every declared table: the owner, or one with BYPASSRLS",
            )
        if limited:
            raise ServerError(
                f"row security applies to {user} on {_few(limited)}, so it does not see every row",
                hint="give --dsn the owner (without force: true), or a role with BYPASSRLS",
            )


class Conversation(Side):
    """The conversation role, under one context at a time, or under none."""

    def __init__(self, connection: Connection, spec: Spec, clock: Clock, key: SigningKey) -> None:
        super().__init__("the conversation role", connection, spec, clock)
        self.key = key

    def enter(self, context: Context | None, snapshot: str | None, how: LiteralString = _BEGIN) -> None:
        """Begin under a context; without one, None.

        Raises:
            SideError: the snapshot cannot be imported (state 22023 or 55000), or the context is refused.
        """
        try:
            self.rollback()
            self.connection.execute(how)
            if snapshot is not None:
                self.connection.execute(fill("SET TRANSACTION SNAPSHOT {}", literal(snapshot)).encode())
            self._settle({})
            if context is not None:
                self.connection.execute("SELECT rlsgen.set_context(%s)", [mint(self.key, self.spec.context, context)])
        except psycopg.Error as error:
            raise self.failed(error) from error

    def attempt(self, *statements: tuple[Sql, Sequence[object]]) -> tuple[str, int, int]:
        """Run what may fail, in a savepoint: its SQLSTATE or nothing, then rows given and rows touched by the last."""
        self.clock.milliseconds()
        rows: list[object] = []
        touched = 0
        try:
            with self.connection.transaction():
                for sql, values in statements:
                    cursor = psycopg.RawCursor(self.connection)
                    cursor.execute(sql.encode(), list(values) or None)
                    rows, touched = (cursor.fetchall() if cursor.description else []), cursor.rowcount
        except psycopg.Error as error:
            if self.connection.closed:
                raise self.failed(error) from error
            return error.sqlstate or "?", 0, 0
        return "", len(rows), touched


@dataclass(slots=True)
class Stage:
    """Both sides at one moment, for one context after another."""

    truth: Unrestricted
    talk: Conversation
    together: bool = True  # whether snapshots are shared
    _snapshot: str | None = None

    def enter(self, context: Context | None) -> None:
        """A new snapshot, and the conversation under this context.

        Raises:
            SideError: the context is refused.
        """
        self._snapshot = self.truth.snapshot()
        self.together = self.together and self._snapshot is not None
        try:
            self.talk.enter(context, self._snapshot if self.together else None)
        except SideError as error:
            if not self.together or error.state not in ("22023", "55000", "0A000", "58P01", "42704"):
                raise
            self.together = False  # another server, or another database of this one
            self.talk.enter(context, None)

    def leave(self) -> None:
        """End both transactions."""
        self.talk.rollback()
        self.truth.rollback()


@contextmanager
def opened(dsn: str | None, conversation_dsn: str, spec: Spec, key: SigningKey, clock: Clock) -> Iterator[Stage]:
    """Both connections, checked to be whom they should be, on the same database.

    Raises:
        ServerError: they are not, or the connection fails.
    """
    with open_connection(dsn) as truth, open_connection(conversation_dsn) as talk:
        require_version(truth)
        require_version(talk)
        stage = Stage(Unrestricted("the unrestricted role", truth, spec, clock), Conversation(talk, spec, clock, key))
        _require_roles(truth, talk, spec)
        try:
            yield stage
        finally:
            for each in (truth, talk):
                each.close()


def _require_roles(truth: Connection, talk: Connection, spec: Spec) -> None:
    with driver_errors("ask who is connected"):
        (me, _), (user, login) = (
            each.execute("SELECT current_user, session_user").fetchone() or ("", "") for each in (truth, talk)
        )
    if spec.conversation != user or user != login:
        raise ServerError(
            f"--conversation-dsn is {display(login)}'s, and conversations are {display(spec.conversation)}'s",
            hint="verify must see what a conversation sees: log in as the conversation role itself",
        )
    if me == spec.conversation:
        raise ServerError(
            f"--dsn is {display(me)}'s, the conversation role's own",
            hint="the unrestricted side computes what should be seen: give it the owner, or a role with BYPASSRLS",
        )


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(sorted(names)[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")


DENIED = errors.InsufficientPrivilege.sqlstate
