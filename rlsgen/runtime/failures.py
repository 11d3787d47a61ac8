"""Errors of the server as ours: what a layer can act on, and nothing that a conversation must not learn.

Postgres' primary message passes for mistakes in the statement (SQLSTATE classes 21, 22, 42, 0A and 54), unless it names
something that the schema conceals and the text did not, or might quote a row that a filter was just looking at, which
may be anybody's. Everything else gets words of our own by its SQLSTATE; detail,
hint and context of the server never pass.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import postgast
from postgast import pg_query_pb2 as pb
from postgast import unwrap_node

from rlsgen.errors import (
    ContextRefused,
    Problem,
    QueryFailed,
    QueryTimeout,
    RlsgenError,
    ServerError,
    StatementRefused,
    Unhealthy,
)
from rlsgen.runtime.schema import Schema
from rlsgen.runtime.session import Diagnosis, Failed
from rlsgen.runtime.statement import Statement
from rlsgen.spec.filters import expression
from rlsgen.spec.model import FilterText, TableSpec

STALE = frozenset(["42P01", "42703", "42883", "42704", "3F000", "42501"])
"""What a statement fails with when the database is no longer what the pool read at its start."""

_SPEAKING = ("21", "22", "42", "0A", "54")
_WORD = re.compile(r"\w+")
_QUOTES = re.compile("[\"'«»‹›„“”‚‘’「」]")  # of the languages that servers speak
_OURS = ("no tenant context", "context token refused")
_CONTEXT = "the database refused the context"
_CONTEXT_HINT = "is the signing key retired or another database's, or are the clocks apart?"
_PRIVILEGE = "the statement uses something that conversations may not use"
_ROW = "the statement writes a row that lies outside of what this conversation may write"
_CANCELLED = "the statement was cancelled at the server"
_LOST = "the connection to the database was lost"
_LOST_HINT = "nothing was changed; it may be tried again"
UNKNOWN_HINT = "whether its changes were committed is unknown: look before trying again"
_CONSTRAINTS = {
    "23502": "a column that must have a value got none",
    "23503": "a foreign key does not allow what the statement writes",
    "23505": "a unique key does not allow what the statement writes",
    "23514": "a check constraint does not allow what the statement writes",
    "23P01": "an exclusion constraint does not allow what the statement writes",
}
_CLASSES = {
    "23": "a constraint does not allow what the statement writes",
    "25": "the state of the transaction does not allow this statement",
    "40": "the statement collided with another one",
    "53": "the database server is short of resources",
    "55": "something that the statement needs is locked",
    "57": "the database server ended the connection",
    "P0": "a function that the statement uses raised an error",
}
_AGAIN = {"40": "try again", "53": "try again later", "55": "try again later"}


@dataclass(frozen=True, slots=True)
class Case:
    """What is known of the statement that failed."""

    text: str  # the caller's
    statement: Statement | None  # None without the guard
    schema: Schema | None
    seconds: float | None  # the limit
    elapsed: float
    writes: bool
    offset: int | None = None  # of the place in `text`, if it is known


def explain(failed: Failed, case: Case) -> RlsgenError:
    """The error that the caller gets for one of the server's."""
    diagnosis = failed.diagnosis
    early = _before_text(diagnosis) if failed.step in ("begin", "context") else None
    return early or _during_text(failed, diagnosis, case)


def _during_text(failed: Failed, diagnosis: Diagnosis, case: Case) -> RlsgenError:
    match diagnosis.sqlstate:
        case "42501":
            return _denied(diagnosis, case)
        case "57014":
            return _cancelled(case)
        case "25006":
            return StatementRefused("the statement writes, and may only read", reason="statement", text=case.text)
        case "42601" if not _tells(diagnosis.message, case):
            return StatementRefused(diagnosis.message, reason="syntax", text=case.text, offset=case.offset)
        case state if state[:2] in ("57", "08"):
            unknown = case.writes and failed.step == "end"
            return QueryFailed(_CLASSES["57"], sqlstate=state, hint=UNKNOWN_HINT if unknown else _LOST_HINT)
        case _:
            return _failed(diagnosis, case)


def timeout(seconds: float, *, hint: str = "") -> QueryTimeout:
    """The statement took longer than its limit."""
    message = f"the statement took longer than {seconds:g} s and was cancelled"
    hint = hint or "ask for less: a shorter period, fewer joins, an aggregate"
    return QueryTimeout(message, seconds=seconds, hint=hint)


def lost(*, writes: bool) -> QueryFailed:
    """The connection broke while the statement ran."""
    return QueryFailed(_LOST, hint=UNKNOWN_HINT if writes else _LOST_HINT)


def unreachable() -> QueryFailed:
    """No connection could be had."""
    return QueryFailed("the database cannot be reached", hint="is the server running, and has it room for connections?")


def _before_text(diagnosis: Diagnosis) -> RlsgenError | None:
    """What stopped the transaction before the caller's text was reached."""
    if diagnosis.sqlstate == "42501" and diagnosis.message in _OURS:
        return ContextRefused(_CONTEXT, hint=_CONTEXT_HINT)
    if diagnosis.sqlstate in STALE:
        hint = "run rlsgen plan: is this database provisioned, for this role?"
        return Unhealthy([Problem("the database has no function rlsgen.set_context for this role", hint=hint)])
    if diagnosis.sqlstate in ("25006", "0A000"):
        return StatementRefused("this server is read-only, and the statement writes", reason="statement")
    return None


def _denied(diagnosis: Diagnosis, case: Case) -> RlsgenError:
    if diagnosis.message in _OURS:
        return ContextRefused(_CONTEXT, hint=_CONTEXT_HINT)
    if diagnosis.function == "ExecWithCheckOptions":
        return StatementRefused(_ROW, reason="row", text=case.text, hint="write only rows that it may also see")
    return StatementRefused(_PRIVILEGE, reason="privilege", text=case.text, offset=case.offset)


def _cancelled(case: Case) -> RlsgenError:
    if case.seconds is not None and case.elapsed >= case.seconds * 0.95:
        return timeout(case.seconds)
    return QueryFailed(_CANCELLED, sqlstate="57014", text=case.text, hint="try again")


def _failed(diagnosis: Diagnosis, case: Case) -> QueryFailed:
    state, kind = diagnosis.sqlstate, diagnosis.sqlstate[:2]
    hint = _AGAIN.get(kind, "")
    if kind in _SPEAKING:
        if _quotes_a_row(diagnosis, case):
            message = "a value cannot be read as what it is compared with or cast to"
        elif not _tells(diagnosis.message, case):
            message, hint = diagnosis.message, _did_you_mean(diagnosis, case)
        else:
            message = "the statement uses a name that does not exist or may not be used"
    else:
        message = _CONSTRAINTS.get(state) or _CLASSES.get(kind, "the database could not run the statement")
        if state == "23502" and _readable(diagnosis.column, case):
            message = f"the column {diagnosis.column} must have a value, and got none"
    return QueryFailed(message, sqlstate=state, text=case.text, offset=case.offset, hint=hint)


def _quotes_a_row(diagnosis: Diagnosis, case: Case) -> bool:
    """Whether a message quotes a value that a filter with a cast or a function may have failed at: in any row.

    What has a place in the text was found in the text, before there were rows.
    """
    if diagnosis.sqlstate[:2] != "22" or diagnosis.position is not None or not _QUOTES.search(diagnosis.message):
        return False
    declared = [each.declared for each in case.schema.relations.values()] if case.schema is not None else []
    tables = [each for each in declared if isinstance(each, TableSpec)]
    return any(_can_fail(filter) for each in tables for filter in (each.filter, each.check) if filter is not None)


@lru_cache(maxsize=4_096)
def _can_fail(filter: FilterText) -> bool:
    """Whether a filter does more with columns than to compare them."""
    for _, node in postgast.walk(expression(filter)):
        if isinstance(node, pb.FuncCall | pb.JsonFuncExpr | pb.XmlExpr):
            return True
        if isinstance(node, pb.TypeCast) and not isinstance(unwrap_node(node.arg), pb.A_Const):
            return True
    return False


def _tells(message: str, case: Case) -> bool:
    """Whether a message names something that is concealed and that the text did not name."""
    said, heard = set(_words(case.text)), set(_words(message))
    if any(word.startswith("rlsgen") for word in heard - said):
        return True
    names = concealed(case.schema)
    if not names.isdisjoint(heard - said):
        return True
    text, message = case.text.lower(), message.lower()
    return any(name in message and name not in text for name in names if not _WORD.fullmatch(name))


def concealed(schema: Schema | None) -> frozenset[str]:
    """Names that no error may tell: of hidden relations and unreadable columns, unless they are also readable ones'."""
    if schema is None:
        return frozenset()
    found = {name.name.lower() for name in schema.concealed}
    shown: set[str] = set()
    for relation in schema.relations.values():
        found.update(name.lower() for name in relation.unreadable)
        shown.add(relation.name.name.lower())
        shown.update(column.name.lower() for column in relation.columns)
    return frozenset(found - shown)


def _words(message: str) -> Iterable[str]:
    return (word.lower() for word in _WORD.findall(message))


def _columns(case: Case) -> Iterable[str]:
    if case.statement is None or case.schema is None:
        return
    for each in case.statement.filters:
        relation = case.schema.relations.get(each.relation)
        if relation is not None:
            yield from (column.name for column in relation.columns)


def _readable(column: str, case: Case) -> bool:
    return bool(column) and column in set(_columns(case))


def _did_you_mean(diagnosis: Diagnosis, case: Case) -> str:
    """A readable column of the statement's relations that is spelled like the one that does not exist."""
    if diagnosis.sqlstate != "42703" or case.offset is None:
        return ""
    known = sorted(set(_columns(case)))
    for word in [match[0].lower() for match in _WORD.finditer(case.text, case.offset)][
        :2
    ]:  # a qualifier, and its column
        close = difflib.get_close_matches(word, known, n=1)
        if close and word not in known and word in diagnosis.message.lower():
            return f"did you mean {close[0]}?"
    return ""


def unreadable() -> QueryFailed:
    """A value that Postgres returned has no form in Python."""
    message = "a value of the result has no form in Python: a date before year 1, or deeply nested JSON"
    return QueryFailed(message, hint="cast it to text")


def surprise(text: str) -> StatementRefused:
    """The text did what no statement in a conversation may."""
    message = "the statement left its transaction, or copied data: it is not allowed"
    return StatementRefused(message, reason="statement", text=text, hint="send one SELECT")


def no_connection(error: Exception) -> ServerError:
    """The pool could not even connect once; libpq's words name host, port and role, never the password."""
    return ServerError(f"the database cannot be reached: {error}", hint="is the dsn that of the conversation role?")
