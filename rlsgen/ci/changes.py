"""What a change of the spec does to who can read and write what, as values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from rlsgen.errors import Position


class Direction(StrEnum):
    """Where access goes, the most important first."""

    widened = "widened"
    changed = "changed"  # other rows, and not proven to be fewer: to be looked at as if it were widened
    narrowed = "narrowed"
    unchanged = "unchanged"

    @property
    def opens(self) -> bool:
        """Whether somebody may see or do something new."""
        return self in (Direction.widened, Direction.changed)


class Order(NamedTuple):
    """What is proven about the rows before and after."""

    no_more: bool  # every row that is there after was there before
    no_less: bool  # every row that was there before is there after

    @property
    def direction(self) -> Direction:
        """The same in one word."""
        if self.no_more:
            return Direction.unchanged if self.no_less else Direction.narrowed
        return Direction.widened if self.no_less else Direction.changed


@dataclass(frozen=True, slots=True)
class Change:
    """One difference in access. What is `unchanged` stands for a table or view as a whole."""

    role: str
    object: str  # public.orders, context.teamId, seal
    aspect: str  # rows, columns, select, insert, ...: what of it
    direction: Direction
    message: str  # one sentence for people
    before: str = ""
    after: str = ""
    position: Position | None = None  # in the new spec, where it is still there


@dataclass(frozen=True, slots=True)
class Access:
    """All differences between two specs; `base` names the old one, empty if there was none."""

    changes: tuple[Change, ...]
    base: str

    @property
    def opens(self) -> bool:
        """Whether anything widens access, or cannot be shown not to."""
        return any(each.direction.opens for each in self.changes)

    def count(self, direction: Direction) -> int:
        """How many objects a role sees more of, or less, or the same."""
        return sum(worst(group) is direction for group in self.groups().values())

    def groups(self) -> dict[tuple[str, str], list[Change]]:
        """The changes by role and object, the most important first."""
        found: dict[tuple[str, str], list[Change]] = {}
        for each in self.changes:
            found.setdefault((each.role, each.object), []).append(each)
        order = list(Direction)
        return dict(sorted(found.items(), key=lambda item: (order.index(worst(item[1])), item[0])))


def worst(changes: Iterable[Change]) -> Direction:
    """The most important direction of several changes."""
    found = {each.direction for each in changes}
    return next(each for each in Direction if each in found or each is Direction.unchanged)
