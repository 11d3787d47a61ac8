"""A statement as the guard lets it through: what runs, what is bound to it, and what is known about it."""

from __future__ import annotations

from dataclasses import dataclass

from rlsgen.identifiers import Name
from rlsgen.spec.model import Command


@dataclass(frozen=True, slots=True)
class AppliedFilter:
    """What decided about the rows of one relation that a statement reads or writes, in the spec's words."""

    relation: Name
    filter: str  # the condition; "order_id -> orders(id)" for a path; "shared"; "invoker" for a view


@dataclass(frozen=True, slots=True)
class Twin:
    """One value that is bound behind the caller's parameters: a context field's, as a type of Postgres."""

    field: str  # as the spec spells it
    type_oid: int


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement that was checked. Safe to run once for any context: the context's values come in as parameters."""

    sql: str  # the deparse of the checked tree
    command: Command
    parameters: int  # of the caller: $1 to $n
    twins: tuple[Twin, ...]  # $n+1 and following
    filters: tuple[AppliedFilter, ...]  # one for each relation that it names, in order of appearance
    fingerprint: str  # the same for statements that differ in constants alone

    @property
    def writes(self) -> bool:
        """Whether it needs a transaction that is READ WRITE, and a COMMIT."""
        return self.command != "select"
