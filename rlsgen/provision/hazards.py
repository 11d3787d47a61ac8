"""What row security would do to roles that rlsgen is not about: found before, told by name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping

from rlsgen.catalog.model import Catalog, Relation, Role
from rlsgen.identifiers import Name, display
from rlsgen.provision.plan import Hazard, Warned
from rlsgen.provision.policies import privileges_of_all
from rlsgen.provision.resolve import OWN_SCHEMAS, Resolved, Table, View

_READ = frozenset({"SELECT"})
_ROWS = _READ | {"INSERT", "UPDATE", "DELETE"}


class Onlookers:
    """The roles of a cluster, seen from tables that are about to get row security."""

    def __init__(self, resolved: Resolved) -> None:
        self._resolved = resolved
        self._catalog: Catalog = resolved.catalog
        self.closures = privileges_of_all(self._catalog)
        self._ordinary = frozenset(role.name for role in self._catalog.roles.values() if self._is_ordinary(role))
        self._readers_above = self._views_by_relation()
        self._definers = defaultdict(list)
        for function in self._catalog.functions:
            if function.definer and function.name.schema not in OWN_SCHEMAS:
                self._definers[function.owner].append(function.name)
        self._by_grantees: dict[tuple[frozenset[str | None], str], frozenset[str]] = {}

    def _is_ordinary(self, role: Role) -> bool:
        return not role.bypass_rls and self._needs_privileges(role)

    def _needs_privileges(self, role: Role) -> bool:
        return not (role.superuser or role.name.startswith("pg_") or role.name == self._resolved.spec.conversation)

    def _views_by_relation(self) -> Mapping[Name, list[Relation]]:
        """Views and materialized views that read a relation with their owner's rights, directly."""
        found: defaultdict[Name, list[Relation]] = defaultdict(list)
        for relation in self._catalog.relations.values():
            if relation.kind == "matview" or (relation.kind == "view" and not relation.security_invoker):
                for name in relation.reads:
                    found[name].append(relation)
        return found

    def _who(self, grantees: frozenset[str | None], owner: str) -> frozenset[str]:
        key = (grantees, owner)
        if key not in self._by_grantees:
            named = {name for name in grantees if name is not None} | {owner}
            everybody = None in grantees
            self._by_grantees[key] = frozenset(
                role.name
                for role in self._catalog.roles.values()
                if self._needs_privileges(role) and (self.closures[role.name] & named or (everybody and role.login))
            )
        return self._by_grantees[key]

    def users_of(self, relation: Relation, privileges: frozenset[str] = _ROWS) -> frozenset[str]:
        """Roles that have one of the privileges on a relation or its columns, by any way that needs no SET ROLE."""
        grants = [*relation.grants, *(grant for column in relation.columns for grant in column.grants)]
        grantees = {grant.grantee for grant in grants if grant.privilege in privileges}
        grantees |= {"pg_read_all_data"} if privileges & _READ else set()
        grantees |= {"pg_write_all_data"} if privileges - _READ else set()
        return self._who(frozenset(grantees), relation.owner)

    def of_keys(self) -> list[Warned]:
        """Unrestricted roles that can dump the whole database today: rlsgen's keys are not for them to read."""
        catalog = self._catalog
        dumped = [each for each in catalog.relations.values() if each.kind in ("table", "partitioned", "sequence")]
        owners = self.closures.get(catalog.current_user, frozenset())
        dumpers = [
            role
            for role in self._resolved.spec.unrestricted
            if role in catalog.roles
            and not catalog.roles[role].superuser
            and role not in owners
            and catalog.current_user not in self.closures[role]
            and dumped
            and all(role in self.users_of(relation, _READ) for relation in dumped)
        ]
        return [
            Warned(
                Hazard.DUMP,
                f"role {display(role)} can dump the whole database today, and may not read rlsgen's keys",
                "pg_dump --exclude-schema=rlsgen --exclude-schema=rlsgen_private, or let the owner dump",
            )
            for role in dumpers
        ]

    def of_uncovering(
        self, table: Table, before: Collection[str], covered: tuple[str, ...], *, force: bool
    ) -> list[Warned]:
        """The hazards for roles that a policy for unrestricted roles named `before`, and that it names no more."""
        lost = set(before) - set(covered)
        touched = {name for name, closure in self.closures.items() if closure & lost}
        return self.of_row_security(table, covered, force=force, among=touched) if lost else []

    def of_row_security(
        self, table: Table, covered: tuple[str, ...], *, force: bool, among: Collection[str] | None = None
    ) -> list[Warned]:
        """The hazards of switching row security on for a table whose policies for unrestricted roles name `covered`.

        `among`: only those for these roles.
        """
        relation = table.relation
        warned = []
        users = self.users_of(relation)
        # Anybody may own a view over the table; what he reads through it, row security judges as him.
        views = {view.owner: view.name for view in self._readers_above.get(relation.name, [])}
        subscribers = {owner: name for name, owner, tables in self._catalog.subscriptions if relation.name in tables}
        ordinary = self._ordinary if among is None else self._ordinary & set(among)
        for role in sorted({*users, *views, *subscribers} & ordinary):
            closure = self.closures[role]
            if relation.owner in closure and not force:
                continue
            if closure & set(covered):
                if role in users:
                    warned += [*self._narrowed(role, table), *self._subject(role, relation)]
                continue
            through = self._through(role, views, subscribers)
            warned.append(
                Warned(
                    Hazard.ACCESS_LOSS,
                    f"role {display(role)} would see no rows of {relation.name}{through}",
                    f"list {display(role)} under roles.unrestricted, or let an administrator run "
                    f"ALTER ROLE {display(role)} BYPASSRLS",
                )
            )
        return warned

    def _narrowed(self, role: str, table: Table) -> Iterator[Warned]:
        """Somebody else's restrictive policies, asleep until now for this role, hold beside the one that covers it."""
        closure = self.closures[role] | {""}
        awake = [
            policy.name
            for policy in table.relation.policies
            if not policy.permissive and not policy.name.startswith("rlsgen_") and closure & set(policy.roles)
        ]
        if awake and table.spec.existing == "keep":
            names = ", ".join(map(display, awake))
            yield Warned(
                Hazard.ACCESS_LOSS,
                f"role {display(role)} would see only rows of {table.name} that the kept policy {names} lets through",
                "say `existing: replace`, or let the policy name other roles",
            )

    def _through(self, role: str, views: Mapping[str, Name], subscribers: Mapping[str, str]) -> str:
        ways = []
        if role in views:
            ways.append(f"view {views[role]}, which it owns")
        if role in subscribers:
            ways.append(f"subscription {display(subscribers[role])}, which it owns")
        if self._definers[role]:
            ways.append(f"its SECURITY DEFINER functions ({', '.join(map(str, self._definers[role][:3]))}…)")
        return f", also through {' and '.join(ways)}" if ways else ""

    def _subject(self, role: str, relation: Relation) -> list[Warned]:
        hint = f"an administrator can run ALTER ROLE {display(role)} BYPASSRLS: then it notices nothing"
        shown = f"role {display(role)}, table {relation.name}"
        hazards = [Hazard.PLANNER_STATISTICS, Hazard.DUMP]
        if role in self.users_of(relation, frozenset({"INSERT"})):
            hazards.append(Hazard.COPY_FROM)
        return [Warned(hazard, shown, hint) for hazard in hazards]

    def of_invoker(self, view: View) -> list[Warned]:
        """Roles that read a view through its owner's rights, and lack rights of their own on what it reads."""
        warned = []
        below = [self._catalog.relations[name] for name in view.relation.reads if name in self._catalog.relations]
        for role in sorted(self.users_of(view.relation, _READ)):
            lacking = [str(relation.name) for relation in below if role not in self.users_of(relation, _READ)]
            if lacking:
                warned.append(
                    Warned(
                        Hazard.ACCESS_LOSS,
                        f"role {display(role)} reads view {view.relation.name} "
                        f"and would need SELECT on {', '.join(lacking)}",
                        "grant it SELECT on what the view reads, or declare the view hidden",
                    )
                )
        return warned
