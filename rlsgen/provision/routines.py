"""Functions of the sealed context and of paths: made, replaced, granted to the conversation role, retired."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from functools import cached_property

from rlsgen.catalog.model import Catalog, Function
from rlsgen.identifiers import Name, Sql, fill, identifier, identifiers, literal
from rlsgen.provision.foundation import recorded
from rlsgen.provision.functions import Accessor, DesiredFunction
from rlsgen.provision.ledger import Ledger
from rlsgen.provision.plan import Step, Transaction
from rlsgen.provision.resolve import OWN_SCHEMAS
from rlsgen.provision.tables import forget
from rlsgen.spec.model import Spec


class RoutineDiffer:
    """Compares the functions of a database with what they should be."""

    def __init__(self, spec: Spec, catalog: Catalog, ledger: Ledger) -> None:
        self._spec = spec
        self._catalog = catalog
        self._ledger = ledger

    @cached_property
    def live(self) -> dict[tuple[Name, str], Function]:
        """The functions in rlsgen's schemas, by name and identity arguments."""
        return {
            (each.name, each.arguments): each for each in self._catalog.functions if each.name.schema in OWN_SCHEMAS
        }

    def reach(self, desired: list[DesiredFunction], schemas: Collection[str]) -> Transaction | None:
        """The functions as they should be, and for the conversation role the way to them and into `schemas`."""
        steps: list[Step] = []
        for function in desired:
            steps += self.function(function)
        schema = self._catalog.schemas.get("rlsgen")
        role = identifier(self._spec.conversation)
        checks: list[Sql] = []
        for name in sorted({"rlsgen", *schemas}):
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
        yield recorded(Step("grant", f"USAGE on schema {name} for {role}", grant, revoke)), check

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
            yield recorded(step), check

    def function(self, desired: DesiredFunction) -> Iterator[Step]:
        """What makes or mends one function, and who may execute it."""
        live = self.live.get((desired.name, desired.arguments))
        source = hashlib.sha256(desired.create.encode()).hexdigest()
        label = f"function {desired.name}({desired.arguments})"
        called = signature(desired.name, desired.arguments)
        drop = fill("DROP FUNCTION {}", called)
        recorded = fill(
            "SELECT rlsgen_private.record_function({}::regprocedure, {}, {})",
            literal(called),
            literal(desired.arguments),
            literal(source),
        )
        entry = self._ledger.get(("function", desired.name, desired.arguments))
        same = (
            live is not None and entry is not None and entry.source == source and entry.live == digest(live.definition)
        )
        if not same:
            old = Sql(live.definition.rstrip()) if live else drop
            yield Step("replace" if live else "create", label, desired.create, old, recorded)
        wanted = {self._spec.conversation} if desired.execute else set()
        held: set[str | None] = (
            {grant.grantee for grant in live.grants if grant.grantee != live.owner} if live else self._born_with
        )
        if held != wanted:
            yield from self._execute(label, called, held, wanted)
        if live and any(grant.grantee == self._spec.conversation and grant.grantable for grant in live.grants):
            target, role = fill("FUNCTION {}", called), identifier(self._spec.conversation)
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

    def retired(self, accessors: tuple[Accessor, ...], existing: dict[str, str]) -> list[Accessor]:
        """Accessors of an earlier spec: policies use them until the last table is through."""
        used = {each.function for each in accessors}
        fields = {field.snake: field for field in self._spec.context}
        return [
            Accessor(name, kind, fields.get(name.partition("__")[0]))
            for name, kind in sorted(existing.items())
            if name not in used and ("function", Name("rlsgen", name), "") in self._ledger
        ]

    def retire(self, retired: list[Accessor], functions: Collection[DesiredFunction]) -> Transaction | None:
        """The transaction that drops retired accessors, and path functions that no policy uses any more."""
        until_then = {each.name: each.create for each in functions}
        gone = [
            (name, arguments)
            for (name, arguments) in self.live
            if name.name.startswith("path_")
            and ("function", name, arguments) in self._ledger
            and name not in until_then
        ]
        gone += [(Name("rlsgen", each.function), "") for each in retired]
        steps = [
            Step(
                "drop",
                f"function {name}({arguments})",
                fill("DROP FUNCTION {}", signature(name, arguments)),
                self._made_again(name, arguments, until_then.get(name)),
                forget("function", name, arguments),
            )
            for name, arguments in gone
        ]
        return Transaction("functions that no policy uses any more", tuple(steps)) if steps else None

    def _made_again(self, name: Name, arguments: str, create: Sql | None) -> Sql:
        """What makes a function again, as it is by then, for those who may execute it now."""
        live, target = self.live[name, arguments], fill("FUNCTION {}", signature(name, arguments))
        named = sorted({grant.grantee for grant in live.grants if grant.grantee and grant.grantee != live.owner})
        body = fill("{};\nREVOKE ALL ON {} FROM PUBLIC", create or Sql(live.definition.rstrip()), target)
        return fill("{};\nGRANT EXECUTE ON {} TO {}", body, target, identifiers(named)) if named else body


def signature(name: Name, arguments: str) -> Sql:
    """A function by name and argument types; named arguments are ours and have one word each."""
    types = Sql("text") if arguments == "token text" else Sql(arguments)
    return fill("{}({})", name.sql, types)


def digest(text: str) -> str:
    """What the ledger keeps of a function's definition."""
    return hashlib.sha256(text.encode()).hexdigest()
