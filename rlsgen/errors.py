"""Every error that rlsgen raises: one hierarchy that carries data and hints; only the command line prints them.

RlsgenError
 ├─ SpecError            policies.yaml, or the database against it, has problems: all of them, with positions
 ├─ ServerError          the server cannot be used: down, too old, read-only, behind a transaction pooler
 ├─ HazardRefused        the plan contains a hazard that nobody allowed by name
 ├─ PlanChanged          the database or the spec is not what the saved plan was made for
 ├─ ApplyFailed          a transaction of an apply or destroy failed; says where the database stands
 ├─ KeyProblem           a signing key that does not exist, is malformed, or is the last one
 └─ InvalidContext       a context that lacks a field, has an unknown one, or has a value of the wrong form
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
