"""Runs attacks: on a raw connection of the conversation role (ring 1), and through the guard and the pool (ring 2).

What is not known to be an answer counts as a leak: an error that the catalogue does not expect says that the attack did
something else than was thought.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import psycopg

from rlsgen.catalog.connect import open_connection
from rlsgen.errors import (
    ContextRefused,
    QueryFailed,
    QueryTimeout,
    RlsgenError,
    StatementRefused,
    Unhealthy,
)
from rlsgen.identifiers import Sql, fill, literal
from rlsgen.proof.attacks.catalogue import Attack
from rlsgen.proof.attacks.places import filled
from rlsgen.proof.attacks.target import Target, find_target
from rlsgen.proof.attacks.tokens import forged
from rlsgen.proof.attacks.wire import Reply, message
from rlsgen.proof.verify.pairs import Subject
from rlsgen.proof.verify.result import AttackResult, AttackStatus
from rlsgen.proof.verify.sides import DENIED, Context, Conversation, Stage
from rlsgen.proof.verify.truth import spelled
from rlsgen.provision.resolve import Resolved
from rlsgen.runtime.guard import Guard
from rlsgen.runtime.pool import ConversationPool
from rlsgen.runtime.schema import build_schema, schema_query, schemas_of
from rlsgen.runtime.token import mint
from rlsgen.spec.model import Limits

_NOTHING = frozenset({None, "", "f", "false", "0", 0})
_LOCKED = "55P03"


class Attacks:
    """Runs attacks against one database, as one of its tenants after another's rows."""

    def __init__(
        self, stage: Stage, resolved: Resolved, subjects: Sequence[Subject], contexts: Sequence[Context], *,
        writes: bool,
    ) -> None:  # fmt: skip
        self._stage, self._resolved, self._writes = stage, resolved, writes
        self._subjects, self._contexts = subjects, contexts
        self._version = resolved.catalog.server_version // 10_000

    def run(self, attacks: Sequence[Attack], conversation_dsn: str) -> Iterator[AttackResult]:
        """Every attack on each of its rings, in order.

        Raises:
            SideError, ServerError: the unrestricted role could not read what attacks need.
            TimeIsUp: the time budget is spent.
        """
        target = find_target(self._stage, self._resolved, self._subjects, self._contexts)
        if target is None:
            yield from (self._skipped(each, ring, _NOBODY) for each in attacks for ring in each.rings)
            return
        with ExitStack() as stack:
            guarded: _Guarded | str | None = None
            for attack in attacks:
                for ring in attack.rings:
                    self._stage.talk.clock.milliseconds()
                    sql = filled(attack.sql, self._places(target))
                    why = self._inapplicable(attack, sql)
                    if why or sql is None:
                        yield self._skipped(attack, ring, why)
                    elif ring == 1:
                        yield self._raw(attack, sql, target, conversation_dsn)
                    else:
                        talk = self._stage.talk
                        guarded = guarded or _opened(stack, self._resolved, talk, target, conversation_dsn)
                        if isinstance(guarded, str):
                            yield self._skipped(attack, 2, guarded)
                        else:
                            yield guarded.run(attack, sql)

    def _places(self, target: Target) -> dict[str, Sql]:
        talk = self._stage.talk
        return {**target.places, "token": literal(mint(talk.key, talk.spec.context, target.context))}

    def _inapplicable(self, attack: Attack, sql: Sql | None) -> str:
        if self._version < attack.since:
            return f"its syntax came with PostgreSQL {attack.since}"
        if attack.writes and not self._writes:
            return "it could write: --writes tries it, and rolls back"
        return "this database has nothing that it could be tried on" if sql is None else ""

    def _skipped(self, attack: Attack, ring: int, why: str) -> AttackResult:
        return AttackResult(attack.id, ring, "skipped", attack.title, why, attack.sql)

    # Ring 1

    def _raw(self, attack: Attack, sql: Sql, target: Target, dsn: str) -> AttackResult:
        extended = {"simple": (False,), "extended": (True,), "both": (False, True)}[attack.protocol]
        status, detail = "blocked", ""
        for each in extended:
            how = "extended" if each else "simple"
            # A connection of its own: what one attack leaves in a session must not decide about the next.
            with open_connection(dsn) as connection:
                status, detail = self._attacked(attack, sql, target, connection, extended=each)
            if status == "leak":
                return AttackResult(attack.id, 1, "leak", attack.title, f"{how} protocol: {detail}", attack.sql)
        return AttackResult(attack.id, 1, "blocked", attack.title, detail, attack.sql)

    def _attacked(
        self, attack: Attack, sql: Sql, target: Target, connection: psycopg.Connection[object], *, extended: bool
    ) -> tuple[AttackStatus, str]:
        talk = self._stage.talk
        connection.execute("BEGIN READ WRITE" if attack.writes else "BEGIN READ ONLY")
        settings = fill(
            "SELECT pg_catalog.set_config('statement_timeout', {}, true),"
            " pg_catalog.set_config('lock_timeout', '500', true)",
            literal(str(talk.clock.milliseconds())),
        )
        connection.execute(settings.encode())
        token = attack.token
        if token is None or token.after == "valid":
            connection.execute("SELECT rlsgen.set_context(%s)", [mint(talk.key, talk.spec.context, target.context)])
        if token is not None:
            text = forged(token, talk.key, talk.spec, target.context, target.other)
            sql = fill("SELECT rlsgen.set_context({})", literal(text))
        try:
            reply = message(connection, sql, extended=extended)
            status, detail = _judged(attack, reply)
            if status == "blocked" and token is None:
                return self._context(connection, target) or (status, detail)
        except psycopg.OperationalError:
            return "leak", "unknown: the connection was lost"
        return status, detail

    def _context(self, connection: psycopg.Connection[object], target: Target) -> tuple[AttackStatus, str] | None:
        """Whether an accessor now believes in another context, in this transaction or in the next one."""
        for _ in range(2):
            for field, function in target.accessors:
                reply = message(connection, fill("SELECT {}()::text", function), extended=False)
                told = reply.rows[0][0] if reply.rows else None
                # An aborted transaction and a missing context are no answer; NULL is one only where it is the truth.
                if not reply.state and told != _as_text(target.context.get(field.name)):
                    return "leak", f"the context is forged: {field.name} is another one afterwards"
            message(connection, "ROLLBACK", extended=False)
            message(connection, "BEGIN READ ONLY", extended=False)
        return None


def _judged(attack: Attack, reply: Reply) -> tuple[AttackStatus, str]:
    if reply.state:
        if reply.state in (DENIED, *attack.blocked_by):
            return "blocked", f"SQLSTATE {reply.state}"
        if reply.state == _LOCKED:
            return "skipped", "another session holds a lock on what it attacks"
        return "leak", f"unknown: it ended with SQLSTATE {reply.state}, which nobody expected"
    return _given(attack, reply.rows)


def _given(attack: Attack, rows: Sequence[Sequence[object]]) -> tuple[AttackStatus, str]:
    if attack.leak_if in ("success", "allowed"):
        return "leak", "it was not refused"
    if attack.leak_if == "rows" and rows:
        return "leak", f"{len(rows)} rows came back"
    if attack.leak_if == "value" and any(row[0] not in _NOTHING for row in rows if row):
        return "leak", "it gave a value"
    return "blocked", "it gave nothing"


def _as_text(value: object) -> str | None:
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, list | tuple) and all(isinstance(each, int) for each in value):
        return "{" + ",".join(map(str, value)) + "}"
    return spelled(value)


# Ring 2


class _Guarded:
    """The guard in front of the same database, without the limits that would slow attacks down."""

    def __init__(self, pool: ConversationPool, guard: Guard, target: Target) -> None:
        self._pool, self._guard, self._target = pool, guard, target

    def run(self, attack: Attack, sql: Sql) -> AttackResult:
        status, detail = self._tried(attack, sql)
        return AttackResult(attack.id, 2, status, attack.title, detail, attack.sql)

    def _tried(self, attack: Attack, sql: Sql) -> tuple[AttackStatus, str]:
        try:
            if attack.leak_if == "allowed":
                self._guard.check(sql)
                return "leak", "the guard lets it through"
            with self._pool.conversation(self._target.context) as conversation:
                return _given(attack, conversation.query(sql).rows)
        except StatementRefused as error:
            return "blocked", f"refused: {error.reason}"
        except ContextRefused:
            return "blocked", "the context was refused"
        except QueryFailed as error:
            known = error.sqlstate in (DENIED, *attack.blocked_by)
            said = f"SQLSTATE {error.sqlstate}"
            return ("blocked", said) if known else ("leak", f"unknown: it passed the guard and ended with {said}")
        except QueryTimeout:
            return "leak", "unknown: it passed the guard and ran until it was stopped"


_NOBODY = "there is no table in which two tenants, told apart by one value, have rows"


def _opened(stack: ExitStack, resolved: Resolved, talk: Conversation, target: Target, dsn: str) -> _Guarded | str:
    """The guard, or why there is none."""
    limits = Limits(seconds=talk.clock.statement_seconds)
    try:
        pool = ConversationPool(
            dsn, resolved.spec, talk.key, min_size=1, max_size=1, writes=False, limits=limits, known_holes="warn",
            self_check_seconds=3_600.0,
        )  # fmt: skip
    except Unhealthy as error:
        return f"the runtime refuses conversations with this database: {error.problems[0].message}"
    except RlsgenError as error:
        return f"no conversation could be opened: {error.message}"
    rows = psycopg.RawCursor(talk.connection).execute(schema_query(), [schemas_of(resolved.spec)]).fetchall()
    return _Guarded(stack.enter_context(pool), Guard(resolved.spec, build_schema(resolved.spec, rows)), target)
