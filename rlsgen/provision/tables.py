"""One table's transaction: policies, then row security, then the conversation role's privileges."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from rlsgen.catalog.model import Policy
from rlsgen.identifiers import Name, Sql, fill, join, literal
from rlsgen.provision.expression import relation_names
from rlsgen.provision.grants import (
    assert_privileges,
    before_json,
    grant_option_steps,
    held_on,
    privilege_steps,
    wanted_on_table,
    wanted_on_view,
    wanted_sequences,
)
from rlsgen.provision.hazards import Onlookers
from rlsgen.provision.kept import kept_policy
from rlsgen.provision.ledger import Ledger
from rlsgen.provision.plan import Hazard, Step, Transaction, Warned
from rlsgen.provision.policies import (
    UNRESTRICTED,
    DesiredPolicy,
    conversation_policies,
    drop_policy,
    live_text,
    path_policy,
    recreate,
    row_security_before,
    subject_roles,
    unrestricted_policy,
)
from rlsgen.provision.predicates import Predicates
from rlsgen.provision.resolve import Resolved, Table, View
from rlsgen.provision.statistics import statistics_steps


def record(kind: str, relation: Name, name: str, source: str, live: str, before: Mapping[str, object]) -> Sql:
    """A statement that writes a ledger row, keeping what an existing one says of the time before rlsgen."""
    document = json.dumps(before, ensure_ascii=False, sort_keys=True)
    values = [literal(text) for text in (kind, relation.schema, relation.name, name, source, live, document)]
    return fill("SELECT rlsgen_private.record({}, {}, {}, {}, {}, {}, {}::jsonb)", *values)


def forget(kind: str, relation: Name, name: str) -> Sql:
    """A statement that deletes a ledger row."""
    values = [literal(text) for text in (kind, relation.schema, relation.name, name)]
    return fill("SELECT rlsgen_private.forget({}, {}, {}, {})", *values)


def regclass(name: Name) -> Sql:
    """A relation as an argument of a function."""
    return fill("{}::regclass", literal(name.sql))


def policy_label(policy: str, table: Name) -> str:
    """What steps call a policy."""
    return f"policy {policy} on {table}"


class TableDiffer:
    """Compares tables and views, one by one, with what they should be."""

    def __init__(self, resolved: Resolved, predicates: Predicates, onlookers: Onlookers, ledger: Ledger) -> None:
        self._resolved = resolved
        self._spec = resolved.spec
        self._predicates = predicates
        self._onlookers = onlookers
        self._ledger = ledger
        self.changed: dict[Name, Table] = {}  # whose policies are not yet known to be good SQL
        self.altered: set[Name] = set()  # whose policies or row security change

    def table(self, table: Table, *, closed: bool = False) -> Transaction | None:
        """The transaction that brings one table to what the spec says; None if it is there.

        `closed`: an earlier transaction takes all privileges on it from the conversation role.
        """
        steps, closing = [], []
        if table.spec.access == "scoped":
            steps += list(self._row_security(table))
        elif any(policy.name.startswith("rlsgen_") for policy in table.relation.policies) or (
            ("table", table.name, "") in self._ledger
        ):
            steps += list(
                restore_row_security(
                    table.relation.name,
                    table.relation.policies,
                    self._ledger,
                    table.relation.row_security,
                    table.relation.force_row_security,
                )
            )
        if steps:
            self.altered.add(table.name)
        steps += list(statistics_steps(table, self._resolved, self._ledger, record))
        wanted = wanted_on_table(table)
        granted, check = self._grants(table.name, wanted, closed=closed or table.spec.access == "hidden")
        steps += granted
        closing += check
        if granted and table.spec.access == "scoped":
            closing.append(_assert_protected(table.name, self.desired(table)))
        for name in wanted_sequences(table):
            granted, check = self._grants(name, frozenset({("USAGE", "")}))
            steps += granted
            closing += check
        opening = tuple(self._locks(table)) if table.name in self.altered else ()
        return Transaction(f"table {table.name}", tuple(steps), tuple(closing), opening, table.name) if steps else None

    def _locks(self, table: Table) -> Iterator[Sql]:
        """The tables that policies look into, locked as reading them would, before this one is locked.

        CREATE POLICY would lock them afterwards, and whoever waits for this table would wait for them as well.
        """
        filters = (table.spec.filter, table.spec.check)
        if table.spec.access != "scoped" or not (table.paths or any(each and each.relations for each in filters)):
            return
        texts = {text for policy in self.desired(table) for text in (policy.using, policy.check) if text}
        read = {name for text in texts for name in relation_names(text)} - {table.name}
        kinds = {name: self._resolved.catalog.relations[name].kind for name in sorted(read)}
        names = [fill("ONLY {}", name.sql) for name, kind in kinds.items() if kind in ("table", "partitioned")]
        if names:
            yield fill("LOCK TABLE {} IN ACCESS SHARE MODE", join(", ", names))

    def _grants(
        self, name: Name, wanted: frozenset[tuple[str, str]], *, closed: bool = False
    ) -> tuple[list[Step], list[Sql]]:
        relation = self._resolved.catalog.relations[name]
        role = self._spec.conversation
        held = frozenset() if closed else held_on(relation, role)
        passing_on = list(grant_option_steps(relation, role, held & wanted))
        known = ("grants", name, "") in self._ledger or not held
        if held == wanted and known and not passing_on:
            return [], []
        # What stands on a provisioned database without an entry is drift, or ours under a table's former name.
        provision = self._resolved.catalog.provision
        later = provision is not None and provision.fingerprint != ""
        recorded = record("grants", name, "", "", "", {"privileges": [] if later else before_json(held)})
        steps = [*passing_on, *privilege_steps(relation, role, held, wanted)]
        if not steps:
            steps = [Step("alter", f"ledger entry of {name}: grants", recorded, forget("grants", name, ""))]
        return steps, [recorded, assert_privileges(name, role, wanted)]

    def desired(self, table: Table) -> list[DesiredPolicy]:
        """All policies that the table should have of ours."""
        policies = conversation_policies(table, self._predicates, self._spec.conversation)
        before = row_security_before(table, self._resolved, self._ledger)
        subject = subject_roles(table, self._resolved, self._onlookers.closures, before)
        if subject:
            policies.append(unrestricted_policy(table, self._spec.conversation, subject))
        if table.relation.owner in subject and table.name in self._predicates.definer_reads:
            policies.append(path_policy(table, self._predicates, self._spec.conversation))
        return policies

    def _row_security(self, table: Table) -> Iterator[Step]:
        relation = table.relation
        desired = self.desired(table)
        live = {policy.name: policy for policy in relation.policies}
        steps = [step for policy in desired for step in self._policy(policy, live.get(policy.name))]
        wanted = {policy.name for policy in desired}
        for name, policy in live.items():
            if name.startswith("rlsgen_") and name not in wanted:
                drop = drop_policy(table.name, name)
                steps.append(
                    Step(
                        "drop",
                        policy_label(name, table.name),
                        drop,
                        recreate(table.name, policy),
                        forget("policy", table.name, name),
                    )
                )
            elif not name.startswith("rlsgen_") and table.spec.existing == "replace":
                steps.append(_replaced(table, policy))
        steps = [self._uncovering(step, table, live, desired) for step in steps]
        if steps and any(step.action != "drop" for step in steps):
            self.changed[table.name] = table
        yield from steps
        yield from self._flags(table, desired)

    def _uncovering(
        self, step: Step, table: Table, live: Mapping[str, Policy], desired: Sequence[DesiredPolicy]
    ) -> Step:
        """The step, with the hazards for unrestricted roles that it leaves out, and whose rows vanish with that."""
        if step.object != policy_label(UNRESTRICTED, table.name) or UNRESTRICTED not in live:
            return step
        covered = next((policy.roles for policy in desired if policy.name == UNRESTRICTED), ())
        force = self._spec.force
        hazards = self._onlookers.of_uncovering(table, live[UNRESTRICTED].roles, covered, force=force)
        return replace(step, hazards=(*step.hazards, *hazards))

    def _policy(self, desired: DesiredPolicy, live: Policy | None) -> Iterator[Step]:
        entry = self._ledger.get(("policy", desired.table, desired.name))
        same = (
            live is not None and entry is not None and entry.source == desired.source and entry.live == live_text(live)
        )
        if same:
            return
        label = policy_label(desired.name, desired.table)
        drop = drop_policy(desired.table, desired.name)
        recorded = fill(
            "SELECT rlsgen_private.record_policy({}, {}, {})",
            regclass(desired.table),
            literal(desired.name),
            literal(desired.source),
        )
        if live is None:
            yield Step("create", label, desired.create, drop, recorded)
        else:
            again = fill("{};\n{}", drop, desired.create)
            yield Step("replace", label, again, fill("{};\n{}", drop, recreate(desired.table, live)), recorded)

    def _flags(self, table: Table, desired: Sequence[DesiredPolicy]) -> Iterator[Step]:
        relation, name = table.relation, table.name
        entry = self._ledger.get(("table", name, ""))
        before = row_security_before(table, self._resolved, self._ledger)
        document = {"row_security": before.on, "force": before.forced}
        recorded = record("table", name, "", "", "", document) if entry is None else None
        force = self._spec.force or before.forced
        if not relation.row_security:
            covered = next((policy.roles for policy in desired if policy.command == "ALL"), ())
            hazards = tuple(self._onlookers.of_row_security(table, covered, force=force))
            enable = fill("ALTER TABLE {} ENABLE ROW LEVEL SECURITY", name.sql)
            disable = fill("ALTER TABLE {} DISABLE ROW LEVEL SECURITY", name.sql)
            yield Step("enable", f"row security of {name}", enable, disable, recorded, hazards)
            recorded = None
        on = fill("ALTER TABLE {} FORCE ROW LEVEL SECURITY", name.sql)
        off = fill("ALTER TABLE {} NO FORCE ROW LEVEL SECURITY", name.sql)
        if force and not relation.force_row_security:
            covered = next((policy.roles for policy in desired if policy.command == "ALL"), ())
            hazards = (
                tuple(self._onlookers.of_row_security(table, covered, force=True)) if relation.row_security else ()
            )
            yield Step("enable", f"forced row security of {name}", on, off, recorded, hazards)
        elif relation.force_row_security and not force:
            yield Step("disable", f"forced row security of {name}", off, on, recorded)
        elif recorded is not None:
            yield Step("alter", f"ledger entry of {name}", recorded, forget("table", name, ""))

    def view(self, view: View) -> Transaction | None:
        """The transaction that makes one view check its caller, and grants it."""
        steps, closing = [], []
        name = view.relation.name
        if view.spec.access == "invoker" and not view.relation.security_invoker:
            set_it = fill("ALTER VIEW {} SET (security_invoker = true)", name.sql)
            reset = fill("ALTER VIEW {} RESET (security_invoker)", name.sql)
            before = {"options": list(view.relation.options)}
            steps.append(
                Step(
                    "alter",
                    f"view {name}: security_invoker",
                    set_it,
                    reset,
                    record("view", name, "", "", "", before),
                    tuple(self._onlookers.of_invoker(view)),
                )
            )
        granted, check = self._grants(name, wanted_on_view(view), closed=view.spec.access == "hidden")
        steps += granted
        closing += check
        if granted and view.spec.access == "invoker":
            closing.append(_assert_invoker(name))
        return Transaction(f"view {name}", tuple(steps), tuple(closing), relation=name) if steps else None


def _assert_protected(table: Name, policies: Sequence[DesiredPolicy]) -> Sql:
    """A statement that fails unless row security is on, with these policies as they were recorded."""
    names = join(", ", [literal(policy.name) for policy in policies])
    return fill("SELECT rlsgen_private.assert_protected({}, ARRAY[{}])", regclass(table), names)


def _assert_invoker(view: Name) -> Sql:
    """A statement that fails unless a view checks its caller: CREATE OR REPLACE VIEW silently drops the option."""
    return fill(
        "SELECT rlsgen_private.assert_true((SELECT o.option_value::boolean FROM pg_class AS c,"
        " pg_options_to_table(c.reloptions) AS o WHERE c.oid = {} AND o.option_name = 'security_invoker'), {}, {})",
        regclass(view),
        literal(f"view {view} has lost security_invoker"),
        literal("it was replaced in between: plan again, and apply that"),
    )


def _replaced(table: Table, policy: Policy) -> Step:
    document = {"create": recreate(table.name, policy)}
    return Step(
        "drop",
        policy_label(policy.name, table.name),
        drop_policy(table.name, policy.name),
        recreate(table.name, policy),
        record("replaced", table.name, policy.name, "", "", document),
        (
            Warned(
                Hazard.POLICY_REPLACED,
                f"policy {policy.name} on {table.name} is dropped",
                "say `existing: keep` to leave it beside rlsgen's",
            ),
        ),
    )


def restore_row_security(
    name: Name, policies: Sequence[Policy], ledger: Ledger, row_security: bool, forced: bool
) -> Iterator[Step]:
    """What gives a table back the row security that it had: flags first, then rlsgen's policies, then others' again."""
    entry = ledger.get(("table", name, ""))
    if entry is not None:
        forgotten: Sql | None = forget("table", name, "")
        pairs = (("row_security", row_security, "ENABLE", "DISABLE"), ("force", forced, "FORCE", "NO FORCE"))
        for key, now, on, off in pairs:
            if now and not entry.before[key]:
                undo = fill("ALTER TABLE {} {} ROW LEVEL SECURITY", name.sql, Sql(off))
                redo = fill("ALTER TABLE {} {} ROW LEVEL SECURITY", name.sql, Sql(on))
                what = "row security" if key == "row_security" else "forced row security"
                yield Step("disable", f"{what} of {name}", undo, redo, forgotten)
                forgotten = None
        if forgotten is not None:
            yield Step("alter", f"ledger entry of {name}", forgotten, Sql(""))
    for policy in policies:
        if policy.name.startswith("rlsgen_"):
            yield Step(
                "drop",
                f"policy {policy.name} on {name}",
                drop_policy(name, policy.name),
                recreate(name, policy),
                forget("policy", name, policy.name),
            )
    present = {policy.name for policy in policies}
    for row in ledger.of(name, "replaced"):
        create = kept_policy(row.before["create"], name, row.name) if row.name not in present else Sql("SELECT")
        yield Step(
            "create",
            f"policy {row.name} on {name}",
            create,
            drop_policy(name, row.name),
            forget("replaced", name, row.name),
        )
