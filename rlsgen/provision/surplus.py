"""What the conversation role holds beyond the spec, itself or through PUBLIC: closed before anything opens."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property

from rlsgen.catalog.model import Catalog, DefaultPrivilege, Dependency, Function, Grant, Relation
from rlsgen.errors import Problem
from rlsgen.identifiers import Name, Sql, display, fill, identifier, identifiers, join, literal
from rlsgen.provision.effects import public_lost, public_lost_create, public_lost_function, role_lost
from rlsgen.provision.grants import (
    Privileges,
    assert_privileges,
    before_json,
    held_on,
    privilege_steps,
    public,
)
from rlsgen.provision.plan import Hazard, Step, Warned
from rlsgen.provision.policies import privileges_of
from rlsgen.provision.resolve import OWN_SCHEMAS, Resolved, Table
from rlsgen.provision.tables import record

# pg_identify_object's type → what REVOKE calls it
_KEYWORDS: Mapping[str, Sql] = {
    "function": Sql("ROUTINE"),
    "procedure": Sql("ROUTINE"),
    "aggregate": Sql("ROUTINE"),
    "schema": Sql("SCHEMA"),
    "database": Sql("DATABASE"),
    "type": Sql("TYPE"),
    "domain": Sql("DOMAIN"),
    "language": Sql("LANGUAGE"),
    "foreign-data wrapper": Sql("FOREIGN DATA WRAPPER"),
    "server": Sql("FOREIGN SERVER"),
    "large object": Sql("LARGE OBJECT"),
    "tablespace": Sql("TABLESPACE"),
    "parameter ACL": Sql("PARAMETER"),
}
_ON_DATABASE: Mapping[str, str] = {"TEMPORARY": "temporary tables", "CREATE": "schemas"}
_DEFAULT_KINDS: Mapping[str, Sql] = {
    "table": Sql("TABLES"),
    "sequence": Sql("SEQUENCES"),
    "function": Sql("ROUTINES"),
    "type": Sql("TYPES"),
    "schema": Sql("SCHEMAS"),
    "largeobject": Sql("LARGE OBJECTS"),
}


class Surplus:
    """Finds what must be closed; knows which privileges the spec wants on what.

    `all_rights`: with the steps for what the role that reads the catalog may not close.
    """

    def __init__(self, resolved: Resolved, wanted_relations: set[Name], *, all_rights: bool = False) -> None:
        self._spec = resolved.spec
        self._catalog: Catalog = resolved.catalog
        self._resolved = resolved
        self._wanted = wanted_relations
        self._who = resolved.spec.conversation
        self._admin = privileges_of(self._catalog.current_user, self._catalog)
        me = self._catalog.roles.get(self._catalog.current_user)
        self._superuser = all_rights or bool(me and me.superuser)
        self._own: set[Name] = set()
        self._own_addresses: set[str] = set()  # as pg_identify_object may spell them
        self.expect(entry.relation for entry in resolved.catalog.ledger if entry.kind == "function")

    def expect(self, functions: Iterable[Name]) -> None:
        """Functions of rlsgen's own, also where the ledger has lost them: they are compared one by one elsewhere."""
        for each in functions:
            self._own.add(each)
            names = (each.name, identifier(each.name))
            self._own_addresses |= {f"{schema}.{name}" for schema in ("rlsgen", identifier("rlsgen")) for name in names}

    def may_change(self, owner: str) -> bool:
        """Whether the role that applies may alter what `owner` owns."""
        database_owner = owner == "pg_database_owner" and self._catalog.database_owner in self._admin
        return self._superuser or owner in self._admin or database_owner

    # What the role holds itself

    def relation_steps(self, suspended: Collection[Name]) -> Iterator[Step]:
        """REVOKE for relations: all that the spec does not want, and all on those that are `suspended` for a moment."""
        for relation, held in self._to_close(suspended):
            first, *others = privilege_steps(relation, self._who, held, frozenset())
            yield replace(first, record=self._before(relation.name, held))
            yield from others

    def _to_close(self, suspended: Collection[Name]) -> Iterator[tuple[Relation, Privileges]]:
        for name, relation in self._catalog.relations.items():
            if name not in self._wanted or name in suspended:
                held = held_on(relation, self._who)
                if held:
                    yield relation, held

    def other_steps(self) -> Iterator[Step]:
        """REVOKE for everything else that the conversation role was granted and the spec does not want."""
        for _, steps in self.others():
            yield from steps
        for default, step in self.defaults():
            if default.grant.grantee == self._who:
                yield step

    def others(self) -> Iterator[tuple[Dependency, tuple[Step, ...]]]:
        """What the conversation role was granted on something that is no relation, and what takes it back."""
        for dependency in self._catalog.dependencies:
            if dependency.kind == "acl" and dependency.identity is None and not self._is_wanted(dependency):
                yield dependency, tuple(self._revoke_all(dependency))

    def defaults(self) -> Iterator[tuple[DefaultPrivilege, Step]]:
        """What the conversation role, or everybody, will hold on what nobody has made yet, and what revokes it."""
        for default in self._catalog.default_privileges:
            if default.grant.grantee == self._who:
                yield default, self._revoke_default(default.owner, default.schema, default.kind, default.grant)
        for default in self._public_defaults():
            if self.may_change(default.owner):
                yield default, self._default_from_public(default)

    def _before(self, name: Name, held: Privileges) -> Sql:
        """The ledger row that lets destroy give privileges back, if they stood before rlsgen and are no later drift."""
        provisioned = self._catalog.provision is not None and self._catalog.provision.fingerprint != ""
        return record("grants", name, "", "", "", {"privileges": [] if provisioned else before_json(held)})

    def _is_wanted(self, dependency: Dependency) -> bool:
        if dependency.type == "schema":
            return self._shown(dependency) and self._only(dependency, {"USAGE"})
        if dependency.type == "database":
            # Databases are the cluster's: what the role holds on another one is none of this one's business.
            here = dependency.address in (self._catalog.database, identifier(self._catalog.database))
            return not here or self._only(dependency, {"CONNECT"})
        # rlsgen's own functions are compared one by one, with their definitions.
        return dependency.type == "function" and dependency.address.partition("(")[0] in self._own_addresses

    def _shown(self, dependency: Dependency) -> bool:
        """Whether a schema has something in it that the spec shows."""
        schemas = {identifier(each.schema) for each in self._wanted} | {identifier("rlsgen")}
        plain = {display(each.schema) for each in self._wanted} | {"rlsgen"}
        return dependency.address in schemas | plain

    def _only(self, dependency: Dependency, privileges: set[str]) -> bool:
        held = [grant for grant in self._grants_of(dependency) if grant.grantee == self._who]
        return {grant.privilege for grant in held} <= privileges and not any(grant.grantable for grant in held)

    def _revoke_all(self, dependency: Dependency) -> Iterator[Step]:
        keyword = _KEYWORDS.get(dependency.type)
        if keyword is None:
            return
        # The identity comes from pg_identify_object, which quotes it.
        target = fill("{} {}", keyword, Sql(dependency.address))
        privileges = self._privileges_on(dependency)
        who, named = identifier(self._who), dependency.type in ("schema", "database")
        too_much = privileges if named else Sql("ALL")
        if too_much:
            sql = fill("REVOKE {} ON {} FROM {}", too_much, target, who)
            reverse = fill("GRANT {} ON {} TO {}", privileges, target, who) if privileges else Sql("")
            yield Step("revoke", f"{too_much} on {dependency.object} from {self._who}", sql, reverse)
        held = [grant for grant in self._grants_of(dependency) if grant.grantee == self._who] if named else []
        passed_on = {grant.privilege for grant in held if grant.grantable} - set(privileges.split(", "))
        if passed_on:
            what = join(", ", [Sql(privilege) for privilege in sorted(passed_on)])
            sql = fill("REVOKE GRANT OPTION FOR {} ON {} FROM {} CASCADE", what, target, who)
            reverse = fill("GRANT {} ON {} TO {} WITH GRANT OPTION", what, target, who)
            yield Step("revoke", f"the right to grant {what} on {dependency.object} from {self._who}", sql, reverse)

    def _privileges_on(self, dependency: Dependency) -> Sql:
        """What is too much on something that is no relation, as far as its type or its ACL says."""
        if dependency.type in ("schema", "database"):
            held = {grant.privilege for grant in self._grants_of(dependency) if grant.grantee == self._who}
            keep = "CONNECT" if dependency.type == "database" else "USAGE" if self._shown(dependency) else ""
            return join(", ", [Sql(privilege) for privilege in sorted(held - {keep})])
        routines = {"function", "procedure", "aggregate"}
        usable = {"type", "domain", "language", "foreign-data wrapper", "server"}
        return Sql("EXECUTE" if dependency.type in routines else "USAGE" if dependency.type in usable else "")

    def _grants_of(self, dependency: Dependency) -> tuple[Grant, ...]:
        if dependency.type == "database":
            return self._catalog.database_grants
        named = [s for s in self._catalog.schemas.values() if dependency.address in (s.name, identifier(s.name))]
        return named[0].grants if named else ()

    def _revoke_default(self, owner: str, schema: str | None, kind: str, grant: Grant) -> Step:
        inside = fill(" IN SCHEMA {}", identifier(schema)) if schema else Sql("")
        grantee = identifier(grant.grantee) if grant.grantee else Sql("PUBLIC")
        head = fill("ALTER DEFAULT PRIVILEGES FOR ROLE {}{}", identifier(owner), inside)
        what = fill("{} ON {}", Sql(grant.privilege), _DEFAULT_KINDS[kind])
        label = f"default {grant.privilege} on {kind}s of {owner} for {grant.grantee or 'PUBLIC'}"
        revoke = fill("{} REVOKE {} FROM {}", head, what, grantee)
        return Step("revoke", label, revoke, fill("{} GRANT {} TO {}", head, what, grantee))

    # What reaches it through PUBLIC

    def problems(self) -> Iterator[Problem]:
        """What PUBLIC may read although the spec does not show it, and what nobody here may revoke."""
        for relation in self.reachable:
            declared = self._declared(relation)
            position = self._spec.positions.get("tables")
            if "SELECT" in self._public_on(relation) and relation.kind != "sequence" and not declared:
                state = "hidden" if self._is_hidden(relation.name) else "not declared"
                yield Problem(
                    f"{relation.name} is {state}, but everybody may read it through PUBLIC",
                    position,
                    f"as {display(relation.owner)}: grant it to the roles that need it, then revoke it from PUBLIC",
                )
            elif self._public_on(relation) and not self.may_change(relation.owner):
                yield self._not_mine(f"PUBLIC holds privileges on {relation.name}", relation.owner)
        for function in self._definers():
            if not self.may_change(function.owner):
                shown = f"{function.name}({function.arguments})"
                yield self._not_mine(f"everybody may execute the SECURITY DEFINER function {shown}", function.owner)

    def _not_mine(self, fact: str, owner: str) -> Problem:
        hint = f"let {display(owner)} or an administrator REVOKE it from PUBLIC"
        return Problem(f"{fact}, and {display(self._catalog.current_user)} may not revoke it", None, hint)

    def advice(self) -> Iterator[Problem]:
        """What should be closed, but only the owner of the database or of a schema can close."""
        database = self._catalog.database
        for privilege, what in _ON_DATABASE.items():
            held = privilege in public(self._catalog.database_grants)
            if held and not self.may_change(self._catalog.database_owner):
                sql = fill("REVOKE {} ON DATABASE {} FROM PUBLIC", Sql(privilege), identifier(database))
                yield Problem(f"everybody may create {what} in {display(database)}", None, f"let its owner run: {sql}")
        for default in self._public_defaults():
            if not self.may_change(default.owner):
                revoke = self._revoke_default(default.owner, default.schema, default.kind, default.grant)
                yield Problem(
                    f"everybody may read tables that {display(default.owner)} is going to make",
                    None,
                    f"let it run: {revoke.sql}",
                )
        for schema in self._catalog.schemas.values():
            if "CREATE" in public(schema.grants) and not self.may_change(schema.owner):
                sql = fill("REVOKE CREATE ON SCHEMA {} FROM PUBLIC", identifier(schema.name))
                yield Problem(
                    f"everybody may create objects in schema {schema.name}", None, f"let its owner run: {sql}"
                )

    def public_steps(self) -> Iterator[Step]:
        """Revocations from PUBLIC; each first grants the same to the unrestricted roles that used it."""
        catalog = self._catalog
        for privilege in _ON_DATABASE:
            if privilege in public(catalog.database_grants) and self.may_change(catalog.database_owner):
                target = fill("DATABASE {}", identifier(catalog.database))
                yield self._from_public(privilege, target, f"database {catalog.database}", catalog.database_grants)
        for default in self._public_defaults():
            if self.may_change(default.owner):
                yield self._default_from_public(default)
        for schema in catalog.schemas.values():
            if "CREATE" in public(schema.grants) and self.may_change(schema.owner):
                target = fill("SCHEMA {}", identifier(schema.name))
                yield self._from_public("CREATE", target, f"schema {schema.name}", schema.grants)
        for _, step in self.public_functions():
            yield step

    def public_functions(self) -> Iterator[tuple[Function, Step]]:
        """SECURITY DEFINER functions that everybody may execute, and what ends that."""
        for function in self._definers():
            if self.may_change(function.owner):
                target = fill("ROUTINE {}({})", function.name.sql, Sql(function.arguments))
                yield function, self._from_public("EXECUTE", target, f"function {function.name}", function.grants)

    def public_relation_steps(self) -> Iterator[tuple[Name, Step]]:
        """The same for relations, each with its relation: it is given back with it."""
        for relation in self.reachable:
            for step in self._relation_steps(relation):
                yield relation.name, step

    def _public_defaults(self) -> Iterator[DefaultPrivilege]:
        """What PUBLIC will hold on tables that nobody has made yet: they would be open until the next apply."""
        for default in self._catalog.default_privileges:
            somewhere = default.schema is None or self.enters(default.schema)
            if default.grant.grantee is None and default.kind == "table" and somewhere:
                yield default

    def _default_from_public(self, default: DefaultPrivilege) -> Step:
        step = self._revoke_default(default.owner, default.schema, default.kind, default.grant)
        hazard = Warned(Hazard.PUBLIC_REVOKE, f"{step.object} is revoked", "grant it to the roles that need it")
        return replace(step, hazards=(hazard,))

    def _relation_steps(self, relation: Relation) -> Iterator[Step]:
        if not self.may_change(relation.owner):
            return
        kind = Sql("SEQUENCE" if relation.kind == "sequence" else "TABLE")
        for privilege in public(relation.grants):
            target = fill("{} {}", kind, relation.name.sql)
            yield self._from_public(privilege, target, f"{relation.kind} {relation.name}", relation.grants)
        for column in relation.columns:
            for privilege in public(column.grants):
                what = f"{privilege} ({identifier(column.name)})"
                yield self._from_public(what, fill("TABLE {}", relation.name.sql), f"{relation.name}", column.grants)

    def _from_public(self, privilege: str, target: Sql, label: str, grants: tuple[Grant, ...]) -> Step:
        word = privilege.partition(" ")[0]
        holders = {grant.grantee for grant in grants if grant.privilege == word}
        users = [role for role in self._spec.unrestricted if role in self._catalog.roles and role not in holders]
        what = Sql(privilege)  # a keyword of aclexplode, with a quoted column for column privileges
        revoke = fill("REVOKE {} ON {} FROM PUBLIC", what, target)
        reverse = fill("GRANT {} ON {} TO PUBLIC", what, target)
        if users:
            revoke = fill("GRANT {} ON {} TO {};\n{}", what, target, identifiers(users), revoke)
            reverse = fill("{};\nREVOKE {} ON {} FROM {}", reverse, what, target, identifiers(users))
        shown = f"{privilege} on {label}"
        hint = "" if users else "no unrestricted role needs it"
        return Step(
            "revoke",
            f"{shown} from PUBLIC",
            revoke,
            reverse,
            hazards=(Warned(Hazard.PUBLIC_REVOKE, f"{shown} is revoked from PUBLIC", hint),),
        )

    # REVOKE without the right, or of what another grantor gave, only warns

    def checks(self, suspended: Collection[Name]) -> Iterator[Sql]:
        """Statements that fail if one of the revocations had no effect."""
        for relation, _ in self._to_close(suspended):
            yield assert_privileges(relation.name, self._who, frozenset())
        for dependency in self._catalog.dependencies:
            if dependency.kind == "acl" and dependency.identity is None and not self._is_wanted(dependency):
                yield role_lost(dependency, self._who, self._privileges_on(dependency))
        for schema in self._catalog.schemas.values():
            if "CREATE" in public(schema.grants) and self.may_change(schema.owner):
                yield public_lost_create(schema.name)
        for relation in self.reachable:
            if self.may_change(relation.owner):
                yield public_lost(relation)
        for name in dict.fromkeys(each.name for each in self._definers() if self.may_change(each.owner)):
            yield public_lost_function(name)

    @cached_property
    def reachable(self) -> tuple[Relation, ...]:
        """Relations on which PUBLIC holds something."""
        entered = {schema for schema in self._catalog.schemas if schema not in OWN_SCHEMAS and self.enters(schema)}
        return tuple(
            relation
            for name, relation in self._catalog.relations.items()
            if name.schema in entered and self._public_on(relation)
        )

    def enters(self, schema: str) -> bool:
        """Whether the conversation role gets into a schema, through PUBLIC or by the spec."""
        return "USAGE" in public(self._catalog.schemas[schema].grants) or schema in self._spec.schemas

    def _public_on(self, relation: Relation) -> set[str]:
        return {privilege for privilege, _ in held_on(relation, None)}

    def _definers(self) -> Iterator[Function]:
        for function in self._catalog.functions:
            if function.definer and "EXECUTE" in public(function.grants):
                schema = function.name.schema
                # Of rlsgen's own functions, compared one by one, EXECUTE is compared too.
                if self.enters(schema) if schema not in OWN_SCHEMAS else function.name not in self._own:
                    yield function

    def _is_hidden(self, name: Name) -> bool:
        table, view = self._resolved.tables.get(name), self._resolved.views.get(name)
        return bool((table and table.spec.access == "hidden") or (view and view.spec.access == "hidden"))

    def _declared(self, relation: Relation) -> bool:
        """Declared and shown, or a partition or child of something that is."""
        table: Table | None = self._resolved.tables.get(relation.name)
        if table is not None:
            return table.spec.access != "hidden"
        view = self._resolved.views.get(relation.name)
        if view is not None:
            return view.spec.access != "hidden"
        above = [self._catalog.relations[name] for name in relation.parents if name in self._catalog.relations]
        return any(self._declared(parent) for parent in above)


def surplus_check(resolved: Resolved) -> Iterator[Sql]:
    """Statements that fail if a revocation had no effect: REVOKE without the right only warns."""
    who = literal(resolved.spec.conversation)
    unwanted = join(", ", [Sql("'TEMPORARY'"), Sql("'CREATE'")])
    database = literal(resolved.catalog.database)
    yield fill(
        "SELECT rlsgen_private.assert_true(NOT EXISTS (SELECT 1 FROM unnest(ARRAY[{}]) AS p"
        " WHERE has_database_privilege({}, {}, p)), 'the conversation role may still create objects in this database',"
        " 'the owner of the database can revoke TEMPORARY and CREATE from PUBLIC and from the role')",
        unwanted,
        who,
        database,
    )
