"""Which rows each table shows under one spec and under another, as far as it can be proven that they are no more."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from rlsgen.ci.changes import Order
from rlsgen.ci.predicates import FALSE, TRUE, Atom, Mode, Predicate, Proof, Read, Reader, every
from rlsgen.identifiers import Name
from rlsgen.spec.filters import expression
from rlsgen.spec.model import FilterText, RelationRef, Spec, TableSpec, Through, ViewSpec

_SAME = Order(no_more=True, no_less=True)
_UNKNOWN = Order(no_more=False, no_less=False)
_MODES: tuple[Mode, ...] = ("read", "write")


@dataclass(frozen=True, slots=True)
class Declared:
    """A spec with its relations under their full names; without a spec, nothing is declared."""

    spec: Spec | None
    known: Collection[Name] = ()  # relations of the database, which decide where an unqualified name leads
    tables: Mapping[Name, TableSpec] = field(init=False)
    views: Mapping[Name, ViewSpec] = field(init=False)

    def __post_init__(self) -> None:
        tables = {self.name(each.ref): each for each in (self.spec.tables if self.spec else ())}
        views = {self.name(each.ref): each for each in (self.spec.views if self.spec else ())}
        object.__setattr__(self, "tables", tables)
        object.__setattr__(self, "views", views)

    def name(self, ref: RelationRef) -> Name:
        """The first schema of the spec that has it; where no database says so, the first schema."""
        if ref.schema is not None:
            return Name(ref.schema, ref.name)
        schemas = self.spec.schemas if self.spec else ("public",)
        return next(
            (name for each in schemas if (name := Name(each, ref.name)) in self.known), Name(schemas[0], ref.name)
        )

    def predicates(self, name: Name, other: TableSpec | None = None) -> dict[Mode, Predicate]:
        """Which rows of a table can be read, and which of these can be written; `other` is what it is compared with."""
        table = self.tables.get(name)
        if table is None:
            return dict.fromkeys(_MODES, FALSE)
        if table.access == "shared":
            return dict.fromkeys(_MODES, TRUE)
        if table.filter is None and not table.through:
            return dict.fromkeys(_MODES, FALSE)  # hidden
        theirs = (other.filter, other.check or other.filter) if other else (None, None)
        return {
            "read": every([*self._own(name, table.filter, theirs[0]), *self._paths(table.through, ("read",))]),
            "write": every(
                [*self._own(name, table.check or table.filter, theirs[1]), *self._paths(table.through, _MODES)]
            ),
        }

    def _own(self, name: Name, text: FilterText | None, other: FilterText | None) -> Iterator[Predicate]:
        if text is None:
            return
        if text == other and not text.relations:
            yield Atom(repr(("text", text.text)).encode())  # most filters of most changes: nothing to take apart
        else:
            yield Reader(name, lambda schema, each: self.name(RelationRef(schema, each))).read(expression(text))

    def _paths(self, paths: Collection[Through], modes: tuple[Mode, ...]) -> Iterator[Predicate]:
        """Rows whose parents may be read; to be written, the parent must be one to be written too."""
        for each in paths:
            parent = self.name(each.parent)
            pairs = sorted(zip(each.columns, each.parent_columns, strict=True))
            reads: frozenset[Read] = frozenset((mode, parent) for mode in modes)
            yield Atom(repr(("path", pairs, parent)).encode(), reads, monotone=True)


def orders(before: Declared, after: Declared) -> Mapping[Read, Order]:
    """What is proven about the rows of every table that both specs declare.

    Tables depend on each other. So all are taken to be the same at first, and what then cannot be proven is taken back,
    until nothing more has to be: tables that follow each other in a circle then stand or fall together.
    """
    worlds = {
        name: (before.predicates(name, after.tables[name]), after.predicates(name, before.tables[name]))
        for name in before.tables.keys() & after.tables.keys()
    }
    found: dict[Read, Order] = {(mode, name): _SAME for name in worlds for mode in _MODES}
    # Declared on one side alone: nothing is proven. On none: it has no part in this, and the spec will not fit anyway.
    one_sided: list[Read] = [(mode, name) for name in before.tables.keys() ^ after.tables.keys() for mode in _MODES]
    while True:
        known = {**found, **dict.fromkeys(one_sided, _UNKNOWN)}
        new = {
            (mode, name): _order(old[mode], new[mode], known) for name, (old, new) in worlds.items() for mode in _MODES
        }
        if new == found:
            return found
        found = new


def _order(old: Predicate, new: Predicate, known: Mapping[Read, Order]) -> Order:
    def same(read: Read) -> bool:
        return known.get(read, _SAME) == _SAME

    fewer = Proof(lambda read: known.get(read, _SAME).no_more, same)
    more = Proof(lambda read: known.get(read, _SAME).no_less, same)
    return Order(fewer.implies(new, old), more.implies(old, new))
