"""Every error that rlsgen raises: one hierarchy that carries data and hints; only the command line prints them.

RlsgenError
 ├─ SpecError            policies.yaml, or the database against it, has problems: all of them, with positions
 ├─ ServerError          the server cannot be used: down, too old, read-only, behind a transaction pooler
 ├─ HazardRefused        the plan contains a hazard that nobody allowed by name
 ├─ PlanChanged          the database or the spec is not what the saved plan was made for
 ├─ ApplyFailed          a transaction of an apply or destroy failed; says where the database stands
 ├─ KeyProblem           a signing key that does not exist, is malformed, or is the last one
 ├─ InvalidContext       a context that lacks a field, has an unknown one, or has a value of the wrong form (400)
 ├─ ContextRefused       the database refused the context: a retired key, another database's, clocks apart (403)
 ├─ StatementError       something about one statement, with its place in the text
 │   ├─ StatementRefused  it was not run: what it is, or what it uses, is not allowed (denied, which is not "no rows")
 │   ├─ QueryTimeout      it ran for too long and was cancelled
 │   └─ QueryFailed       the database could not run it: a type mismatch, a division by zero, a lost connection
 ├─ LimitReached         too many statements at a time or in a minute; says when to try again (429)
 ├─ Closed               a pool or conversation that was closed, or a pool of another process
 └─ Unhealthy            the self-check found that this database, role or server must not be used
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class RlsgenError(Exception):
    """Base of all errors of this package: what is wrong, and what to do (`hint`, may be empty)."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a spec, or with a database as seen from the spec."""

    message: str
    position: Position | None = None
    hint: str = ""

    def __str__(self) -> str:
        where = f"{self.position}: " if self.position else ""
        return f"{where}{self.message}" + (f"\n    {self.hint}" if self.hint else "")


class SpecError(RlsgenError):
    """The spec cannot be used as it stands; `problems` holds everything that was found, in file order."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class ServerError(RlsgenError):
    """The server, or the connection to it, cannot be used for what was asked."""


class HazardRefused(RlsgenError):
    """The plan has hazards that were not allowed; `hazards` are their names."""

    def __init__(self, hazards: Sequence[str], message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.hazards = tuple(hazards)


class PlanChanged(RlsgenError):
    """The plan that was saved is not the plan that the database needs now."""


class ApplyFailed(RlsgenError):
    """A transaction failed and was rolled back; everything before it (`done` of `total`) is committed and safe."""

    def __init__(self, message: str, *, done: int, total: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.done = done
        self.total = total


class KeyProblem(RlsgenError):
    """A signing key is unknown, malformed, or must not be retired."""


class InvalidContext(RlsgenError):
    """A context does not fit the spec; `field` names the offending field, where there is one."""

    def __init__(self, message: str, *, field: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.field = field


class ContextRefused(RlsgenError):
    """The database refused the context, and says no more than that: a retired key, another database's, clocks apart."""


class StatementError(RlsgenError):
    """What happened to one statement; `offset` counts the characters of the caller's text before the place, from 0."""

    def __init__(self, message: str, *, text: str = "", offset: int | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.text = text  # the caller's
        self.offset = offset
        before = text[:offset] if offset is not None else ""
        self.line = before.count("\n") + 1 if offset is not None else None
        self.column = len(before) - before.rfind("\n") if offset is not None else None


class StatementRefused(StatementError):
    """The statement was not run; `reason` is a word for machines: syntax, statement, relation, function..."""

    def __init__(self, message: str, *, reason: str, text: str = "", offset: int | None = None, hint: str = "") -> None:
        super().__init__(message, text=text, offset=offset, hint=hint)
        self.reason = reason


class QueryTimeout(StatementError):
    """The statement ran for longer than `seconds` and was cancelled."""

    def __init__(self, message: str, *, seconds: float, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.seconds = seconds


class QueryFailed(StatementError):
    """The database could not run the statement; `sqlstate` is Postgres' code, empty where the connection was lost."""

    def __init__(
        self, message: str, *, sqlstate: str = "", text: str = "", offset: int | None = None, hint: str = ""
    ) -> None:
        super().__init__(message, text=text, offset=offset, hint=hint)
        self.sqlstate = sqlstate


class LimitReached(RlsgenError):
    """No turn for a statement; `limit` is concurrent, per_minute or pool, `retry_after` seconds from now if known."""

    def __init__(self, message: str, *, limit: str, retry_after: float | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.limit = limit
        self.retry_after = retry_after


class Closed(RlsgenError):
    """A pool or conversation that was closed is used, or a pool in a process that was forked after it was made."""


class Unhealthy(RlsgenError):
    """Conversations are refused until what the self-check found is mended; `problems` holds all of it.

    They name what conversations must not know. So the message tells them only where an operator reads it: when a pool
    opens, not when a statement is refused (`message`).
    """

    def __init__(self, problems: Sequence[Problem], message: str = "", *, hint: str = "") -> None:
        super().__init__(message or "\n".join(str(problem) for problem in problems), hint=hint)
        self.problems = tuple(problems)
