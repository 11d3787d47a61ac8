"""The spec against the catalog: which relation each name means, and everything that does not fit."""

from __future__ import annotations

import difflib
import graphlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rlsgen.catalog.model import Catalog, Column, Index, Policy, Relation
from rlsgen.errors import Position, Problem
from rlsgen.identifiers import Name, display
from rlsgen.spec.model import FilterText, RelationRef, Spec, TableSpec, Through, ViewSpec

OWN_SCHEMAS = ("rlsgen", "rlsgen_private")
SIMILAR_SOUGHT = 20
"""Missing relations for which a similar name is sought: among 5,000 that takes a tenth of a second for each."""
_NUMBERS = frozenset({"smallint", "integer", "bigint", "numeric"})
_TEXTS = frozenset({"text", "character varying", "bpchar", "name"})
_ZONED = "timestamp with time zone"
_SPELLED = frozenset({_ZONED, "timestamp without time zone", "date", "interval", "bytea", "money", "real",
                      "double precision", "time with time zone"})  # texts that settings change  # fmt: skip
_TIMES = frozenset({"date", "timestamp without time zone", "timestamp with time zone"})


@dataclass(frozen=True, slots=True)
class Path:
    """A `through` whose both ends are known."""

    child: Name
    columns: tuple[Column, ...]
    parent: Name
    parent_columns: tuple[Column, ...]

    @property
    def native(self) -> tuple[bool, ...]:
        """Per column pair: whether `=` compares them without a cast that can fail."""
        pairs = zip(self.columns, self.parent_columns, strict=True)
        groups = (_NUMBERS, _TEXTS, _TIMES)
        return tuple(a.base == b.base or any(a.base in g and b.base in g for g in groups) for a, b in pairs)

    @property
    def unsettled(self) -> tuple[str, ...]:
        """Columns of the child that settings compare, which a conversation may change: TimeZone, DateStyle."""
        pairs = zip(self.columns, self.parent_columns, self.native, strict=True)
        return tuple(
            a.name
            for a, b, native in pairs
            if (a.base != b.base and _ZONED in (a.base, b.base)) or (not native and {a.base, b.base} & _SPELLED)
        )


@dataclass(frozen=True, slots=True)
class Table:
    """A declared table and the relation that it names."""

    spec: TableSpec
    relation: Relation
    paths: tuple[Path, ...]

    @property
    def name(self) -> Name:
        """Its qualified name."""
        return self.relation.name

    @property
    def shown(self) -> tuple[Column, ...]:
        """The columns that the conversation role may read."""
        return tuple(column for column in self.relation.columns if column.name not in self.spec.hide)

    def unique(self, columns: tuple[str, ...]) -> bool:
        """Whether at most one row can have given values in these columns, in this relation and its children."""
        inherited = self.relation.kind != "partitioned" and bool(self.relation.children)
        return not inherited and any(_unique_over(index, set(columns)) for index in self.relation.indexes)


@dataclass(frozen=True, slots=True)
class View:
    """A declared view and the relation that it names."""

    spec: ViewSpec
    relation: Relation

    @property
    def shown(self) -> tuple[Column, ...]:
        """The columns that the conversation role may read."""
        return tuple(column for column in self.relation.columns if column.name not in self.spec.hide)


@dataclass(frozen=True, slots=True)
class Resolved:
    """A spec whose names are those of a catalog; `tables` in an order in which parents come first."""

    spec: Spec
    catalog: Catalog
    tables: Mapping[Name, Table]
    views: Mapping[Name, View]

    def name_of(self, schema: str | None, name: str) -> Name:
        """The relation that a name in a spec means; one that does not exist is taken to be in the first schema."""
        return find(self.spec, self.catalog, RelationRef(schema, name)) or Name(schema or self.spec.schemas[0], name)


def find(spec: Spec, catalog: Catalog, ref: RelationRef) -> Name | None:
    """The relation that a reference means: unqualified, the first schema of the spec that has it."""
    schemas = [ref.schema] if ref.schema is not None else spec.schemas
    return next((name for schema in schemas if (name := Name(schema, ref.name)) in catalog.relations), None)


def suggestion(wrong: str, known: Iterator[str] | list[str]) -> str:
    """A "did you mean" for a hint, or nothing."""
    close = difflib.get_close_matches(wrong, list(known), n=1, cutoff=0.6)
    return f"did you mean {display(close[0])}?" if close else ""


def undeclared(resolved: Resolved) -> Iterator[Relation]:
    """Tables and the like in the spec's schemas that nobody declared, and that no declared one covers."""
    spec, catalog = resolved.spec, resolved.catalog
    declared = {name for table in spec.tables if (name := find(spec, catalog, table.ref))}
    for name, relation in catalog.relations.items():
        if name.schema not in spec.schemas or relation.kind in ("view", "sequence") or relation.extension:
            continue
        if name not in declared and name not in resolved.views and not _covered(relation, catalog, declared):
            yield relation


def undeclared_problems(resolved: Resolved) -> Iterator[Problem]:
    """The same as problems, unless the spec says that what is not declared is hidden."""
    if resolved.spec.undeclared == "hidden":
        return
    for relation in undeclared(resolved):
        kind = {"matview": "materialized view", "foreign": "foreign table"}.get(relation.kind, "table")
        hint = "add it under tables: with a filter, `hidden`, or {access: shared, why: …}"
        yield Problem(f"{kind} {relation.name} is not declared", resolved.spec.positions.get("tables"), hint)


def others_policies(table: Table) -> tuple[Policy, ...]:
    """The policies of a table that are not rlsgen's."""
    return tuple(policy for policy in table.relation.policies if not policy.name.startswith("rlsgen_"))


def existing_problems(resolved: Resolved) -> Iterator[Problem]:
    """Scoped tables that have policies already, where the spec does not say what becomes of them."""
    for table in resolved.tables.values():
        others = [policy.name for policy in others_policies(table)]
        if others and table.spec.existing == "refuse" and table.spec.access == "scoped":
            yield Problem(
                f"table {table.name} already has policies: {', '.join(map(display, others))}",
                table.spec.position,
                "say `existing: keep` to leave them beside rlsgen's, or `existing: replace` to drop them "
                "(destroy gives them back)",
            )


class Resolver:
    """Collects problems while it resolves; all of them are reported at once.

    `doubtful` are tables that have some: what their policies should be is not known.
    """

    def __init__(self, spec: Spec, catalog: Catalog) -> None:
        self._spec = spec
        self._catalog = catalog
        self._problems: list[Problem] = []
        self._missed = 0
        self._parents: dict[Name, dict[Name, Position]] = {}
        self.doubtful: set[Name] = set()

    def resolve(self) -> tuple[Resolved, list[Problem]]:
        """Every table and view that could be resolved, in an order in which parents come first, and all problems."""
        found = self._relations()
        tables = {name: self._table(name, spec, found) for name, spec in found.items()}
        views = self._views()
        resolved = Resolved(self._spec, self._catalog, self._ordered(tables), views)
        self._problems += [problem for view in views.values() for problem in _view_problems(resolved, view)]
        return resolved, self._problems

    def _problem(self, message: str, position: Position | None, hint: str = "") -> None:
        self._problems.append(Problem(message, position, hint))

    def _relations(self) -> dict[Name, TableSpec]:
        found: dict[Name, TableSpec] = {}
        for schema in self._spec.schemas:
            if schema not in self._catalog.schemas:
                hint = suggestion(schema, list(self._catalog.schemas))
                self._problem(f"schema {display(schema)} does not exist", self._spec.positions.get("schemas"), hint)
        for table in self._spec.tables:
            name = find(self._spec, self._catalog, table.ref)
            if name is None:
                self._missing("table", table.ref, table.position)
            elif name in found:
                self._problem(f"table {name} is declared twice", table.position, "keep one of the two entries")
            elif self._usable(table, self._catalog.relations[name]):
                found[name] = table
        return found

    def _missing(self, what: str, ref: RelationRef, position: Position) -> None:
        shown = f"{display(ref.schema)}.{display(ref.name)}" if ref.schema else display(ref.name)
        where = "" if ref.schema else f" in {', '.join(map(display, self._spec.schemas))}"
        self._missed += 1
        hint = "is this the database that the spec is for?"
        if self._missed <= SIMILAR_SOUGHT:
            here = [each.name for each in self._catalog.relations if each.schema in (ref.schema, *self._spec.schemas)]
            hint = suggestion(ref.name, here)
        self._problem(f"{what} {shown} does not exist{where}", position, hint)

    def _usable(self, table: TableSpec, relation: Relation) -> bool:
        message, hint = "", ""
        if relation.kind in ("view", "sequence"):
            message, hint = f"{relation.name} is a {relation.kind}, not a table", "declare views under views:"
        elif relation.partition:
            message = f"{relation.name} is a partition of {relation.parents[0]}"
            hint = f"declare {relation.parents[0]}: queries go through it, and its policies cover every partition"
        elif relation.kind in ("matview", "foreign") and table.access == "scoped":
            kind = {"matview": "materialized view", "foreign": "foreign table"}[relation.kind]
            message = f"{relation.name} is a {kind}, which cannot carry row security"
            hint = "declare it hidden, or shared with a reason if every tenant may read all of it"
        elif relation.name.schema in OWN_SCHEMAS:
            message = f"{relation.name} belongs to rlsgen itself"
        if message:
            self._problem(message, table.position, hint)
        return not message

    def _table(self, name: Name, spec: TableSpec, found: Mapping[Name, TableSpec]) -> Table:
        relation = self._catalog.relations[name]
        before = len(self._problems)
        for column in (*spec.hide, *spec.private):
            if relation.column(column) is None:
                hint = suggestion(column, [each.name for each in relation.columns])
                place = spec.column_positions.get(column, spec.position)
                self._problem(f"column {display(column)} of {name} does not exist", place, hint)
        self._parents[name] = {}
        paths = tuple(path for through in spec.through if (path := self._path(name, through, found)))
        for text in (spec.filter, spec.check):
            if text is not None:
                self._sub_queries(name, text, found)
        if (
            spec.access == "scoped"
            and not spec.filter
            and any(path.parent == name for path in paths)
            and len(paths) == 1
        ):
            self._problem(
                f"table {name} goes only through itself, so nothing says which of its topmost rows are visible",
                spec.position,
                "give it a filter as well",
            )
        if len(self._problems) > before:
            self.doubtful.add(name)
        return Table(spec, relation, paths)

    def _path(self, child: Name, through: Through, found: Mapping[Name, TableSpec]) -> Path | None:
        parent = find(self._spec, self._catalog, through.parent)
        if parent is None:
            self._missing("table", through.parent, through.position)
            return None
        declared = found.get(parent)
        if declared is None:
            self._problem(
                f"{child} goes through {parent}, which is not declared", through.position, f"add {parent} to tables:"
            )
            return None
        if declared.access == "shared":
            self._problem(
                f"{child} goes through {parent}, which is shared: every row is visible, so this restricts nothing",
                through.position,
                "take this path out, or go through a scoped table",
            )
            return None
        if declared.access == "hidden" and not declared.filter and not declared.through:
            self._problem(
                f"{child} goes through {parent}, which is hidden and has no filter",
                through.position,
                f"write {{access: hidden, filter: …}} at {parent}, to say which of its rows belong to the context",
            )
        ends = [
            self._columns(end, names, through)
            for end, names in ((child, through.columns), (parent, through.parent_columns))
        ]
        if parent != child:
            self._parents[child].setdefault(parent, through.position)
        if ends[0] is None or ends[1] is None:
            return None
        path = Path(child, ends[0], parent, ends[1])
        if path.unsettled:
            self._problem(
                f"how {', '.join(map(display, path.unsettled))} of {child} compares with {parent} depends on settings"
                " that a conversation can change, such as TimeZone",
                through.position,
                "let both columns have the same type",
            )
        return path

    def _columns(self, table: Name, names: tuple[str, ...], through: Through) -> tuple[Column, ...] | None:
        relation = self._catalog.relations[table]
        columns = []
        for name in names:
            column = relation.column(name)
            if column is None:
                hint = suggestion(name, [each.name for each in relation.columns])
                self._problem(f"column {display(name)} of {table} does not exist", through.position, hint)
            else:
                columns.append(column)
        return tuple(columns) if len(columns) == len(names) else None

    def _sub_queries(self, table: Name, text: FilterText, found: Mapping[Name, TableSpec]) -> None:
        for ref in text.relations:
            name = find(self._spec, self._catalog, ref)
            place = text.position(0)
            if name is None:
                self._missing("table", ref, place)
            elif name == table:
                hint = "use through: for rows that follow another row of the same table"
                self._problem(f"the filter of {table} queries {table} itself, which would recurse", place, hint)
            elif name not in found or found[name].access == "hidden":
                state = "hidden" if name in found else "not declared"
                hint = "a sub-query may read scoped and shared tables; for a hidden parent use through:"
                self._problem(f"the filter of {table} queries {name}, which is {state}", place, hint)
            else:
                hidden = sorted(set(found[name].hide) & _last_names(text))
                if hidden:
                    message = f"the filter of {table} may read hidden columns of {name}: {', '.join(hidden)}"
                    self._problem(message, place, "the conversation role cannot read them; use through:, or show them")
                self._parents[table].setdefault(name, place)

    def _ordered(self, tables: dict[Name, Table]) -> dict[Name, Table]:
        above = {name: sorted(parents) for name, parents in self._parents.items()}
        while True:
            try:
                order = list(graphlib.TopologicalSorter(above).static_order())
                return {name: tables[name] for name in order if name in tables}
            except graphlib.CycleError as exc:
                cycle: list[Name] = exc.args[1][::-1]
            position = self._parents[cycle[0]].get(cycle[1])
            shown = " → ".join(map(str, cycle))
            self._problem(f"these policies would recurse into each other: {shown}", position, "break the circle")
            self.doubtful |= set(cycle)
            above |= {name: [] for name in cycle}

    def _views(self) -> dict[Name, View]:
        views: dict[Name, View] = {}
        for spec in self._spec.views:
            name = find(self._spec, self._catalog, spec.ref)
            if name is None:
                self._missing("view", spec.ref, spec.position)
                continue
            relation = self._catalog.relations[name]
            if relation.kind != "view":
                hint = "materialized views and tables are declared under tables:"
                self._problem(f"{name} is no view", spec.position, hint)
                continue
            if name in views:
                self._problem(f"view {name} is declared twice", spec.position, "keep one of the two entries")
            for column in spec.hide:
                if relation.column(column) is None:
                    hint = suggestion(column, [each.name for each in relation.columns])
                    self._problem(f"column {display(column)} of {name} does not exist", spec.position, hint)
            views[name] = View(spec, relation)
        return views


def _last_names(text: FilterText) -> frozenset[str]:
    from rlsgen.provision.expression import column_names  # noqa: PLC0415  (expression knows nothing of resolving)

    return column_names(text)


def _covered(relation: Relation, catalog: Catalog, declared: set[Name]) -> bool:
    """Whether a partition or inheritance child is reached only through a declared parent."""
    return any(
        parent in declared or _covered(catalog.relations[parent], catalog, declared)
        for parent in relation.parents
        if parent in catalog.relations
    )


def _unique_over(index: Index, columns: set[str]) -> bool:
    plain = index.unique and index.valid and index.immediate and not index.partial
    return plain and None not in index.columns and set(index.columns) <= columns


def _view_problems(resolved: Resolved, view: View) -> Iterator[Problem]:
    """A view with security_invoker reads as the caller: everything below it must be readable for the caller."""
    if view.spec.access == "hidden":
        return
    position = view.spec.position
    for name in view.relation.reads:
        if name.schema in ("pg_catalog", "information_schema"):
            yield Problem(f"view {view.relation.name} reads {name}, which shows more than one tenant's facts", position)
            continue
        table, below = resolved.tables.get(name), resolved.views.get(name)
        if below is not None and below.spec.access == "invoker":
            continue
        if table is None or table.spec.access == "hidden":
            state = "hidden" if table else "not declared"
            hint = "declare what it reads, or declare the view hidden"
            yield Problem(f"view {view.relation.name} reads {name}, which is {state}", position, hint)
            continue
        used = sorted(
            column for relation, column in view.relation.reads_columns if relation == name and column in table.spec.hide
        )
        if used:
            yield Problem(
                f"view {view.relation.name} reads hidden columns of {name}: {', '.join(map(display, used))}",
                position,
                "with security_invoker the conversation role would need them; show them or hide the view",
            )
