"""What the pools for threads and for asyncio share: everything about conversations and their statements but the I/O."""

from __future__ import annotations

import logging
import math
import os
import secrets
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from psycopg.conninfo import conninfo_to_dict

from rlsgen.errors import Closed, Problem, RlsgenError, ServerError, Unhealthy
from rlsgen.runtime.audit import AuditLog
from rlsgen.runtime.describe import Description, describe
from rlsgen.runtime.guard import Guard
from rlsgen.runtime.health import Health, KnownHoles, health_parameters, health_query, judge
from rlsgen.runtime.limits import Admission, limit_key
from rlsgen.runtime.result import Adapters, Row, TypeNames
from rlsgen.runtime.schema import Schema, build_schema, schema_query, schemas_of
from rlsgen.runtime.session import Failed, Interrupted, Order
from rlsgen.runtime.token import MAX_LIFETIME_SECONDS, SigningKey, canonical_context, sign
from rlsgen.runtime.wire import READ, context_statement, dump
from rlsgen.spec.fingerprint import common_fields
from rlsgen.spec.load import load_spec
from rlsgen.spec.model import ContextField, Limits, Spec

CANCEL_SECONDS = 5.0
"""How long cancelling, and learning what a write came to, may take before a connection is given up."""
CHECK_SECONDS = 30.0
"""How long each of the self-check's two queries may take."""
RECHECK_SECONDS = 5.0
"""Statements that fail as if the database had changed bring the next self-check forward, at most this often."""
TOKEN_SECONDS = 30

_POOLER = Problem(
    "without the guard, a pooler between here and the server would pass on what a text leaves behind in its session",
    hint="connect to the server itself, or leave the guard on",
)

logger = logging.getLogger("rlsgen")


@dataclass(frozen=True, slots=True)
class Options:
    """What a pool was asked for; docs/runtime.md explains each."""

    max_size: int
    timeout: float
    guard: bool
    twins: bool
    writes: bool | None
    time_zone: str
    limits: Limits | None
    known_holes: KnownHoles
    self_check_seconds: float
    lock_seconds: float
    literals: bool


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What the self-check found: replaced as a whole, so that each statement sees one state of it."""

    health: Health
    schema: Schema
    guard: Guard | None
    names: TypeNames
    fields: tuple[ContextField, ...]  # those that the database knows


@dataclass(frozen=True, slots=True)
class Talk:
    """One conversation's facts."""

    id: str
    user: str
    context: Mapping[str, Any] = field(repr=False)  # canonical
    key: Hashable


class Core:
    """A pool without its connections. Thread-safe: what changes is replaced as a whole."""

    def __init__(self, spec: Spec | Path | str, signing_key: SigningKey | str, options: Options, dsn: str) -> None:
        self.spec = spec if isinstance(spec, Spec) else load_spec(Path(spec))
        self.options = options
        self.limits = self.spec.limits if options.limits is None else options.limits
        self.writes = options.guard if options.writes is None else options.writes
        self.adapters = Adapters(options.time_zone)
        self.admission = Admission(self.limits, options.max_size)
        self.audit = AuditLog(
            self.spec.context, literals=options.literals, namespace=str(conninfo_to_dict(dsn).get("dbname") or "")
        )
        self.closed = False
        self._key = signing_key if isinstance(signing_key, SigningKey) else SigningKey.parse(signing_key)
        self._pid = os.getpid()
        self._known: Knowledge | None = None
        self._suspected = 0.0
        zone, seconds, lock = options.time_zone, self.limits.seconds, options.lock_seconds
        self.sealed = context_statement(self.spec, zone, seconds=seconds, lock_seconds=lock)
        self.plain = context_statement(self.spec, zone, seconds=CHECK_SECONDS, lock_seconds=lock, token=False)

    # Conversations

    def talk(self, context: Mapping[str, object], user: str) -> Talk:
        """The facts of a new conversation.

        Raises:
            InvalidContext: the context does not fit the spec.
        """
        self.require_open()
        canonical = canonical_context(self.spec.context, context)
        return Talk(secrets.token_hex(8), user, canonical, limit_key(self.limits, canonical))

    def describe(self, talk: Talk, tables: Sequence[str], *, filters: bool) -> Description:
        """The schema as a conversation may see it.

        Raises:
            RlsgenError: a table is not there for conversations.
            Unhealthy: that this database must not be used.
        """
        known = self.known
        context = {name: value for name, value in talk.context.items() if name in {each.name for each in known.fields}}
        return describe(self.spec, known.schema, context=context, tables=tables, filters=filters, writes=self.writes)

    def require_open(self) -> None:
        """Raises Closed if the pool must not be used (any more, or in this process)."""
        if self.closed:
            raise Closed("this pool is closed", hint="open another one")
        if os.getpid() != self._pid:
            hint = "connections cannot be shared by processes: make a pool in each one, after the fork"
            raise Closed("this pool was made by another process", hint=hint)

    @property
    def known(self) -> Knowledge:
        """What the last self-check found.

        Raises:
            Unhealthy: that this database must not be used.
        """
        known = self._known
        if known is None:
            raise Unhealthy([Problem("the database has not been checked yet")])
        if known.health.problems:
            message = "conversations with this database are refused: its self-check found that it is not as it must be"
            hint = "whoever runs the pool finds the reasons in its log and in health()"
            raise Unhealthy(known.health.problems, message, hint=hint)
        return known

    @property
    def health(self) -> Health | None:
        """What the last self-check found, good or bad."""
        return self._known.health if self._known is not None else None

    def token(self, talk: Talk, fields: tuple[ContextField, ...]) -> bytes:
        """A token for one statement."""
        context = talk.context
        if len(fields) < len(self.spec.context):  # the database knows fewer
            names = {each.name for each in fields}
            context = {name: value for name, value in context.items() if name in names}
        lifetime = min(MAX_LIFETIME_SECONDS, TOKEN_SECONDS + math.ceil(self.limits.seconds or 0))
        return sign(self._key, context, lifetime_seconds=lifetime).encode()

    # The self-check

    def inspections(self) -> tuple[Order, Order]:
        """What to ask the server for `inspected`: two orders, whose rows it wants."""

        def order(text: bytes, *parameters: object) -> Order:
            deadline = time.monotonic() + CHECK_SECONDS
            return Order(READ, self.plain, text, None, *dump(parameters), deadline=deadline)

        schemas = schemas_of(self.spec)
        return order(health_query(), *health_parameters(self.spec)), order(schema_query(), schemas)

    def inspected(self, facts: Sequence[Row], relations: Sequence[Row], backend: int) -> Health:
        """Judge what the server answered, and work with it from now on. `backend`: its pid, as the client knows it."""
        options, before = self.options, self._known
        health = judge(self.spec, facts[0][0], known_holes=options.known_holes)
        if not options.guard and facts[0][0]["backend"] != backend:
            health = replace(health, problems=(*health.problems, _POOLER))
        schema = build_schema(self.spec, relations)
        if before is not None and before.schema == schema:
            guard, names, schema = before.guard, before.names, before.schema
        else:
            guard = Guard(self.spec, schema, twins=options.twins) if options.guard else None
            names = TypeNames(schema)
        fields = common_fields(self.spec, health.fingerprint) if health.fingerprint else self.spec.context
        self._known = Knowledge(health, schema, guard, names, fields)
        self._report(before.health if before is not None else None, health)
        return health

    def suspect(self) -> bool:
        """Whether to check at once, since a statement failed as if the database had changed."""
        now = time.monotonic()
        if now - self._suspected < RECHECK_SECONDS:
            return False
        self._suspected = now
        return True

    @staticmethod
    def _report(before: Health | None, now: Health) -> None:
        for problem in now.problems if before is None or before.problems != now.problems else ():
            logger.error("self-check: %s", problem)
        for warning in now.warnings if before is None or before.warnings != now.warnings else ():
            logger.warning("self-check: %s", warning)
        if before is not None and before.problems and not now.problems:
            logger.warning("self-check: the database may be used again")

    @staticmethod
    def unreadable(error: Failed | Interrupted) -> RlsgenError:
        """The self-check itself failed."""
        if isinstance(error, Failed):
            message = f"the self-check failed: {error.diagnosis.message} ({error.diagnosis.sqlstate})"
            return ServerError(message, hint="can the conversation role read the catalog?")
        return ServerError("the self-check could not be done: no answer from the database")
