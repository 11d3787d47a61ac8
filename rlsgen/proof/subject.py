"""What the rules look at: a spec, a catalog, and everything by which the two differ."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property

from rlsgen.catalog.model import Catalog, Grant, LedgerEntry, Policy, Relation
from rlsgen.errors import Position, Problem
from rlsgen.identifiers import Name, display
from rlsgen.provision.diff import Differ, Differences
from rlsgen.provision.grants import Privileges, held_on, wanted_on_table, wanted_on_view, wanted_sequences
from rlsgen.provision.ledger import Ledger
from rlsgen.provision.plan import Step
from rlsgen.provision.policies import DesiredPolicy
from rlsgen.provision.resolve import Resolved, Resolver, Table
from rlsgen.provision.tables import policy_label
from rlsgen.spec.fingerprint import Fingerprint
from rlsgen.spec.model import Spec


@dataclass(frozen=True, slots=True)
class Excess:
    """Privileges on a relation that the conversation role holds beyond the spec, itself or as everybody does."""

    relation: Relation
    public: bool  # held by PUBLIC
    privileges: Privileges
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class PolicyState:
    """A policy of rlsgen's that the plan would change: as it should be, as it is, as it was recorded."""

    table: Table
    name: str
    desired: DesiredPolicy | None  # None: it should not be there
    live: Policy | None  # None: it is not there
    entry: LedgerEntry | None
    step: Step

    @property
    def spec_changed(self) -> bool:
        """Whether another expression was asked for when it was made."""
        return self.desired is not None and self.entry is not None and self.entry.source != self.desired.source


class Subject:
    """One database under one spec. Facts are worked out when a rule first asks for them."""

    def __init__(self, spec: Spec, catalog: Catalog, now: datetime) -> None:
        self.spec = spec
        self.now = now
        self.catalog = catalog
        resolver = Resolver(spec, catalog)
        resolved, problems = resolver.resolve()
        self.misfits: tuple[Problem, ...] = tuple(problems)
        self.doubtful = _followers(resolved.tables, resolver.doubtful)
        self.resolved = _without_doubt(resolved, self.doubtful)
        self.ledger = Ledger(catalog.ledger)
        self.differ = Differ(self.resolved, all_rights=True)

    @cached_property
    def differences(self) -> Differences:
        """All that a plan would change, whoever may."""
        return self.differ.differences(suspending=False)

    @property
    def unjudged(self) -> tuple[Table, ...]:
        """Tables whose filters are new to this database: Postgres has not judged them yet."""
        differences = self.differences.tables
        changed = self.differ.tables.changed if self.differ.tables else {}
        return tuple(table for name, table in changed.items() if name in differences)

    @property
    def conversation(self) -> str:
        """The conversation role."""
        return self.spec.conversation

    @property
    def role(self) -> str:
        """The conversation role, as findings call it."""
        return f"role {display(self.spec.conversation)}"

    def place(self, key: str) -> Position | None:
        """Where a key stands in the spec: roles.conversation."""
        return self.spec.positions.get(key)

    def position(self, name: Name) -> Position | None:
        """Where a relation, or what it is queried through, is declared."""
        table, view = self.resolved.tables.get(name), self.resolved.views.get(name)
        if table is not None:
            return table.spec.position
        if view is not None:
            return view.spec.position
        relation = self.catalog.relations.get(name)
        above = [place for parent in (relation.parents if relation else ()) if (place := self.position(parent))]
        return above[0] if above else self.place("tables")

    # What was provisioned

    @property
    def provisioned(self) -> bool:
        """Whether rlsgen has been here at all."""
        return self.catalog.provision is not None

    @property
    def complete(self) -> bool:
        """Whether an apply has come to its end."""
        return self.catalog.provision is not None and self.catalog.provision.fingerprint != ""

    @cached_property
    def newer(self) -> bool:
        """Whether the spec is not the one that was applied."""
        provision = self.catalog.provision
        return provision is None or provision.fingerprint != Fingerprint.of(self.spec).digest

    @cached_property
    def new(self) -> frozenset[Name]:
        """Tables and views that the spec shows and that no apply has seen as such."""
        if not self.newer:
            return frozenset()
        scoped = {
            table.name
            for table in self.scoped
            if not self.ledger.of(table.name, "table", "policy")
            and not any(policy.name.startswith("rlsgen_") for policy in table.relation.policies)
        }
        shared = [name for name, table in self.resolved.tables.items() if table.spec.access == "shared"]
        views = [name for name, view in self.resolved.views.items() if view.spec.access == "invoker"]
        others = {name for name in (*shared, *views) if not self.ledger.of(name, "grants", "view")}
        return frozenset(scoped | others)

    @cached_property
    def new_functions(self) -> tuple[Step, ...]:
        """Steps for functions of which the last apply made none, or another one, because the spec was another."""
        return tuple(self._new_functions()) if self.newer and self.differences.functions else ()

    def _new_functions(self) -> Iterator[Step]:
        recorded = {
            f"function {entry.relation}({entry.name})": entry.source
            for entry in self.catalog.ledger
            if entry.kind == "function"
        }
        new: set[str] = set()
        for step in self.differences.functions.steps if self.differences.functions else ():
            if step.action in ("grant", "revoke"):
                if any(step.object.startswith(f"EXECUTE on {label} ") for label in new):
                    yield step
            elif step.object not in recorded:
                new.add(step.object)
                yield step
            elif recorded[step.object] != hashlib.sha256(step.sql.encode()).hexdigest():
                yield step

    # Tables

    @cached_property
    def scoped(self) -> tuple[Table, ...]:
        """The scoped tables that the catalog has, and whose declaration fits."""
        return tuple(
            table
            for name, table in self.resolved.tables.items()
            if table.spec.access == "scoped" and name not in self.doubtful
        )

    def steps_of(self, name: Name) -> tuple[Step, ...]:
        """The steps of a plan for one declared relation."""
        found = self.differences.tables.get(name) or self.differences.views.get(name)
        return found.steps if found else ()

    @cached_property
    def policies(self) -> tuple[PolicyState, ...]:
        """Policies named like rlsgen's that are not as they should be, on tables whose declaration fits."""
        return tuple(
            state
            for table in self.scoped
            if table.name in self.differences.tables and table.name not in self.new
            for state in self._policies(table)
        )

    def _policies(self, table: Table) -> Iterator[PolicyState]:
        steps = {step.object: step for step in self.steps_of(table.name)}
        assert self.differ.tables is not None  # noqa: S101  (there since the differences are)
        desired = {policy.name: policy for policy in self.differ.tables.desired(table)}
        live = {policy.name: policy for policy in table.relation.policies}
        for name in dict.fromkeys((*desired, *live)):
            step = steps.get(policy_label(name, table.name))
            if step is not None:
                entry = self.ledger.get(("policy", table.name, name))
                yield PolicyState(table, name, desired.get(name), live.get(name), entry, step)

    # Privileges

    def wanted(self, name: Name) -> Privileges:
        """What the spec gives the conversation role on a relation."""
        table, view = self.resolved.tables.get(name), self.resolved.views.get(name)
        if table is not None:
            return wanted_on_table(table)
        if view is not None:
            return wanted_on_view(view)
        return frozenset({("USAGE", "")}) if name in self._sequences else frozenset()

    def lacks(self, name: Name) -> bool:
        """Whether the conversation role holds less than that."""
        return bool(self.wanted(name) - held_on(self.catalog.relations[name], self.conversation))

    @cached_property
    def _sequences(self) -> frozenset[Name]:
        return frozenset(name for table in self.resolved.tables.values() for name in wanted_sequences(table))

    @cached_property
    def excess(self) -> tuple[Excess, ...]:
        """All privileges on relations beyond the spec."""
        return (*self._own_excess(), *self._public_excess())

    def _own_excess(self) -> Iterator[Excess]:
        closing = [step for step in self.differ.surplus.relation_steps(()) if step.action == "revoke"]
        by_object = {step.object.partition(" on ")[2]: step for step in closing}
        for name, relation in self.catalog.relations.items():
            surplus = held_on(relation, self.conversation) - self.wanted(name)
            # Tables that a spec newer than the database takes privileges from are told there.
            if surplus:
                label = f"{name} for {self.conversation}"
                # A privilege on the whole table takes those on its columns with it, which are granted again.
                actions = ("revoke",) if self.lacks(name) else ("revoke", "grant")
                own = [step for step in self._around(name) if step.action in actions and step.object.endswith(label)]
                yield Excess(relation, False, surplus, tuple(own) or tuple(filter(None, [by_object.get(label)])))

    def _around(self, name: Name) -> Iterator[Step]:
        """Steps for a relation, or for a sequence of one."""
        yield from self.steps_of(name)
        if name in self._sequences:
            for transaction in self.differences.tables.values():
                yield from transaction.steps

    def _public_excess(self) -> Iterator[Excess]:
        steps: dict[Name, list[Step]] = {}
        for name, step in self.differ.surplus.public_relation_steps():
            steps.setdefault(name, []).append(step)
        for relation in self.differ.surplus.reachable:
            yield Excess(relation, True, held_on(relation, None), tuple(steps.get(relation.name, ())))

    def holds(self, grants: Collection[Grant], privilege: str) -> bool:
        """Whether the conversation role has a privilege, itself or as everybody does."""
        return any(each.privilege == privilege and each.grantee in (None, self.conversation) for each in grants)

    def enters(self, schema: str) -> bool:
        """Whether the conversation role gets into a schema, now or by the spec."""
        found = self.catalog.schemas.get(schema)
        return (found is not None and self.holds(found.grants, "USAGE")) or schema in self.spec.schemas

    # Steps

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """Every step of the plan but those for tables whose declaration does not fit."""
        doubtful = {id(self.differences.tables[name]) for name in self.doubtful if name in self.differences.tables}
        return tuple(step for each in self.differences.transactions if id(each) not in doubtful for step in each.steps)


def _followers(tables: Mapping[Name, Table], doubtful: Collection[Name]) -> frozenset[Name]:
    """Tables with problems, and those whose paths lead to them."""
    found = set(doubtful)
    while True:
        more = {name for name, table in tables.items() if any(path.parent in found for path in table.paths)} - found
        if not more:
            return frozenset(found)
        found |= more


def _without_doubt(resolved: Resolved, doubtful: Collection[Name]) -> Resolved:
    """Resolved, the filters and paths of doubtful tables left out: they may go round in circles, or lead nowhere."""
    if not doubtful:
        return resolved
    tables = {
        name: replace(table, paths=(), spec=replace(table.spec, filter=None, check=None)) if name in doubtful else table
        for name, table in resolved.tables.items()
    }
    return replace(resolved, tables=tables)


def listed(names: Sequence[str], most: int = 5) -> str:
    """Names with commas, the first few of many."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def privileges_in_words(privileges: Privileges) -> str:
    """`SELECT (email, phone), DELETE`."""
    columns: dict[str, list[str]] = {}
    for privilege, column in sorted(privileges):
        columns.setdefault(privilege, []).extend([display(column)] if column else [])
    whole = {privilege for privilege, column in privileges if not column}
    return ", ".join(
        privilege if privilege in whole else f"{privilege} ({listed(names)})" for privilege, names in columns.items()
    )
