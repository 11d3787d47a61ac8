"""Gives back what stood before rlsgen came, from the ledger: grants first, then row security, then policies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rlsgen.catalog.model import Catalog, LedgerEntry, Relation
from rlsgen.errors import ServerError, SpecError
from rlsgen.identifiers import Name, Sql, display, dollar_quoted, fill, literal
from rlsgen.provision.expression import relation_names
from rlsgen.provision.foundation import FOUNDATION
from rlsgen.provision.grants import assert_privileges, held_on, privilege_steps
from rlsgen.provision.kept import kept_grants, kept_privileges
from rlsgen.provision.ledger import Ledger
from rlsgen.provision.plan import Plan, Step, Transaction
from rlsgen.provision.resolve import OWN_SCHEMAS
from rlsgen.provision.roles import premises_problems, provisioned_role
from rlsgen.provision.statistics import give_back
from rlsgen.provision.tables import forget, restore_row_security

_GONE = Sql("undefined_table OR undefined_column OR undefined_function OR undefined_object OR invalid_schema_name")


def destroy_plan(catalog: Catalog, conversation: str, path: Sql, table: Name | None = None) -> Plan:
    """The plan that takes rlsgen out of a database, or off one table.

    Args:
        catalog: the database.
        conversation: the role whose privileges were managed.
        path: the search path for policies that are made again.
        table: only this table.

    Raises:
        ServerError: rlsgen is not in this database, or not on this table.
    """
    ledger = Ledger(catalog.ledger)
    if catalog.provision is None:
        raise ServerError("there is nothing of rlsgen in this database", hint="see that --dsn names the right one")
    untrusted = list(premises_problems(catalog))
    if untrusted:
        raise SpecError(untrusted)
    former = provisioned_role(catalog, conversation)
    if former is not None:
        message = f"this database is provisioned for {display(former)}, not for {display(conversation)}"
        raise ServerError(message, hint=f"destroy it with the spec that names {display(former)}")
    destroyer = _Destroyer(catalog, conversation, ledger)
    touched = sorted({entry.relation for entry in catalog.ledger if entry.relation.schema not in OWN_SCHEMAS})
    if table is not None:
        if table not in touched:
            raise ServerError(f"rlsgen has done nothing to {table}", hint="write schema.table as plan shows it")
        followers = _followers(catalog, table)
        if followers:
            shown = ", ".join(map(str, followers[:5])) + ("…" if len(followers) > 5 else "")
            hint = "take those off first, or the whole of rlsgen, or give them another path in the spec"
            raise ServerError(f"policies of {shown} stand on those of {table}", hint=hint)
        return Plan(tuple(destroyer.relation(table)), path)
    closing = destroyer.closing(touched)
    return Plan((*closing, *(each for name in touched for each in destroyer.relation(name)), *destroyer.rest()), path)


def _followers(catalog: Catalog, table: Name) -> list[Name]:
    """Relations whose policies look into the table: without its own, they would show whatever it has."""
    found = []
    for name, relation in catalog.relations.items():
        own = [policy for policy in relation.policies if policy.name.startswith("rlsgen_")]
        texts = {text for policy in own for text in (policy.using, policy.check) if text}
        if name != table and any(table in relation_names(text) for text in texts):
            found.append(name)
    return found


class _Destroyer:
    def __init__(self, catalog: Catalog, conversation: str, ledger: Ledger) -> None:
        self._catalog = catalog
        self._who = conversation
        self._ledger = ledger
        self._closed: frozenset[Name] = frozenset()

    def closing(self, touched: Iterable[Name]) -> Iterator[Transaction]:
        """Everything that the conversation role may read, closed before anything that protects it goes.

        Some tables' policies follow others: while those are open again, these must not be readable.
        """
        relations = [self._catalog.relations[name] for name in touched if name in self._catalog.relations]
        open_ = [(relation, held) for relation in relations if (held := held_on(relation, self._who))]
        self._closed = frozenset(relation.name for relation, _ in open_)
        steps = [step for relation, held in open_ for step in privilege_steps(relation, self._who, held, frozenset())]
        checks = tuple(assert_privileges(relation.name, self._who, frozenset()) for relation, _ in open_)
        if steps:
            yield Transaction("privileges of the conversation role", tuple(steps), checks)

    def relation(self, name: Name) -> Iterator[Transaction]:
        relation = self._catalog.relations.get(name)
        if relation is None:
            return
        steps = [*self._grants(relation)]
        steps += restore_row_security(
            name, relation.policies, self._ledger, relation.row_security, relation.force_row_security
        )
        for entry in self._ledger.of(name, "statistics", "view"):
            if entry.kind == "statistics" and relation.column(entry.name):
                steps.append(give_back(name, entry.name, entry))
            if entry.kind == "view" and relation.security_invoker:
                steps.append(self._view(name, entry))
        steps += self._reversed(name)
        if steps:
            yield Transaction(f"{relation.kind} {name}, as it was", tuple(steps))

    def _grants(self, relation: Relation) -> Iterator[Step]:
        entry = self._ledger.get(("grants", relation.name, ""))
        if entry is None:
            return
        before = kept_grants(entry.before["privileges"], relation.name)
        columns = {"", *(column.name for column in relation.columns)}
        wanted = frozenset(pair for pair in before if pair[1] in columns)
        if self._who in self._catalog.roles:
            held = frozenset() if relation.name in self._closed else held_on(relation, self._who)
            yield from privilege_steps(relation, self._who, held, wanted)
        gone = forget("grants", relation.name, "")
        yield Step("alter", f"ledger entry of {relation.name}: grants", gone, Sql(""))

    def _view(self, name: Name, entry: LedgerEntry) -> Step:
        options = entry.before["options"]
        had = [o for o in options if str(o).startswith("security_invoker=")] if isinstance(options, list) else []
        undo = fill("ALTER VIEW {} RESET (security_invoker)", name.sql)
        if had:
            undo = fill("ALTER VIEW {} SET (security_invoker = {})", name.sql, literal(str(had[0]).partition("=")[2]))
        redo = fill("ALTER VIEW {} SET (security_invoker = true)", name.sql)
        return Step("alter", f"view {name}: security_invoker", undo, redo, forget("view", name, ""))

    def rest(self) -> Iterator[Transaction]:
        """What belongs to no relation: privileges from PUBLIC, schemas, functions, ledger and keys."""
        given_back = tuple(self._reversed(FOUNDATION))
        if given_back:
            yield Transaction("privileges of PUBLIC, as they were", given_back)
        steps = self._functions()
        # No CASCADE: an object of yours that uses something of rlsgen's stops this, and is named.
        drop = Sql(
            "DROP TABLE rlsgen_private.signing_key, rlsgen_private.seal_key, rlsgen.object, rlsgen.provision;\n"
            "DROP SCHEMA rlsgen, rlsgen_private"
        )
        yield Transaction(
            "schemas rlsgen and rlsgen_private", (*steps, Step("drop", "schemas, ledger and keys", drop, Sql("")))
        )

    def _reversed(self, relation: Name) -> Iterator[Step]:
        """Privileges that were revoked from PUBLIC or granted to the role; what is gone needs none."""
        label = "a privilege, as it was" if relation == FOUNDATION else f"a privilege on {relation}, as it was"
        for entry in self._ledger.of(relation, "public"):
            if entry.before["reverse"]:
                reverse = kept_privileges(entry.before["reverse"], self._catalog.database)
                body = fill("BEGIN\n{};\nEXCEPTION WHEN {} THEN NULL;\nEND", reverse, _GONE)
                block = fill("DO {}", dollar_quoted(body))
                yield Step("grant", label, block, Sql(""), forget("public", relation, entry.name))

    def _functions(self) -> Iterator[Step]:
        """Path functions before the accessors that they call, and the recorders before the ledger that they write."""
        own = [each for each in self._catalog.functions if each.name.schema in ("rlsgen", "rlsgen_private")]
        first = [each for each in own if each.name.name.startswith("path_")]
        order = ["record_policy", "policy_text", "calls_text", "record_function", "record", "forget"]
        last = sorted((each for each in own if each.name.name in order), key=lambda each: order.index(each.name.name))
        apart = {each.oid for each in (*first, *last)}
        middle = [each for each in own if each.oid not in apart]
        for function in (*reversed(first), *middle, *last):
            # Identity arguments are types, or "name type" for ours: PostgreSQL accepts both in DROP FUNCTION.
            target = fill("{}({})", function.name.sql, Sql(function.arguments))
            yield Step("drop", f"function {function.name}", fill("DROP FUNCTION {}", target), Sql(""))
