"""What a report says, as one frozen value of plain texts and numbers: every form shows exactly this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

Level = Literal["leaks", "broken", "endangered", "partial", "unproven", "holds"]
Reach = Literal["own", "all", "policies", "owner", "none"]

FORMAT = 1
"""The version of the JSON document."""

REACHES: Mapping[Reach, str] = {
    "own": "own rows",
    "all": "all rows",
    "policies": "by policies",
    "owner": "as its owner",
    "none": "nothing",
}
"""How much of a relation a role reads: of its context's tenant; every row; what policies that are not rlsgen's allow;
through a view with its owner's rights; nothing."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer, before everything else.

    leaks: something was seen or written that must not be. broken: what must work does not. endangered: no leak was
    found, and lint found errors that could defeat isolation. partial: no leak where it could be compared, and not
    everything could. unproven: rows were not compared at all. holds: everything was compared, and nothing leaked.
    """

    level: Level
    headline: str
    sentences: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Whether nothing is left to do."""
        return self.level == "holds"


@dataclass(frozen=True, slots=True)
class Origin:
    """When, where and by whom; with what."""

    made_at: str  # ISO 8601, UTC
    made_by: str  # the role that read the catalog
    rlsgen: str
    spec: str  # the file's name
    database: str
    server: str  # 18.6
    conversation: str
    unrestricted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """What tells this spec and this database from others; nothing secret."""

    spec: str
    applied: str  # the fingerprint of the last apply that came to its end; empty: none did
    provision: str  # the database's random id, the audience of context tokens; empty: it is not provisioned
    system: str  # of the cluster
    keys: tuple[KeyRow, ...]
    keys_known: bool


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key by its id; never what it is."""

    kind: str
    kid: str
    created: str  # ISO date
    retired: bool


@dataclass(frozen=True, slots=True)
class FieldRow:
    """A fact about the user of a conversation."""

    name: str
    type: str
    required: bool
    bounds: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What verify says of one table."""

    status: str  # isolated, leak, failed, uncovered; empty: it was not looked at
    compared: str  # 7 tenants, 40 pairs
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ScopeRow:
    """What the spec says about one table or view, and how verify found it."""

    table: str
    kind: str  # table, partitioned, view, ...
    access: str  # scoped, shared, hidden, invoker
    filter: str  # in the spec's words; empty: none
    check: str  # empty: the filter governs writes too
    through: tuple[str, ...]  # order_id → public.orders (id)
    shown: int
    columns: int
    hidden_columns: tuple[str, ...]
    private_columns: tuple[str, ...]
    commands: tuple[str, ...]
    why: str
    place: str  # file:line:column
    verified: Verified


@dataclass(frozen=True, slots=True)
class Node:
    """A context field or a table in the drawing."""

    id: int
    label: str
    kind: str  # field, scoped, shared, hidden


@dataclass(frozen=True, slots=True)
class Edge:
    """What decides about a table's rows: a field that its filter compares, a parent, or a sub-query's table."""

    source: int
    target: int
    kind: str  # filter, path, query
    label: str


@dataclass(frozen=True, slots=True)
class Paths:
    """Where each table's rows come from."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    left_out: int  # tables without a path, when there are too many to draw


@dataclass(frozen=True, slots=True)
class Reader:
    """A login, and what makes it read what it reads."""

    role: str
    why: str


@dataclass(frozen=True, slots=True)
class Readers:
    """Roles of one kind that read the same."""

    kind: str  # conversation, everybody, unrestricted, superuser, bypass, other
    title: str
    roles: tuple[Reader, ...]
    reads: tuple[Reach, ...]  # of each relation of `Access.relations`


@dataclass(frozen=True, slots=True)
class Access:
    """Who can read what: grants, row security and memberships as the catalog has them."""

    relations: tuple[str, ...]
    readers: tuple[Readers, ...]


@dataclass(frozen=True, slots=True)
class FindingRow:
    """What lint found."""

    rule: str
    severity: str
    object: str
    message: str
    remedy: str
    sql: str
    place: str


@dataclass(frozen=True, slots=True)
class AcceptedRow:
    """What the spec accepts, and why."""

    finding: FindingRow
    why: str
    until: str  # ISO date; empty: without an end


@dataclass(frozen=True, slots=True)
class RingCount:
    """How the attacks of one ring ended."""

    ring: int
    title: str
    blocked: int
    leaks: int
    skipped: int

    @property
    def tried(self) -> int:
        """Attacks that were carried out."""
        return self.blocked + self.leaks


@dataclass(frozen=True, slots=True)
class AttackEnd:
    """How an attack ended on one ring."""

    status: str  # blocked, leak, skipped; empty: it is none for this ring
    detail: str


@dataclass(frozen=True, slots=True)
class AttackRow:
    """One attack on both rings."""

    id: str
    title: str
    sql: str
    rings: tuple[AttackEnd, ...]  # of `Attacks.rings`


@dataclass(frozen=True, slots=True)
class Chapter:
    """Attacks of one kind."""

    title: str
    rows: tuple[AttackRow, ...]


@dataclass(frozen=True, slots=True)
class Attacks:
    """The attack catalogue as it ended."""

    rings: tuple[RingCount, ...]
    chapters: tuple[Chapter, ...]


@dataclass(frozen=True, slots=True)
class Compared:
    """What verify did as a whole."""

    tenants: tuple[Mapping[str, object], ...]  # values that are not loggable are numbered
    tables: int
    pairs: int
    snapshot: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class HoleRow:
    """A known hole of this version of PostgreSQL."""

    id: str
    summary: str
    danger: str
    mended_in: str
    source: str


@dataclass(frozen=True, slots=True)
class Said:
    """A point, and what is to be said about it."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Report:
    """All of it."""

    verdict: Verdict
    origin: Origin
    fingerprints: Fingerprints
    fields: tuple[FieldRow, ...]
    scope: tuple[ScopeRow, ...]
    paths: Paths
    access: Access
    compared: Compared | None  # None: verify was left out
    attacks: Attacks | None
    findings: tuple[FindingRow, ...]
    accepted: tuple[AcceptedRow, ...]
    holes: tuple[HoleRow, ...]
    uncovered: tuple[Said, ...]
    not_promised: tuple[Said, ...]

    def to_json(self) -> dict[str, object]:
        """The report as a document for machines."""
        return {"format": FORMAT, **asdict(self)}
