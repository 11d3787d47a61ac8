"""A plan as data: transactions of steps, each with its SQL, its reverse and its hazards."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from rlsgen.errors import Problem
from rlsgen.identifiers import Name, Sql, fill, literal
from rlsgen.provision.portable import portable

FORMAT = 1

SETTINGS: Mapping[str, str] = {
    "standard_conforming_strings": "on",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "check_function_bodies": "on",
    "row_security": "on",
    "client_min_messages": "warning",
}
"""What a session must have set for a literal in a filter, such as a date, to mean the same whoever applies."""


class Hazard(StrEnum):
    """What a step can do to roles that rlsgen is not about; apply refuses each until it is allowed by name."""

    ACCESS_LOSS = "ACCESS_LOSS"
    COPY_FROM = "COPY_FROM"
    DUMP = "DUMP"
    PLANNER_STATISTICS = "PLANNER_STATISTICS"
    PUBLIC_REVOKE = "PUBLIC_REVOKE"
    POLICY_REPLACED = "POLICY_REPLACED"

    @property
    def meaning(self) -> str:
        """One sentence for people."""
        return _MEANINGS[self]


_MEANINGS = {
    Hazard.ACCESS_LOSS: "a role that reads or writes a table today would see no rows of it, without an error",
    Hazard.COPY_FROM: "COPY ... FROM into a table under row security fails for roles that row security applies to",
    Hazard.DUMP: "pg_dump by a role that row security applies to stops with an error",
    Hazard.PLANNER_STATISTICS: "the planner uses statistics and indexes less well here, so queries may slow down",
    Hazard.PUBLIC_REVOKE: "a privilege that everybody has through PUBLIC is revoked; only unrestricted roles keep it",
    Hazard.POLICY_REPLACED: "policies that somebody else made are dropped (destroy makes them again)",
}


@dataclass(frozen=True, slots=True, order=True)
class Warned:
    """A hazard of a step, for one object or role."""

    hazard: Hazard
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One change. `object` names it for people; `sql` does it, `reverse` undoes it, `record` tells the ledger."""

    action: str  # create, replace, drop, enable, disable, grant, revoke, alter
    object: str
    sql: Sql
    reverse: Sql
    record: Sql | None = None
    hazards: tuple[Warned, ...] = ()


@dataclass(frozen=True, slots=True)
class Transaction:
    """Steps that become true together, under the locks of one table at most."""

    title: str
    steps: tuple[Step, ...]
    closing: tuple[Sql, ...] = ()  # ledger rows and checks of effects, after all steps
    opening: tuple[Sql, ...] = ()  # locks, before all steps
    relation: Name | None = None  # what it is about, where it is one table or view

    @property
    def statements(self) -> list[Sql]:
        """What is sent, in order, without BEGIN and COMMIT."""
        body = [statement for step in self.steps for statement in (step.sql, step.record) if statement]
        return [*self.opening, *body, *self.closing]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that apply would do, in order. Advice is what it would not do."""

    transactions: tuple[Transaction, ...]
    search_path: Sql
    advice: tuple[Problem, ...] = ()
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha256()
        for transaction in self.transactions:
            for statement in (*transaction.statements, Sql("COMMIT")):
                digest.update(statement.encode() + b"\x00")
        object.__setattr__(self, "fingerprint", digest.hexdigest())

    @property
    def steps(self) -> Iterator[Step]:
        """All steps in order."""
        return (step for transaction in self.transactions for step in transaction.steps)

    @property
    def hazards(self) -> tuple[Warned, ...]:
        """Every different warning once, in order of hazard."""
        return tuple(sorted({warned for step in self.steps for warned in step.hazards}))

    def refused(self, allowed: Iterable[str]) -> tuple[Hazard, ...]:
        """The hazards that are not in `allowed`."""
        names = set(allowed)
        return tuple(sorted({warned.hazard for warned in self.hazards if warned.hazard not in names}))

    def to_json(self) -> str:
        """The plan for machines, and for `apply FILE`."""
        changes = [
            {
                "action": step.action,
                "object": step.object,
                "sql": step.sql,
                "reverse": step.reverse,
                "hazards": [
                    {"hazard": each.hazard, "message": each.message, "hint": each.hint} for each in step.hazards
                ],
                "transaction": number,
            }
            for number, transaction in enumerate(self.transactions, 1)
            for step in transaction.steps
        ]
        advice = [{"message": each.message, "hint": each.hint} for each in self.advice]
        document = {"format": FORMAT, "fingerprint": self.fingerprint, "changes": changes, "advice": advice}
        return json.dumps(document, ensure_ascii=False, indent=1)

    def to_sql(self) -> str:
        """The plan as a script for psql and migration tools, ledger included."""
        lines = ["-- Made by rlsgen plan --format sql. Every transaction leaves a safe state."]
        lines += [fill("SET {} = {};", Sql(name), literal(value)) for name, value in SETTINGS.items()]
        for transaction in self.transactions:
            lines.append(f"\n-- {_one_line(transaction.title)}")
            lines += ["BEGIN;", f"SET LOCAL search_path = {self.search_path};"]
            for statement in transaction.statements:
                lines.append(f"{statement};")
            lines.append("COMMIT;")
        return "\n".join(lines) + "\n"

    def to_migration(self) -> str:
        """The plan as a script for a migration tool that makes the transaction: all of it in one, without BEGIN."""
        lines = [
            "-- Made by rlsgen plan --format sql --migration. It runs in the migration tool's transaction.",
            *(fill("SET LOCAL {} = {};", Sql(name), literal(value)) for name, value in SETTINGS.items()),
            "SELECT pg_catalog.set_config('rlsgen_was.search_path', pg_catalog.current_setting('search_path'), true);",
            f"SET LOCAL search_path = {self.search_path};",
        ]
        back = (
            "SELECT pg_catalog.set_config('search_path', pg_catalog.current_setting('rlsgen_was.search_path'), true);"
        )
        for transaction in self.transactions:
            lines.append(f"\n-- {_one_line(transaction.title)}")
            lines += [f"{portable(statement)};" for statement in transaction.statements]
        return "\n".join([*lines, f"\n{back}"]) + "\n"

    def to_text(self) -> str:
        """The plan for people."""
        if not self.transactions:
            return "No changes: the database is as the spec says.\n"
        signs = {"create": "+", "grant": "+", "enable": "+", "drop": "-", "revoke": "-", "disable": "-"}
        lines: list[str] = []
        for transaction in self.transactions:
            lines.append(f"{_one_line(transaction.title)}")
            lines += [
                f"  {signs.get(step.action, '~')} {step.action} {_one_line(step.object)}" for step in transaction.steps
            ]
        counts = Counter(step.action for step in self.steps)
        summary = ", ".join(f"{number} to {action}" for action, number in sorted(counts.items()))
        lines.append(f"\n{sum(counts.values())} changes in {len(self.transactions)} transactions: {summary}.")
        return "\n".join(lines) + "\n" + self.hazard_text()

    def hazard_text(self) -> str:
        """The hazards, explained, grouped by kind."""
        lines: list[str] = []
        for hazard in sorted({warned.hazard for warned in self.hazards}):
            warnings = [warned for warned in self.hazards if warned.hazard == hazard]
            lines += [f"\nHazard {hazard}: {hazard.meaning}."]
            lines += [f"  {_one_line(warned.message)}" for warned in warnings]
            lines += [f"  instead: {hint}" for hint in sorted({warned.hint for warned in warnings if warned.hint})]
        return "\n".join(lines) + ("\n" if lines else "")


def _one_line(text: str) -> str:
    """Names may contain line breaks, which must not end a comment or forge a line."""
    return " ".join(text.splitlines())
