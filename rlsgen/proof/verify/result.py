"""What verify found, as values: for each table a status and who was compared, for each attack how it ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rlsgen.errors import Position
from rlsgen.identifiers import Name

TableStatus = Literal["isolated", "leak", "uncovered", "failed"]
AttackStatus = Literal["blocked", "leak", "skipped"]
Kind = Literal["scoped", "shared", "hidden", "view", "undeclared"]


@dataclass(frozen=True, slots=True)
class Note:
    """One thing about a table: `status` is what it makes of it; `isolated` for what is only worth saying."""

    status: TableStatus
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class TableResult:
    """What is known about one relation.

    isolated: every tenant that was compared sees its rows and no others. leak: something is seen, or written, that must
    not be. failed: something that must work does not, or went wrong. uncovered: nothing can be said; `notes` say why.
    """

    table: Name
    kind: Kind
    status: TableStatus
    tenants: tuple[Mapping[str, object], ...]  # contexts that were compared; values that are not loggable are numbered
    pairs: int  # of two tenants, each of whom may see something else here
    rows: int  # the most that one tenant was seen to see
    planted: bool  # compared on rows that were planted and rolled back
    notes: tuple[Note, ...]
    seconds: float
    position: Position | None  # in the spec, where it is declared


@dataclass(frozen=True, slots=True)
class AttackResult:
    """How one attack ended on one ring: 1 the raw connection, 2 the guard."""

    id: str
    ring: int
    status: AttackStatus
    title: str
    detail: str  # in our words: a server's message may show what an attack was after
    sql: str = ""  # as the catalogue has it, with its places unfilled


@dataclass(frozen=True, slots=True)
class Uncovered:
    """What verify cannot speak for."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """All of it. `uncovered` has the uncovered tables once more, and whatever else was not done."""

    tables: tuple[TableResult, ...]
    attacks: tuple[AttackResult, ...]
    uncovered: tuple[Uncovered, ...]
    contexts: tuple[Mapping[str, object], ...]  # the sample of tenants
    snapshot: bool  # whether both sides saw the same moment
    seconds: float

    @property
    def leaks(self) -> int:
        """Tables and attacks that leak."""
        tables = sum(table.status == "leak" for table in self.tables)
        return tables + sum(attack.status == "leak" for attack in self.attacks)

    @property
    def failed(self) -> int:
        """Tables where something that must work does not."""
        return sum(table.status == "failed" for table in self.tables)

    @property
    def complete(self) -> bool:
        """Whether every table was covered, and nothing was left out for want of time."""
        return not self.uncovered

    @property
    def summary(self) -> dict[str, object]:
        """Numbers, as in the JSON."""
        tables = Counter(table.status for table in self.tables)
        attacks = Counter(attack.status for attack in self.attacks)
        return {
            "leaks": self.leaks,
            "tables": len(self.tables),
            "attacks": len(self.attacks),
            "blocked": attacks["blocked"],
            "skipped": attacks["skipped"],
            **{status: tables[status] for status in ("isolated", "failed", "uncovered")},
            "tenants": len(self.contexts),
            "pairs": sum(table.pairs for table in self.tables),
            "snapshot": self.snapshot,
            "seconds": round(self.seconds, 3),
        }

    def to_json(self) -> dict[str, object]:
        """The document of `verify --format json`."""
        return {
            "tables": [
                {
                    "table": str(table.table), "kind": table.kind, "status": table.status,
                    "tenants": [dict(each) for each in table.tenants], "pairs": table.pairs, "rows": table.rows,
                    "planted": table.planted, "seconds": round(table.seconds, 4),
                    "notes": [
                        {"status": note.status, "message": note.message, "remedy": note.remedy} for note in table.notes
                    ],
                }
                for table in self.tables
            ],
            "attacks": [
                {
                    "id": each.id, "ring": each.ring, "status": each.status, "title": each.title,
                    "detail": each.detail, "sql": each.sql,
                }
                for each in self.attacks
            ],
            "uncovered": [{"what": each.what, "why": each.why} for each in self.uncovered],
            "summary": self.summary,
        }  # fmt: skip
