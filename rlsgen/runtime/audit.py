"""The audit log: one event per decision and statement, to logging as one line of JSON, and to OpenTelemetry if present.

What leaves here: no value of the context that the spec does not mark loggable, no parameter, and no constant or comment
of a text, unless texts are asked for.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import lru_cache
from importlib import import_module
from typing import Any, Literal

import postgast
from postgast import pg_query_pb2 as pb

from rlsgen.errors import StatementRefused
from rlsgen.runtime.guard.deep import deep
from rlsgen.runtime.guard.text import Text
from rlsgen.runtime.statement import Statement
from rlsgen.spec.model import ContextField
from rlsgen.spec.sqltext import COMMENTS, tokens

LOGGER = "rlsgen.audit"
MAX_CHARACTERS = 10_000
"""Of each text in an event: what is longer ends in an ellipsis."""

Decision = Literal["allowed", "refused", "failed", "timeout", "limited"]


def _opentelemetry() -> Any:
    """Its tracing API, if it is installed: rlsgen[otel]."""
    try:
        return import_module("opentelemetry.trace")
    except ImportError:
        return None


_trace = _opentelemetry()
_CONSTANTS = (pb.SCONST, pb.USCONST, pb.ICONST, pb.FCONST, pb.BCONST, pb.XCONST)


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """What was decided about one statement, and what came of it. Made by `AuditLog.event`, which leaves values out."""

    time: float  # seconds since 1970, when the text came in
    decision: Decision
    conversation: str
    user: str
    context: Mapping[str, object]  # loggable fields only
    reason: str = ""  # StatementRefused.reason, LimitReached.limit, or the name of an error
    sqlstate: str = ""
    command: str = ""  # select, insert, update, delete
    relations: tuple[str, ...] = ()
    fingerprint: str = ""  # the same for statements that differ in constants alone
    statement: str = ""  # the text without constants and comments
    length: int = 0  # characters of the text
    sha256: str = ""  # of a text that cannot be parsed, and of which nothing else is told
    text: str = ""  # only if texts are asked for
    rows: int | None = None
    bytes: int | None = None
    truncated: bool = False
    elapsed_ms: float | None = None  # from the first byte sent to the last row
    waited_ms: float | None = None  # for a turn

    @property
    def line(self) -> str:
        """One line of JSON in ASCII: nothing in a user's or a model's text can end it, or begin another."""
        shown = {each.name: getattr(self, each.name) for each in fields(self)}
        shown["time"] = datetime.fromtimestamp(self.time, UTC).isoformat(timespec="milliseconds")
        return json.dumps({name: each for name, each in shown.items() if _tells(name, each)}, default=str)


class AuditLog:
    """Where events go. With its logger disabled and no OpenTelemetry set up, `enabled` is false: build nothing then."""

    def __init__(self, context: Sequence[ContextField], *, literals: bool = False, namespace: str = "") -> None:
        """What to log.

        Args:
            context: the spec's fields, some of which are loggable.
            literals: whether texts are logged as they came, with their constants.
            namespace: the database's name, for spans.
        """
        self._loggable = frozenset(field.name for field in context if field.loggable)
        self._literals = literals
        self._namespace = namespace
        self._logger = logging.getLogger(LOGGER)
        if not any(isinstance(each, logging.NullHandler) for each in self._logger.handlers):
            # Where nobody set logging up, Python prints warnings to stderr: texts and context values would be there.
            self._logger.addHandler(logging.NullHandler())
        self._tracer: Any = _trace.get_tracer("rlsgen") if _trace else None

    def enabled(self, decision: Decision = "allowed") -> bool:
        """Whether an event of that kind would go anywhere."""
        return self._logger.isEnabledFor(_level(decision)) or self._tracing

    @property
    def _tracing(self) -> bool:
        # Without a provider that was set up, spans lead nowhere; one can be set up at any time.
        nowhere = (_trace.ProxyTracerProvider, _trace.NoOpTracerProvider) if _trace else ()
        return bool(nowhere) and not isinstance(_trace.get_tracer_provider(), nowhere)

    def event(
        self,
        text: str,
        statement: Statement | None,
        *,
        time: float,
        decision: Decision,
        conversation: str = "",
        user: str = "",
        context: Mapping[str, object],
        reason: str = "",
        sqlstate: str = "",
        rows: int | None = None,
        bytes: int | None = None,
        truncated: bool = False,
        elapsed_ms: float | None = None,
        waited_ms: float | None = None,
    ) -> AuditEvent:
        """An event about a text, with what must not be logged left out.

        Args:
            text: as it came.
            statement: what the guard made of it; None where it did not pass, or there is no guard.
            time: seconds since 1970, when it came in.
            decision: what became of it: refused (by guard or database), failed, timeout, limited, or allowed.
            conversation: its id.
            user: as the application names the conversation's user.
            context: the whole context.
            reason: StatementRefused.reason, LimitReached.limit, or the name of an error's class.
            sqlstate: Postgres' code, where there is one.
            rows: how many came back, or were written.
            bytes: of the rows.
            truncated: whether a limit cut them.
            elapsed_ms: milliseconds from the first byte sent to the last row.
            waited_ms: milliseconds before there was a turn.
        """
        said = _said(text) if statement is None else _Said(statement.fingerprint, _without_constants(text), "")
        return AuditEvent(
            time=time,
            decision=decision,
            conversation=_plain(conversation),
            user=_plain(user),
            context={name: _value(each) for name, each in context.items() if name in self._loggable},
            reason=reason,
            sqlstate=sqlstate,
            command=statement.command if statement else "",
            relations=_relations(statement),
            fingerprint=said.fingerprint,
            statement=said.statement,
            length=len(text),
            sha256=said.sha256,
            text=_plain(text) if self._literals else "",
            rows=rows,
            bytes=bytes,
            truncated=truncated,
            elapsed_ms=None if elapsed_ms is None else round(elapsed_ms, 3),
            waited_ms=None if waited_ms is None else round(waited_ms, 3),
        )

    def record(self, event: AuditEvent) -> None:
        """Log it (INFO if allowed, else WARNING), and make a span of it.

        The span begins at the event's time. Call this in the caller's own thread or task: the span's parent is the one
        that is current there.
        """
        level = _level(event.decision)
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s", event.line)
        if self._tracing:
            self._span(event)

    def _span(self, event: AuditEvent) -> None:
        # https://opentelemetry.io/docs/specs/semconv/db/postgresql/ (stable): names and meanings of db.* and error.type
        summary = " ".join((event.command.upper() or event.decision, *event.relations))[:255]
        shown = {
            "db.system.name": "postgresql",
            "db.namespace": self._namespace,
            "db.operation.name": event.command.upper(),
            "db.query.summary": summary if event.command else "",
            "db.query.text": event.text or event.statement,
            "db.collection.name": event.relations[0] if len(event.relations) == 1 else "",
            "db.response.status_code": event.sqlstate,
            "db.response.returned_rows": event.rows,
            "error.type": "" if event.decision == "allowed" else event.sqlstate or event.reason or event.decision,
            "user.id": event.user,
            "rlsgen.conversation": event.conversation,
            "rlsgen.decision": event.decision,
            "rlsgen.reason": event.reason,
            "rlsgen.fingerprint": event.fingerprint,
            "rlsgen.truncated": event.truncated,
            "rlsgen.waited_ms": event.waited_ms,
            **{f"rlsgen.context.{name}": _attribute(each) for name, each in event.context.items()},
        }
        start = round(event.time * 1e6) * 1_000
        end = start + int(((event.waited_ms or 0) + (event.elapsed_ms or 0)) * 1e6)
        span = self._tracer.start_span(
            summary,
            kind=_trace.SpanKind.CLIENT,
            attributes={name: each for name, each in shown.items() if each not in ("", None)},
            start_time=start,
        )
        if event.decision != "allowed":
            span.set_status(_trace.StatusCode.ERROR, event.decision)
        span.end(end)


def _relations(statement: Statement | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_plain(str(each.relation)) for each in statement.filters)) if statement else ()


@dataclass(frozen=True, slots=True)
class _Said:
    """What is told of a text."""

    fingerprint: str
    statement: str
    sha256: str


@lru_cache(maxsize=256)
def _said(text: str) -> _Said:
    """What may be told of a text that the guard did not let through."""
    try:
        Text(text)
        fingerprint = deep(lambda: postgast.fingerprint(text).hex, size=len(text))
    except (StatementRefused, postgast.PgQueryError):
        return _Said("", "", hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest())
    return _Said(fingerprint, _without_constants(text), "")


@lru_cache(maxsize=256)
def _without_constants(text: str) -> str:
    """The words of a text, from its tokens: normalising functions leave comments in, and some commands' constants."""
    parts: list[str] = []
    end = 0
    for token in tokens(text):
        if token.kind in COMMENTS:
            continue
        parts.append(" " if parts and token.start > end else "")
        parts.append("?" if token.kind in _CONSTANTS else token.text)
        end = token.end
    return _plain("".join(parts))


def _plain(text: str) -> str:
    """A text that every encoding of logs and spans takes: half surrogate pairs are spelled out, and the end is cut."""
    if len(text) > MAX_CHARACTERS:
        text = text[:MAX_CHARACTERS] + "…"
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def _value(value: object) -> object:
    """A context value for JSON."""
    if isinstance(value, list | tuple):
        return [_value(each) for each in value]
    return value if isinstance(value, bool | int) else _plain(str(value))


def _attribute(value: object) -> Any:
    """A context value for a span, which takes no lists of different types and no large numbers."""
    return json.dumps(value) if isinstance(value, list) else value if isinstance(value, bool) else str(value)


def _tells(name: str, value: object) -> bool:
    return name in ("time", "decision") or not (value is None or value is False or value in ("", (), {}))


def _level(decision: Decision) -> int:
    return logging.INFO if decision == "allowed" else logging.WARNING
