"""Relations made by hand, for properties that need no server."""

from __future__ import annotations

from collections.abc import Sequence

from rlsgen.catalog.model import Column, Relation
from rlsgen.identifiers import Name


def column(number: int, name: str) -> Column:
    """An integer column with nothing special about it."""
    return Column(number, name, "integer", "integer", "base", None, False, False, False, False, None, -1, True, ())


def relation(name: Name, columns: Sequence[Column]) -> Relation:
    """A plain table without row security, indexes or grants."""
    return Relation(
        1, name, "table", "owner", tuple(columns), (), False, False, (), (), (), (), False, (), (), (), None
    )
