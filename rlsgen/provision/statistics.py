"""Private columns: no statistics, since the planner reads those of all tenants' rows and its choices give them away."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping

from rlsgen.catalog.model import Column, DerivedStatistics, LedgerEntry, Relation
from rlsgen.errors import Problem
from rlsgen.identifiers import Name, Sql, display, fill, identifier, literal
from rlsgen.provision.ledger import Ledger
from rlsgen.provision.plan import Hazard, Step, Warned
from rlsgen.provision.resolve import Resolved, Table

Record = Callable[[str, Name, str, str, str, Mapping[str, object]], Sql]


def statistics_steps(table: Table, resolved: Resolved, ledger: Ledger, record: Record) -> Iterator[Step]:
    """Target 0 and the stored values cleared for private columns; what was before for columns that no longer are."""
    for relation in family(table.relation, resolved):
        recorded = {entry.name: entry for entry in ledger.of(relation.name, "statistics")}
        for column in relation.columns if recorded or table.spec.private else ():
            entry = recorded.get(column.name)
            if column.name in table.spec.private and (column.statistics != 0 or column.has_statistics):
                yield from _clear(relation, column, resolved, record, top=relation is table.relation)
            elif entry is not None and column.name not in table.spec.private:
                yield give_back(relation.name, column.name, entry)


def statistics_problems(resolved: Resolved) -> Iterator[Problem]:
    """Indexes on expressions and statistics objects over private columns: they keep what the column must not.

    Their statistics belong to somebody's plans, and before 18 only making them anew clears them: nothing to do unasked.
    """
    derived: defaultdict[tuple[Name, str], list[DerivedStatistics]] = defaultdict(list)
    for each in resolved.catalog.derived_statistics:
        derived[each.relation, each.column].append(each)
    for table in resolved.tables.values():
        for column in table.spec.private:
            for relation in family(table.relation, resolved):
                for each in derived[relation.name, column]:
                    kind = "an index on an expression" if each.kind == "index" else "a statistics object"
                    yield Problem(
                        f"private column {display(column)} of {relation.name}: {each.name}, {kind},"
                        " keeps statistics of it",
                        table.spec.column_positions.get(column, table.spec.position),
                        _remedy(each),
                    )


def _remedy(derived: DerivedStatistics) -> str:
    if derived.kind == "statistics":
        return f"DROP STATISTICS {derived.name.sql}"
    return (
        f"drop it and make it again, and before the next ANALYZE: ALTER INDEX {derived.name.sql}"
        " ALTER COLUMN 1 SET STATISTICS 0 (1: the place of the expression in it)"
    )


def family(relation: Relation, resolved: Resolved) -> Iterator[Relation]:
    """A table and everything that is queried through it: each has statistics of its own."""
    yield relation
    for child in relation.children:
        if child in resolved.catalog.relations:
            yield from family(resolved.catalog.relations[child], resolved)


def _clear(relation: Relation, column: Column, resolved: Resolved, record: Record, *, top: bool) -> Iterator[Step]:
    table, name = relation.name, identifier(column.name)
    label = f"{column.name} of {table}"
    if column.statistics != 0:
        target = fill("ALTER TABLE ONLY {} ALTER COLUMN {} SET STATISTICS 0", table.sql, name)
        hazard = Warned(
            Hazard.PLANNER_STATISTICS, f"private column {label}: estimates on it become guesses, for everybody"
        )
        yield Step(
            "alter",
            f"statistics target of {label}",
            target,
            _target(table, column.name, column.statistics),
            record("statistics", table, column.name, "", "", {"target": column.statistics}),
            (hazard,),
        )
    clear = _forget(relation, column, resolved, top=top)
    if clear is not None:
        yield Step("alter", f"stored statistics of {label}", clear, Sql(""))


def _forget(relation: Relation, column: Column, resolved: Resolved, *, top: bool) -> Sql | None:
    catalog, table = resolved.catalog, relation.name
    if catalog.server_version >= 180000:
        calls = [
            fill(
                "SELECT pg_clear_attribute_stats({}, {}, {}, {})",
                literal(table.schema),
                literal(table.name),
                literal(column.name),
                literal(inherited),
            )
            for inherited in (False, True)
        ]
        return fill("{};\n{}", *calls)
    me = catalog.roles[catalog.current_user]
    if me.superuser:
        return fill(
            "DELETE FROM pg_statistic WHERE starelid = {}::regclass AND staattnum = {}",
            literal(table.sql),
            literal(column.number),
        )
    # Before 18 an owner has one way: ALTER COLUMN TYPE to the type that it has rewrites nothing and drops statistics,
    # of the children too.
    change = fill("ALTER TABLE {} ALTER COLUMN {} TYPE {}", table.sql, identifier(column.name), Sql(column.type))
    return change if top else None


def give_back(table: Name, column: str, entry: LedgerEntry) -> Step:
    """The statistics target that a column had; ANALYZE brings the values back."""
    target = entry.before["target"]
    values = [literal(text) for text in ("statistics", table.schema, table.name, column)]
    return Step(
        "alter",
        f"statistics target of {column} of {table}",
        _target(table, column, target if isinstance(target, int) else -1),
        fill("ALTER TABLE ONLY {} ALTER COLUMN {} SET STATISTICS 0", table.sql, identifier(column)),
        fill("SELECT rlsgen_private.forget({}, {}, {}, {})", *values),
    )


def _target(table: Name, column: str, target: int) -> Sql:
    return fill("ALTER TABLE ONLY {} ALTER COLUMN {} SET STATISTICS {}", table.sql, identifier(column), literal(target))
