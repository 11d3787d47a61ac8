"""From a spec and a catalog to a plan: what differs, ordered so that every state between transactions is safe."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import cached_property

from rlsgen.catalog.model import Catalog, Function
from rlsgen.errors import Problem, SpecError
from rlsgen.identifiers import Name, Sql, fill, identifier, identifiers, join, literal
from rlsgen.provision.expression import relation_names
from rlsgen.provision.functions import Accessor, DesiredFunction, accessor_versions, context_functions, key_tables
from rlsgen.provision.grants import wanted_sequences
from rlsgen.provision.hazards import Onlookers
from rlsgen.provision.indexes import missing_indexes
from rlsgen.provision.ledger import Ledger
from rlsgen.provision.plan import FORMAT, Plan, Step, Transaction
from rlsgen.provision.predicates import Predicates
from rlsgen.provision.render import render
from rlsgen.provision.resolve import OWN_SCHEMAS, Resolved, Resolver, Table
from rlsgen.provision.roles import owner_problems, premises_problems, role_problems
from rlsgen.provision.surplus import Surplus, surplus_check
from rlsgen.provision.tables import TableDiffer, forget, record, restore_row_security
from rlsgen.spec.model import Spec

FOUNDATION = Name("rlsgen", "rlsgen")  # the ledger's name for schemas, ledger, helpers and key tables
_LEDGER_TABLES = (Name("rlsgen", "provision"), Name("rlsgen", "object"))
_SECRETS = ("inner_pad", "outer_pad")
_KEY_TABLES = (Name("rlsgen_private", "signing_key"), Name("rlsgen_private", "seal_key"))


@dataclass(frozen=True, slots=True)
class Comparison:
    """A plan, and the tables whose filters are new to this database: Postgres has not judged them yet."""

    plan: Plan
    resolved: Resolved
    unjudged: tuple[Table, ...]


def search_path(spec: Spec) -> Sql:
    """pg_catalog first; then the spec's schemas, where operators of extensions live; pg_temp last."""
    return join(", ", [Sql("pg_catalog"), *(identifier(schema) for schema in spec.schemas), Sql("pg_temp")])


def fingerprint(spec: Spec) -> str:
    """What runtime and database compare: context, roles and access; not prompts, limits or the order of tables."""
    context = [
        (f.name, f.type, f.required, f.minimum, f.maximum, f.pattern, f.max_length, f.max_items) for f in spec.context
    ]
    tables = sorted(
        json.dumps(
            [
                (t.ref.schema, t.ref.name),
                t.access,
                t.filter.text if t.filter else None,
                t.check.text if t.check else None,
                [(p.columns, p.parent.schema, p.parent.name, p.parent_columns) for p in t.through],
                t.allow,
                t.hide,
                t.private,
                t.existing,
            ]
        )
        for t in spec.tables
    )
    views = sorted(json.dumps([v.ref.schema, v.ref.name, v.access, v.hide]) for v in spec.views)
    document = [context, spec.conversation, spec.unrestricted, spec.schemas, spec.force, spec.seal, tables, views]
    return hashlib.sha256(json.dumps(document).encode()).hexdigest()


def compare(spec: Spec, catalog: Catalog) -> Comparison:
    """The plan that brings a database to what the spec says.

    Raises:
        SpecError: the spec does not fit the database; all problems are in it.
    """
    resolved, problems = Resolver(spec, catalog).resolve()
    problems += role_problems(spec, catalog)
    problems += owner_problems(resolved)
    problems += premises_problems(catalog)
    differ = _Differ(resolved)
    problems += differ.surplus.problems()
    if problems:
        raise SpecError(problems)
    return differ.compare()


class _Differ:
    def __init__(self, resolved: Resolved) -> None:
        self._resolved = resolved
        self._spec, self._catalog = resolved.spec, resolved.catalog
        self._ledger = Ledger(resolved.catalog.ledger)
        wanted = {name for name, table in resolved.tables.items() if table.spec.access != "hidden"}
        wanted |= {name for name, view in resolved.views.items() if view.spec.access != "hidden"}
        wanted |= {sequence for table in resolved.tables.values() for sequence in wanted_sequences(table)}
        self._wanted = wanted
        self.surplus = Surplus(resolved, wanted)

    @cached_property
    def _live_functions(self) -> dict[tuple[Name, str], Function]:
        return {
            (each.name, each.arguments): each for each in self._catalog.functions if each.name.schema in OWN_SCHEMAS
        }

    def compare(self) -> Comparison:
        existing = {
            name.name: function.result
            for (name, arguments), function in self._live_functions.items()
            if name.schema == "rlsgen" and not arguments
        }
        accessors = accessor_versions(self._spec, existing)
        predicates = Predicates(self._resolved, {each.field.name: each for each in accessors if each.field})
        # Predicates first: what they read in definer functions decides about policies under force.
        for table in self._resolved.tables.values():
            if table.spec.access == "scoped":
                predicates.policy(table, "read"), predicates.policy(table, "write")
        retired = self._retired(accessors, existing)
        differ = TableDiffer(self._resolved, predicates, Onlookers(self._resolved), self._ledger)
        tables = {name: differ.table(table) for name, table in self._resolved.tables.items()}
        suspended = self._suspended(differ.altered)
        tables |= {name: differ.table(self._resolved.tables[name], closed=True) for name in suspended}
        functions = [*context_functions(self._spec, accessors, retired), *predicates.functions.values()]
        self.surplus.expect(each.name for each in functions)
        transactions = [
            self._foundation(),
            self._functions(functions),
            self._closing(suspended),
            *tables.values(),
            *(differ.view(view) for view in self._resolved.views.values()),
            *self._orphans(),
            self._retire(retired, functions),
            self._provision(),
        ]
        missing = missing_indexes(self._resolved)
        advice = [
            Problem(str(each), None, "rlsgen apply --indexes makes it, without blocking writes") for each in missing
        ]
        plan = Plan(
            tuple(each for each in transactions if each is not None),
            search_path(self._spec),
            (*self._unsealed(), *self.surplus.advice(), *advice),
        )
        return Comparison(plan, self._resolved, tuple(differ.changed.values()))

    def _unsealed(self) -> Iterator[Problem]:
        """What `seal: off` gives up, said each time."""
        if not self._spec.seal:
            yield Problem(
                "seal is off: whoever chooses the SQL text of a conversation chooses its context too, with one set_config",
                self._spec.positions.get("seal"),
                "only for applications whose SQL is trusted; never where a language model or a customer writes it",
            )

    # Schemas, ledger, keys

    def _foundation(self) -> Transaction | None:
        create = Sql(f"{render('ledger.sql.j2')};\n{key_tables()}".rstrip().rstrip(";"))
        source = hashlib.sha256(create.encode()).hexdigest()
        entry = self._ledger.get(("foundation", FOUNDATION, ""))
        if entry and entry.source == source and entry.live == self._foundation_live() and self._closed():
            return None
        first = fill(
            "INSERT INTO rlsgen.provision (format, spec_hash, fingerprint, system_identifier, seal)"
            " VALUES ({}, '', '', {}, {}) ON CONFLICT (singleton) DO NOTHING",
            literal(FORMAT),
            literal(self._catalog.system_identifier),
            literal(self._spec.seal),
        )
        recorded = fill(
            "DELETE FROM rlsgen.object WHERE kind = 'foundation';\n"
            "INSERT INTO rlsgen.object SELECT 'foundation', 'rlsgen', 'rlsgen', '', {}, encode(sha256(convert_to("
            "string_agg(pg_get_functiondef(p.oid), '' ORDER BY p.proname COLLATE \"C\"), 'UTF8')), 'hex'), '{{}}'"
            " FROM pg_proc AS p WHERE p.pronamespace = 'rlsgen_private'::regnamespace",
            literal(source),
        )
        drop = Sql("DROP SCHEMA rlsgen, rlsgen_private CASCADE")
        step = Step(
            "alter" if entry else "create",
            "schemas rlsgen and rlsgen_private, with ledger and keys",
            fill("{};\n{}", create, first),
            Sql("") if entry else drop,
            recorded,
        )
        return Transaction("the foundation: schemas, ledger, keys", (step,))

    def _foundation_live(self) -> str:
        private = [each for (name, _), each in self._live_functions.items() if name.schema == "rlsgen_private"]
        text = "".join(each.definition for each in sorted(private, key=lambda each: each.name.name))
        return hashlib.sha256(text.encode()).hexdigest()

    def _closed(self) -> bool:
        """Whether what is private is there and its owner's alone, and the keys under row security without policies."""
        tables = {name: self._catalog.relations.get(name) for name in (*_KEY_TABLES, *_LEDGER_TABLES)}
        keys = [tables[name] for name in _KEY_TABLES]
        private = [each for each in self._catalog.functions if each.name.schema == "rlsgen_private"]
        columns = [(each, column) for each in tables.values() if each for column in each.columns]
        owned = [self._catalog.schemas["rlsgen_private"], *tables.values(), *private]
        return (
            all(each is not None and all(grant.grantee == each.owner for grant in each.grants) for each in owned)
            and all(grant.grantee == each.owner for each, column in columns for grant in column.grants)
            and all(column.statistics == 0 for _, column in columns if column.name in _SECRETS)
            and all(key is not None and key.row_security and not key.policies for key in keys)
        )

    # Functions

    def _functions(self, desired: list[DesiredFunction]) -> Transaction | None:
        steps: list[Step] = []
        for function in desired:
            steps += self._function(function)
        schema = self._catalog.schemas.get("rlsgen")
        role = identifier(self._spec.conversation)
        checks: list[Sql] = []
        for name in sorted({"rlsgen", *(each.schema for each in self._wanted)}):
            for step, check in self._usage(name):
                steps.append(step)
                checks.append(check)
        if schema is not None and any(grant.grantee is None for grant in schema.grants):
            steps.append(
                Step(
                    "revoke",
                    "ALL on schema rlsgen from PUBLIC",
                    Sql("REVOKE ALL ON SCHEMA rlsgen FROM PUBLIC"),
                    Sql(""),
                )
            )
        for step, check in self._connect(role):
            steps.append(step)
            checks.append(check)
        title = "functions of the sealed context, and the way to them"
        return Transaction(title, tuple(steps), tuple(checks)) if steps else None

    def _usage(self, name: str) -> Iterator[tuple[Step, Sql]]:
        """USAGE on a schema; where PUBLIC gives it, nothing more is needed."""
        role, schema = self._spec.conversation, self._catalog.schemas.get(name)
        holders = {grant.grantee for grant in schema.grants if grant.privilege == "USAGE"} if schema else set()
        if holders & ({role} if name == "rlsgen" else {None, role}):
            return
        grant = fill("GRANT USAGE ON SCHEMA {} TO {}", identifier(name), identifier(role))
        revoke = fill("REVOKE USAGE ON SCHEMA {} FROM {}", identifier(name), identifier(role))
        check = fill(
            "SELECT rlsgen_private.assert_true(has_schema_privilege({}, {}, 'USAGE'),"
            " 'the conversation role lacks USAGE on a schema', 'the owner of the schema can grant it')",
            literal(role),
            literal(name),
        )
        yield self._recorded(Step("grant", f"USAGE on schema {name} for {role}", grant, revoke)), check

    def _connect(self, role: Sql) -> Iterator[tuple[Step, Sql]]:
        holders = {grant.grantee for grant in self._catalog.database_grants if grant.privilege == "CONNECT"}
        if not holders & {None, self._spec.conversation}:
            database = identifier(self._catalog.database)
            check = fill(
                "SELECT rlsgen_private.assert_true(has_database_privilege({}, {}, 'CONNECT'),"
                " 'the conversation role may not connect', 'the owner of the database can grant CONNECT')",
                literal(self._spec.conversation),
                literal(self._catalog.database),
            )
            step = Step(
                "grant",
                f"CONNECT on database {self._catalog.database} for {self._spec.conversation}",
                fill("GRANT CONNECT ON DATABASE {} TO {}", database, role),
                fill("REVOKE CONNECT ON DATABASE {} FROM {}", database, role),
            )
            yield self._recorded(step), check

    def _function(self, desired: DesiredFunction) -> Iterator[Step]:
        live = self._live_functions.get((desired.name, desired.arguments))
        source = hashlib.sha256(desired.create.encode()).hexdigest()
        label = f"function {desired.name}({desired.arguments})"
        signature = _signature(desired.name, desired.arguments)
        drop = fill("DROP FUNCTION {}", signature)
        recorded = fill(
            "SELECT rlsgen_private.record_function({}::regprocedure, {}, {})",
            literal(signature),
            literal(desired.arguments),
            literal(source),
        )
        entry = self._ledger.get(("function", desired.name, desired.arguments))
        same = (
            live is not None and entry is not None and entry.source == source and entry.live == _digest(live.definition)
        )
        if not same:
            old = Sql(live.definition.rstrip()) if live else drop
            yield Step("replace" if live else "create", label, desired.create, old, recorded)
        wanted = {self._spec.conversation} if desired.execute else set()
        held: set[str | None] = (
            {grant.grantee for grant in live.grants if grant.grantee != live.owner} if live else self._born_with
        )
        if held != wanted:
            yield from self._execute(label, signature, held, wanted)
        if live and any(grant.grantee == self._spec.conversation and grant.grantable for grant in live.grants):
            target, role = fill("FUNCTION {}", signature), identifier(self._spec.conversation)
            yield Step(
                "revoke",
                f"the right to grant EXECUTE on {label} from {self._spec.conversation}",
                fill("REVOKE GRANT OPTION FOR EXECUTE ON {} FROM {} CASCADE", target, role),
                fill("GRANT EXECUTE ON {} TO {} WITH GRANT OPTION", target, role),
            )

    @cached_property
    def _born_with(self) -> set[str | None]:
        """Who may execute a function of ours as soon as it is made: PUBLIC, and whom default privileges name."""
        me, ours = self._catalog.current_user, (None, "rlsgen")
        defaults = [each for each in self._catalog.default_privileges if each.owner == me and each.schema in ours]
        named = {each.grant.grantee for each in defaults if each.kind == "function"}
        return {None} | named - {me, self._spec.conversation}

    def _execute(self, label: str, signature: Sql, held: set[str | None], wanted: set[str]) -> Iterator[Step]:
        target = fill("FUNCTION {}", signature)
        for grantee in sorted(held - wanted, key=str):
            who = identifier(grantee) if grantee else Sql("PUBLIC")
            yield Step(
                "revoke",
                f"EXECUTE on {label} from {grantee or 'PUBLIC'}",
                fill("REVOKE ALL ON {} FROM {}", target, who),
                fill("GRANT EXECUTE ON {} TO {}", target, who),
            )
        for role in sorted(wanted - held):
            yield Step(
                "grant",
                f"EXECUTE on {label} for {role}",
                fill("GRANT EXECUTE ON {} TO {}", target, identifier(role)),
                fill("REVOKE EXECUTE ON {} FROM {}", target, identifier(role)),
            )

    def _retired(self, accessors: tuple[Accessor, ...], existing: dict[str, str]) -> list[Accessor]:
        """Accessors of an earlier spec: policies use them until the last table is through."""
        used = {each.function for each in accessors}
        fields = {field.snake: field for field in self._spec.context}
        return [
            Accessor(name, kind, fields.get(name.partition("__")[0]))
            for name, kind in sorted(existing.items())
            if name not in used and ("function", Name("rlsgen", name), "") in self._ledger
        ]

    def _retire(self, retired: list[Accessor], functions: Collection[DesiredFunction]) -> Transaction | None:
        until_then = {each.name: each.create for each in functions}
        gone = [
            (name, arguments)
            for (name, arguments) in self._live_functions
            if name.name.startswith("path_")
            and ("function", name, arguments) in self._ledger
            and name not in until_then
        ]
        gone += [(Name("rlsgen", each.function), "") for each in retired]
        steps = [
            Step(
                "drop",
                f"function {name}({arguments})",
                fill("DROP FUNCTION {}", _signature(name, arguments)),
                self._made_again(name, arguments, until_then.get(name)),
                forget("function", name, arguments),
            )
            for name, arguments in gone
        ]
        return Transaction("functions that no policy uses any more", tuple(steps)) if steps else None

    def _made_again(self, name: Name, arguments: str, create: Sql | None) -> Sql:
        """What makes a function again, as it is by then, for those who may execute it now."""
        live, target = self._live_functions[name, arguments], fill("FUNCTION {}", _signature(name, arguments))
        named = sorted({grant.grantee for grant in live.grants if grant.grantee and grant.grantee != live.owner})
        body = fill("{};\nREVOKE ALL ON {} FROM PUBLIC", create or Sql(live.definition.rstrip()), target)
        return fill("{};\nGRANT EXECUTE ON {} TO {}", body, target, identifiers(named)) if named else body

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
            steps.append(self._recorded(step))
        for name, step in self.surplus.public_relation_steps():
            steps.append(self._recorded(step, name))
        checks = tuple(surplus_check(self._resolved)) if steps and any(" on database " in s.object for s in steps) else ()
        steps += self.surplus.relation_steps(suspended)
        for step in self.surplus.other_steps():
            steps.append(step if not step.reverse or self._provisioned else self._recorded(step))
        checks += tuple(self.surplus.checks(suspended))
        return Transaction("privileges beyond the spec", tuple(steps), checks) if steps else None

    @property
    def _provisioned(self) -> bool:
        return self._catalog.provision is not None and self._catalog.provision.fingerprint != ""

    def _recorded(self, step: Step, relation: Name = FOUNDATION) -> Step:
        """The step with a ledger row of how to undo it."""
        name = hashlib.sha256(step.object.encode()).hexdigest()[:16]
        return replace(step, record=record("public", relation, name, "", "", {"reverse": step.reverse}))

    def _orphans(self) -> Iterator[Transaction]:
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
                yield Transaction(f"{name}, which is gone", tuple(forgets))
                continue
            steps = tuple(
                restore_row_security(
                    name, relation.policies, self._ledger, relation.row_security, relation.force_row_security
                )
            )
            if steps:
                yield Transaction(f"table {name}, declared no more", steps)

    def _is_gone(self, name: Name) -> bool:
        """Whether a relation of the ledger exists no more; what is no relation has rlsgen's schema there."""
        return name.schema not in OWN_SCHEMAS and name not in self._catalog.relations

    def _provision(self) -> Transaction | None:
        mark = fingerprint(self._spec)
        now = self._catalog.provision
        if now is not None and (now.fingerprint, now.format, now.seal) == (mark, FORMAT, self._spec.seal):
            return None
        sql = fill(
            "UPDATE rlsgen.provision SET format = {}, spec_hash = {}, fingerprint = {}, seal = {}",
            literal(FORMAT),
            literal(mark),
            literal(mark),
            literal(self._spec.seal),
        )
        back = "UPDATE rlsgen.provision SET format = {}, spec_hash = {}, fingerprint = {}, seal = {}"
        before = (now.format, now.spec_hash, now.fingerprint, now.seal) if now else (FORMAT, "", "", self._spec.seal)
        step = Step("alter", "fingerprint of the provision", sql, fill(back, *(literal(value) for value in before)))
        return Transaction("the fingerprint, when all of it is true", (step,))


def _signature(name: Name, arguments: str) -> Sql:
    """A function by name and argument types; named arguments are ours and have one word each."""
    types = Sql("text") if arguments == "token text" else Sql(arguments)
    return fill("{}({})", name.sql, types)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
