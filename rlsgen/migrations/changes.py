"""From a spec and a migration to the operations that belong before and after the migration's own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from rlsgen.catalog.model import Catalog, LedgerEntry
from rlsgen.catalog.read import read_catalog_within
from rlsgen.errors import HazardRefused, SpecError
from rlsgen.identifiers import Name, Sql, fill, literal
from rlsgen.migrations.locks import locking
from rlsgen.migrations.operations import ApplyOp
from rlsgen.migrations.rehearsal import Change, Stage, perform, refused, undone
from rlsgen.migrations.statements import one_by_one
from rlsgen.migrations.suspension import Suspension, Touched, everything, operations, suspension, touched
from rlsgen.provision.diff import FINGERPRINT_TITLE, compare_anywhere, search_path
from rlsgen.provision.judge import judge
from rlsgen.provision.ledger import Ledger
from rlsgen.provision.plan import Plan, Step, Transaction, Warned
from rlsgen.provision.policies import live_text
from rlsgen.provision.portable import THIS_DATABASE
from rlsgen.provision.routines import digest, signature
from rlsgen.provision.tables import forget, record, regclass
from rlsgen.spec.model import Spec

_DEPENDENT_OBJECTS, _USED_IN_POLICY = "2BP01", "0A000"
_UNTOUCHED = Touched(frozenset(), frozenset(), frozenset())


@dataclass(frozen=True, slots=True)
class Isolation:
    """Operations before and after the team's own, in the order of the upgrade."""

    first: tuple[ApplyOp, ...]
    last: tuple[ApplyOp, ...]

    def __bool__(self) -> bool:
        return bool(self.first or self.last)


def isolate(
    place: Stage,
    spec: Spec,
    change: Change | None,
    *,
    allow: Collection[str] = (),
    included: Callable[[Name], bool] = lambda name: True,
) -> Isolation:
    """What a revision needs so that the database is as the spec says after it.

    Args:
        place: where the migration is rehearsed.
        spec: what is declared.
        change: carries out the team's own part of the revision; None: there is none.
        allow: names of hazards that may happen.
        included: whether a relation is this project's business.

    Raises:
        SpecError: the spec does not fit the database as the migration leaves it.
        HazardRefused: a hazard was not allowed.
        CommandError: the migration, or what was made for it, fails.
    """
    before = read_catalog_within(place.raw, spec.conversation)
    path = search_path(spec)
    suspended, changed = _in_the_way(place, before, spec, change)
    first = tuple(operations(suspended, before, spec.conversation, changed, path))
    with undone(place), _explained():
        perform(place, first)
        if change is not None:
            change(place)
        last, used = _provision(place, spec, suspended, allow, included)
        if not (first or last):
            return Isolation((), ())
        after = read_catalog_within(place.raw, spec.conversation)
        ledger = list(_restored(before, Ledger(after.ledger))) if before.provision is not None else []
    if ledger:
        first = (ApplyOp("the ledger", (), search_path=path, undo=ledger, follows=False), *first)
    locks = locking(used | {each.name for each in suspended.relations}, before, after, path)
    return Isolation((locks[0], *first), (*last, locks[1])) if locks else Isolation(first, last)


class _explained:  # noqa: N801 - a context manager
    """Says what a failed rehearsal means."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, DBAPIError):
            raise refused(error) from error


def _in_the_way(place: Stage, before: Catalog, spec: Spec, change: Change | None) -> tuple[Suspension, Touched]:
    """What the migration needs out of its way: found out by carrying it out, with everything off if need be."""
    if change is None or before.provision is None:
        return Suspension(), _UNTOUCHED
    role = spec.conversation
    try:
        changed = _difference(place, before, role, (), change)
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) not in (_DEPENDENT_OBJECTS, _USED_IN_POLICY):
            raise refused(error) from error
        off = operations(everything(before), before, role, _UNTOUCHED, search_path(spec))
        with _explained():
            changed = _difference(place, before, role, off, change)
    return suspension(place.raw, before, role, changed), changed


def _difference(place: Stage, before: Catalog, role: str, off: Iterable[ApplyOp], change: Change) -> Touched:
    with undone(place):
        perform(place, off)
        change(place)
        return touched(before, read_catalog_within(place.raw, role))


def _provision(
    place: Stage, spec: Spec, suspended: Suspension, allow: Collection[str], included: Callable[[Name], bool]
) -> tuple[tuple[ApplyOp, ...], frozenset[Name]]:
    """The plan for the database as it stands on the stage, as operations that were tried there, and its relations."""
    plan = _plan(place, spec)
    wanted = _mine(plan, included)
    _check_hazards(_warnings(wanted, suspended), plan, allow)
    made = tuple(_operation(each, plan.search_path, suspended) for each in wanted)
    perform(place, made)
    left = _mine(_plan(place, spec), included)
    if left:
        titles = ", ".join(each.title for each in left)
        raise CommandError(f"rlsgen: after its own operations the database still differs from the spec: {titles}")
    return made, frozenset(each.relation for each in wanted if each.relation is not None)


def _plan(place: Stage, spec: Spec) -> Plan:
    catalog = read_catalog_within(place.raw, spec.conversation)
    comparison = compare_anywhere(spec, catalog)
    problems = judge(place.raw, comparison.resolved, comparison.unjudged, search_path(spec))
    if problems:
        raise SpecError(problems)
    return comparison.plan


def _mine(plan: Plan, included: Callable[[Name], bool]) -> list[Transaction]:
    """The plan without what the project excludes, and without the fingerprint while any of that is left to do."""
    mine = [each for each in plan.transactions if each.relation is None or included(each.relation)]
    if len(mine) < len(plan.transactions):
        mine = [each for each in mine if each.title != FINGERPRINT_TITLE]
    return mine


def _warnings(transactions: Iterable[Transaction], suspended: Suspension) -> list[Warned]:
    """Every warning once; not those of putting on again what the revision itself has taken off."""
    steps = [(each, step) for each in transactions for step in each.steps]
    return sorted({warned for each, step in steps for warned in _hazards(each, step, suspended)})


def _hazards(transaction: Transaction, step: Step, suspended: Suspension) -> tuple[Warned, ...]:
    forced_again = transaction.relation in suspended.forced and step.object.startswith("forced row security")
    return () if forced_again else step.hazards


def _check_hazards(warnings: Iterable[Warned], plan: Plan, allow: Collection[str]) -> None:
    refusing = sorted({warned.hazard for warned in warnings} - set(allow))
    if refusing:
        told = _for_people(plan.hazard_text()).rstrip()
        raise HazardRefused(
            refusing,
            f"refused, since nobody allowed it: {', '.join(refusing)}\n{told}",
            hint=f"if that is acceptable: alembic -x rlsgen_allow={','.join(refusing)} ..., or rlsgen_allow in env.py",
        )


def _for_people(text: str) -> str:
    return text.replace(f"database {THIS_DATABASE}", "the database")


def _operation(transaction: Transaction, path: Sql, suspended: Suspension) -> ApplyOp:
    undo = [each for step in reversed(transaction.steps) for each in one_by_one(step.reverse)]
    warnings = [warned for step in transaction.steps for warned in _hazards(transaction, step, suspended)]
    return ApplyOp(
        transaction.title,
        [each for statement in transaction.statements for each in one_by_one(statement)],
        search_path=path,
        undo=undo,
        hazards=[_for_people(f"Hazard {each.hazard}: {each.message}") for each in dict.fromkeys(warnings)],
    )


def _restored(before: Catalog, after: Ledger) -> Iterator[Sql]:
    """Statements that make the ledger what it was, when everything that it tells of is as it was."""
    then = Ledger(before.ledger)
    for key in after:
        if key not in then:
            yield forget(*key)
    for key, entry in then.items():
        now = after.get(key)
        if entry.kind != "foundation" and (now is None or (now.source, now.live) != (entry.source, entry.live)):
            yield _again(entry, before)


def _again(entry: LedgerEntry, before: Catalog) -> Sql:
    """The row as it was. What Postgres shows of a policy or function is asked of the server that undoes the migration:
    versions show it differently."""
    relation = before.relations.get(entry.relation)
    if entry.kind == "policy" and relation is not None:
        live = next((each for each in relation.policies if each.name == entry.name), None)
        if live is not None and live_text(live) == entry.live:
            place = (regclass(entry.relation), literal(entry.name), literal(entry.source))
            return fill("SELECT rlsgen_private.record_policy({}, {}, {})", *place)
    if entry.kind == "function":
        made = (each for each in before.functions if (each.name, each.arguments) == (entry.relation, entry.name))
        function = next(made, None)
        if function is not None and digest(function.definition) == entry.live:
            called = literal(signature(function.name, function.arguments))
            place = (called, literal(entry.name), literal(entry.source))
            return fill("SELECT rlsgen_private.record_function({}::regprocedure, {}, {})", *place)
    return record(entry.kind, entry.relation, entry.name, entry.source, entry.live, entry.before)
