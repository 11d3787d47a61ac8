"""What names mean at a place in a statement: the levels of queries around it, what each has in FROM, and its columns.

The guard follows Postgres' rules for names (parse_relation.c, parse_clause.c) because of one habit of Postgres: where
`a.b` names no column, it calls the function `b` on the row `a`. So a qualified name passes only if it is known to be a
column.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rlsgen.runtime.schema import Relation


@dataclass(frozen=True, slots=True)
class Row:
    """The columns of a value that is a row. Postgres can look into any expression of a named row type, but into an
    anonymous one only where it is a column or a call."""

    columns: tuple[Out, ...]
    named: bool
    array: bool = False


@dataclass(frozen=True, slots=True)
class Out:
    """A column of something in FROM, or of a query's result."""

    name: str
    row: Row | None = None


@dataclass(slots=True)
class Item:
    """Something in FROM that names can refer to."""

    name: str
    columns: tuple[Out, ...]
    complete: bool = True  # whether these are all its columns
    schema: str | None = None  # of a table without an alias: it may be named with its schema
    relation: Relation | None = None
    node: Any = None  # where it stands in the tree: a Node for a table, a RangeFunction for a function
    aliased: bool = False  # its columns have other names here
    guessed: bool = False  # a function whose only column probably has the alias for its name
    certain: bool = False  # make it so
    whole: bool = False  # its row is used as a value
    inside: bool = False  # of a join with an alias, which hides it
    joins: list[Any] = field(default_factory=list)  # that may fill it with NULLs; None where nothing can be added

    def column(self, name: str) -> Out | None:
        """The column of that name."""
        return next((column for column in self.columns if column.name == name), None)

    @property
    def row(self) -> Row:
        """What its name means as a value."""
        named = self.relation is not None and not self.relation.unreadable and not self.aliased
        return Row(self.columns if self.complete else (), named)


@dataclass(slots=True)
class Source:
    """What one entry of FROM, or one side of a join, offers: items by name, and columns in the order of a star."""

    items: list[Item]
    columns: list[tuple[Out, Item | None]]
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a query's result."""

    outs: tuple[Out, ...]
    complete: bool = True

    def renamed(self, names: list[str]) -> Columns:
        """With an alias' names for the first of them."""
        renamed = [Out(name, out.row) for name, out in zip(names, self.outs, strict=False)]
        added = () if self.complete else tuple(Out(name) for name in names[len(self.outs) :])
        return Columns((*renamed, *added, *self.outs[len(names) :]), self.complete)


@dataclass(slots=True)
class Level:
    """One query: what it has in FROM, the WITH queries that it sees, and the query around it."""

    outer: Level | None
    ctes: Mapping[str, Columns]
    items: list[Item] = field(default_factory=list)
    columns: list[tuple[Out, Item | None]] = field(default_factory=list)
    complete: bool = True
    outputs: frozenset[str] = frozenset()  # what its results are called: GROUP BY and ORDER BY may name these
    places: list[Item] = field(default_factory=list)  # all that the query may still change in FROM
    _named: tuple[Any, int, dict[str, list[Item]]] | None = None  # of the items, as they were then
    _index: tuple[Any, dict[str, tuple[Out, Item | None]]] | None = None  # of the columns, as they were then

    def outwards(self) -> Iterator[Level]:
        """This level, the one around it, and so on."""
        level: Level | None = self
        while level is not None:
            yield level
            level = level.outer

    def item(self, name: str, schema: str | None = None) -> Item | None:
        """What a qualifier means."""
        for level in self.outwards():
            for item in level._items_by_name().get(name, ()):
                if schema is None or item.schema == schema:
                    return item
        return None

    def names(self) -> list[str]:
        """All qualifiers that mean something here."""
        return [item.name for level in self.outwards() for item in level.items if item.name]

    def unqualified(self, name: str) -> tuple[Out, Item | None] | Item | None:
        """What a name alone means: a column with its item, or an item's whole row; None where that is unknown."""
        for level in self.outwards():
            found = level._columns_by_name().get(name)
            if found is not None:
                return found
            if not level.complete:
                return None
        return self.item(name)

    def _items_by_name(self) -> dict[str, list[Item]]:
        if self._named is None or self._named[0] is not self.items or self._named[1] != len(self.items):
            found: dict[str, list[Item]] = {}
            for item in self.items:
                found.setdefault(item.name, []).append(item)
            self._named = self.items, len(self.items), found
        return self._named[2]

    def _columns_by_name(self) -> dict[str, tuple[Out, Item | None]]:
        """The first column of each name. Thousands of names times thousands of columns would take minutes."""
        if self._index is None or self._index[0] is not self.columns:
            found: dict[str, tuple[Out, Item | None]] = {}
            for out, item in self.columns:
                found.setdefault(out.name, (out, item))
            self._index = self.columns, found
        return self._index[1]

    def beside(self, items: list[Item], columns: list[tuple[Out, Item | None]]) -> Level:
        """The level as a LATERAL entry sees it: with what stands to its left in FROM."""
        return Level(self.outer, self.ctes, items, columns)
