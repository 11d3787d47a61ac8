"""From a spec and a catalog to a plan: what differs, ordered so that every state between transactions is safe."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from rlsgen.catalog.model import Catalog
from rlsgen.errors import Problem, SpecError
from rlsgen.identifiers import Name, Sql, fill, identifier, join, literal
from rlsgen.provision.expression import relation_names
from rlsgen.provision.foundation import Foundation, recorded
from rlsgen.provision.functions import FINGERPRINT, accessor_versions, context_functions, fingerprint_function
from rlsgen.provision.grants import wanted_sequences
from rlsgen.provision.hazards import Onlookers
from rlsgen.provision.indexes import missing_indexes
from rlsgen.provision.ledger import Ledger
from rlsgen.provision.plan import FORMAT, Plan, Step, Transaction
from rlsgen.provision.portable import anywhere
from rlsgen.provision.predicates import Predicates
from rlsgen.provision.resolve import (
    OWN_SCHEMAS,
    Resolved,
    Resolver,
    Table,
    existing_problems,
    undeclared_problems,
)
from rlsgen.provision.roles import owner_problems, premises_problems, role_problems
from rlsgen.provision.routines import RoutineDiffer
from rlsgen.provision.statistics import statistics_problems
from rlsgen.provision.surplus import Surplus, surplus_check
from rlsgen.provision.tables import TableDiffer, forget, restore_row_security
from rlsgen.spec.fingerprint import Fingerprint
from rlsgen.spec.model import Spec

FINGERPRINT_TITLE = "the fingerprint, when all of it is true"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A plan, and the tables whose filters are new to this database: Postgres has not judged them yet."""

    plan: Plan
    resolved: Resolved
    unjudged: tuple[Table, ...]


def search_path(spec: Spec) -> Sql:
    """pg_catalog first; then the spec's schemas, where operators of extensions live; pg_temp last."""
    return join(", ", [Sql("pg_catalog"), *(identifier(schema) for schema in spec.schemas), Sql("pg_temp")])


def compare(spec: Spec, catalog: Catalog) -> Comparison:
    """The plan that brings a database to what the spec says.

    Raises:
        SpecError: the spec does not fit the database; all problems are in it.
    """
    resolved, problems = Resolver(spec, catalog).resolve()
    problems += existing_problems(resolved)
    problems += undeclared_problems(resolved)
    problems += role_problems(spec, catalog)
    problems += owner_problems(resolved)
    problems += premises_problems(catalog)
    problems += statistics_problems(resolved)
    differ = Differ(resolved)
    problems += differ.surplus.problems()
    if problems:
        raise SpecError(problems)
    return differ.compare()


def compare_anywhere(spec: Spec, catalog: Catalog) -> Comparison:
    """The same, to be carried out by other databases as well, once made `portable`.

    Raises:
        SpecError: as above, with the names of this database.
    """
    try:
        return compare(spec, anywhere(catalog))
    except SpecError:
        compare(spec, catalog)
        raise


@dataclass(frozen=True, slots=True)
class Differences:
    """What differs, by what it is about, in the order in which a plan mends it."""

    foundation: Transaction | None
    functions: Transaction | None
    closing: Transaction | None
    tables: Mapping[Name, Transaction]
    views: Mapping[Name, Transaction]
    orphans: Mapping[Name, Transaction]
    retired: Transaction | None
    provision: Transaction | None

    @property
    def transactions(self) -> tuple[Transaction, ...]:
        """All of it."""
        relations = (*self.tables.values(), *self.views.values(), *self.orphans.values())
        every = (self.foundation, self.functions, self.closing, *relations, self.retired, self.provision)
        return tuple(each for each in every if each is not None)


class Differ:
    """Compares a resolved spec with its catalog. `all_rights`: as a role that may change everything."""

    def __init__(self, resolved: Resolved, *, all_rights: bool = False) -> None:
        self._resolved = resolved
        self._spec, self._catalog = resolved.spec, resolved.catalog
        self._ledger = Ledger(resolved.catalog.ledger)
        wanted = {name for name, table in resolved.tables.items() if table.spec.access != "hidden"}
        wanted |= {name for name, view in resolved.views.items() if view.spec.access != "hidden"}
        wanted |= {sequence for table in resolved.tables.values() for sequence in wanted_sequences(table)}
        self._wanted = wanted
        self.surplus = Surplus(resolved, wanted, all_rights=all_rights)
        self.tables: TableDiffer | None = None

    def compare(self) -> Comparison:
        """The plan."""
        differences = self.differences()
        missing = missing_indexes(self._resolved)
        advice = [
            Problem(str(each), None, "rlsgen apply --indexes makes it, without blocking writes") for each in missing
        ]
        plan = Plan(
            differences.transactions,
            search_path(self._spec),
            (*self._unsealed(), *self.surplus.advice(), *advice),
        )
        changed = self.tables.changed.values() if self.tables else ()
        return Comparison(plan, self._resolved, tuple(changed))

    def differences(self, *, suspending: bool = True) -> Differences:
        """All that differs. `suspending`: with what closes tables for a moment while the plan is carried out."""
        routines = RoutineDiffer(self._spec, self._catalog, self._ledger)
        existing = {
            name.name: function.result
            for (name, arguments), function in routines.live.items()
            if name.schema == "rlsgen" and name != FINGERPRINT and not arguments
        }
        accessors = accessor_versions(self._spec, existing)
        predicates = Predicates(self._resolved, {each.field.name: each for each in accessors if each.field})
        # Predicates first: what they read in definer functions decides about policies under force.
        for table in self._resolved.tables.values():
            if table.spec.access == "scoped":
                predicates.policy(table, "read"), predicates.policy(table, "write")
        retired = routines.retired(accessors, existing)
        onlookers = Onlookers(self._resolved)
        self.tables = differ = TableDiffer(self._resolved, predicates, onlookers, self._ledger)
        tables = {name: differ.table(table) for name, table in self._resolved.tables.items()}
        suspended = self._suspended(differ.altered) if suspending else []
        tables |= {name: differ.table(self._resolved.tables[name], closed=True) for name in suspended}
        functions = [*context_functions(self._spec, accessors, retired), *predicates.functions.values()]
        mark = fingerprint_function(self._spec)
        self.surplus.expect(each.name for each in (*functions, mark))
        views = {name: differ.view(view) for name, view in self._resolved.views.items()}
        return Differences(
            foundation=Foundation(self._spec, self._catalog, self._ledger).transaction(onlookers.of_keys()),
            functions=routines.reach(functions, {each.schema for each in self._wanted}),
            closing=self._closing(suspended),
            tables={name: each for name, each in tables.items() if each is not None},
            views={name: each for name, each in views.items() if each is not None},
            orphans=dict(self._orphans()),
            retired=routines.retire(retired, functions),
            provision=self._provision(list(routines.function(mark))),
        )

    def _unsealed(self) -> Iterator[Problem]:
        """What `seal: off` gives up, said each time."""
        if not self._spec.seal:
            yield Problem(
                "seal is off: whoever writes the SQL text of a conversation chooses its context too, by set_config",
                self._spec.positions.get("seal"),
                "only for applications whose SQL is trusted; never where a language model or a customer writes it",
            )

    # What nobody declares, and what is too much

    def _suspended(self, altered: AbstractSet[Name]) -> list[Name]:
        """Tables closed until their own transaction: their policies change, and so do those of a table in them.

        Between the two transactions the old policies here would follow the new ones there, and show rows that neither
        the old spec nor the new one shows: all of them, if the table there is now shared.
        """
        return [
            name
            for name, table in self._resolved.tables.items()
            if name in altered
            and any(
                (relation_names(text) - {name}) & altered
                for policy in table.relation.policies
                for text in (policy.using, policy.check)
                if text and policy.name.startswith("rlsgen_")
            )
        ]

    def _closing(self, suspended: Collection[Name]) -> Transaction | None:
        steps = []
        for step in self.surplus.public_steps():
            steps.append(recorded(step))
        for name, step in self.surplus.public_relation_steps():
            steps.append(recorded(step, name))
        checks = (
            tuple(surplus_check(self._resolved)) if steps and any(" on database " in s.object for s in steps) else ()
        )
        steps += self.surplus.relation_steps(suspended)
        for step in self.surplus.other_steps():
            steps.append(step if not step.reverse or self._provisioned else recorded(step))
        checks += tuple(self.surplus.checks(suspended))
        return Transaction("privileges beyond the spec", tuple(steps), checks) if steps else None

    @property
    def _provisioned(self) -> bool:
        return self._catalog.provision is not None and self._catalog.provision.fingerprint != ""

    def _orphans(self) -> Iterator[tuple[Name, Transaction]]:
        """Tables that have policies or a ledger entry of ours and are declared no more."""
        touched = {relation for kind, relation, _ in self._ledger if kind in ("table", "policy", "replaced")}
        touched |= {
            name
            for name, relation in self._catalog.relations.items()
            if any(policy.name.startswith("rlsgen_") for policy in relation.policies)
        }
        touched |= {name for _, name, _ in self._ledger if self._is_gone(name)}
        for name in sorted(touched - set(self._resolved.tables)):
            relation = self._catalog.relations.get(name)
            if relation is None:
                forgets = [
                    Step("drop", f"ledger entry of {name}: {kind} {entry}", forget(kind, name, entry), Sql(""))
                    for kind, entry in ((each.kind, each.name) for each in self._ledger.of(name))
                ]
                yield name, Transaction(f"{name}, which is gone", tuple(forgets), relation=name)
                continue
            steps = tuple(
                restore_row_security(
                    name, relation.policies, self._ledger, relation.row_security, relation.force_row_security
                )
            )
            if steps:
                yield name, Transaction(f"table {name}, declared no more", steps, relation=name)

    def _is_gone(self, name: Name) -> bool:
        """Whether a relation of the ledger exists no more; what is no relation has rlsgen's schema there."""
        return name.schema not in OWN_SCHEMAS and name not in self._catalog.relations

    def _provision(self, steps: list[Step]) -> Transaction | None:
        """What says that all of it is true: the fingerprint's function (`steps`), for runtimes, and our own record."""
        mark = Fingerprint.of(self._spec).digest
        now = self._catalog.provision
        if now is None or (now.fingerprint, now.format, now.seal) != (mark, FORMAT, self._spec.seal):
            template = "UPDATE rlsgen.provision SET format = {}, spec_hash = {}, fingerprint = {}, seal = {}"
            sql = fill(template, literal(FORMAT), literal(mark), literal(mark), literal(self._spec.seal))
            seal = self._spec.seal
            before = (now.format, now.spec_hash, now.fingerprint, now.seal) if now else (FORMAT, "", "", seal)
            reverse = fill(template, *(literal(value) for value in before))
            steps.append(Step("alter", "fingerprint of the provision", sql, reverse))
        return Transaction(FINGERPRINT_TITLE, tuple(steps)) if steps else None
