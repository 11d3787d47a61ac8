"""What `policies.yaml` says, as values: nothing here has looked at a database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

from rlsgen.errors import Position

BaseType = Literal["integer", "bigint", "uuid", "text", "boolean", "date", "timestamptz"]
Command = Literal["select", "insert", "update", "delete"]
COMMANDS: tuple[Command, ...] = ("select", "insert", "update", "delete")


@dataclass(frozen=True, slots=True)
class ContextField:
    """One fact about the user of a conversation: `organisationId`, its setting and its accessor."""

    name: str  # organisationId
    snake: str  # organisation_id: the accessor is rlsgen.organisation_id(), the setting app.organisation_id
    base: BaseType
    array: bool
    required: bool
    minimum: int | None
    maximum: int | None
    pattern: str | None  # must match the whole value
    max_length: int | None  # characters of text; elements have the same bound
    max_items: int | None  # of arrays
    loggable: bool
    position: Position = field(compare=False)

    @property
    def type(self) -> str:
        """The SQL type: `integer`, `uuid[]`."""
        return f"{self.base}[]" if self.array else self.base

    @property
    def setting(self) -> str:
        """The session variable that carries the value."""
        return f"app.{self.snake}"


@dataclass(frozen=True, slots=True)
class RelationRef:
    """A relation as a spec names it: `schema` is None where the spec leaves it out."""

    schema: str | None
    name: str


@dataclass(frozen=True, slots=True)
class FilterText:
    """A filter as written (leading WHERE and trailing semicolon blanked out), known to be one expression.

    `text` keeps the length of what was written, so that an offset into it leads to a place in the file.
    """

    text: str
    fields: tuple[str, ...]  # names of the context fields it uses, in spec spelling
    relations: tuple[RelationRef, ...]  # relations of its sub-queries, in order of appearance
    functions: tuple[tuple[str | None, str], ...]  # (schema, name) of the functions it calls
    positions: Sequence[Position] = field(compare=False, repr=False)  # of every character of `text`, and of its end

    def position(self, offset: int) -> Position:
        """The place in the file of the character at `offset` of `text`."""
        return self.positions[min(max(offset, 0), len(self.positions) - 1)]


@dataclass(frozen=True, slots=True)
class Through:
    """`order_id -> orders(id)`: columns of this table equal those of a parent, whose visible rows this one follows."""

    columns: tuple[str, ...]
    parent: RelationRef
    parent_columns: tuple[str, ...]
    position: Position = field(compare=False)


@dataclass(frozen=True, slots=True)
class TableSpec:
    """What the spec says about one table."""

    ref: RelationRef
    access: Literal["scoped", "shared", "hidden"]
    filter: FilterText | None  # the default filter already filled in where it applies
    check: FilterText | None  # None: the filter governs writes too
    through: tuple[Through, ...]
    allow: tuple[Command, ...]
    hide: tuple[str, ...]
    private: tuple[str, ...]
    existing: Literal["refuse", "keep", "replace"]
    prompt: str
    why: str
    position: Position = field(compare=False)
    column_positions: Mapping[str, Position] = field(default_factory=dict, compare=False)  # of hide and private


@dataclass(frozen=True, slots=True)
class ViewSpec:
    """What the spec says about one view."""

    ref: RelationRef
    access: Literal["invoker", "hidden"]
    hide: tuple[str, ...]
    prompt: str
    position: Position = field(compare=False)


@dataclass(frozen=True, slots=True)
class AllowedFunction:
    """A function or operator of the database's own that statements may use: `public.similarity`, `public.<->`."""

    schema: str
    name: str
    operator: bool
    position: Position = field(compare=False)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds per value of one context field; None means unlimited. Enforced by the runtime, per process."""

    per: str | None = None
    rows: int | None = None
    bytes: int | None = None
    seconds: float | None = None
    concurrent: int | None = None
    per_minute: int | None = None


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Findings of one lint rule that are accepted."""

    rule: str
    object: str | None  # as findings show it; * stands for any characters; None: all
    why: str
    until: date | None  # the last day on which they are
    position: Position = field(compare=False)


@dataclass(frozen=True, slots=True)
class LintSettings:
    """What lint accepts and expects."""

    key_days: int = 180
    ignore: tuple[Exclusion, ...] = ()


@dataclass(frozen=True, slots=True)
class Spec:
    """A whole `policies.yaml`, valid as far as that can be said without a database."""

    file: str
    context: tuple[ContextField, ...]
    conversation: str
    unrestricted: tuple[str, ...]
    schemas: tuple[str, ...]
    undeclared: Literal["error", "hidden"]
    force: bool
    seal: bool
    tables: tuple[TableSpec, ...]
    views: tuple[ViewSpec, ...]
    limits: Limits
    functions: tuple[AllowedFunction, ...] = field(default=(), kw_only=True)
    positions: Mapping[str, Position] = field(compare=False)  # of "roles.conversation", "schemas", "tables"... dotted
    lint: LintSettings = LintSettings()

    def field(self, name: str) -> ContextField | None:
        """The context field of that name, compared as identifiers fold."""
        return next((each for each in self.context if each.name.lower() == name.lower()), None)
