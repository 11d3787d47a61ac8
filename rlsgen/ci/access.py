"""Two specs compared by what they mean: who can read and write more, or less, or the same.

Order, quoting, comments, anchors, names with and without their schema make no difference, nor does what gives nobody a
row (`prompt`, `why`, `limits`, `lint`). What cannot be ordered counts as widened: somebody should look at it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from rlsgen.ci.changes import Access, Change, Direction, Order
from rlsgen.ci.predicates import Read
from rlsgen.ci.rows import Declared, orders
from rlsgen.errors import Position
from rlsgen.identifiers import Name, display
from rlsgen.spec.model import ContextField, FilterText, Spec, TableSpec, ViewSpec

_BOUNDS = (("minimum", True), ("maximum", False), ("max_length", False), ("max_items", False))
"""Bounds of a context field, and whether a greater one lets fewer values in."""
_NOTHING = "nothing"


def compare(
    before: Spec | None, after: Spec, columns: Mapping[Name, Collection[str]] | None = None, *, base: str = ""
) -> Access:
    """What changes from one spec to another.

    Args:
        before: what holds now; None: no spec yet, so that everything is new.
        after: what is proposed.
        columns: of each relation of the database as it will be, where it is known. They say where names without a
            schema lead, and that a column that is gone is not shown by no longer being hidden.
        base: what to call the spec that holds now.
    """
    known = columns or {}
    old, new = Declared(before, known), Declared(after, known)
    found: list[Change] = []
    if before is not None and before.conversation == after.conversation:
        found += _relations(old, new, after.conversation, columns)
    else:
        if before is not None:
            found += _relations(old, Declared(None), before.conversation, columns)
        found += _relations(Declared(None), new, after.conversation, columns)
    found += _roles(before, after)
    if before is not None:
        found += _context(before, after)
        found += _switches(before, after)
    found += _functions(before, after)
    return Access(tuple(found), base)


def _relations(
    old: Declared, new: Declared, role: str, columns: Mapping[Name, Collection[str]] | None
) -> Iterator[Change]:
    proven = orders(old, new)
    for name in sorted(old.tables.keys() | new.tables.keys()):
        changes = list(_Table(name, role, old, new, columns).changes(proven))
        if changes or _shown(new.tables.get(name)):
            yield from changes or [_unchanged(name, role, new.tables[name])]
    for name in sorted(old.views.keys() | new.views.keys()):
        yield from _view(name, role, old.views.get(name), new.views.get(name), columns)


def _shown(relation: TableSpec | ViewSpec | None) -> bool:
    return relation is not None and relation.access != "hidden"


def _unchanged(name: Name, role: str, relation: TableSpec | ViewSpec) -> Change:
    return Change(role, str(name), "rows", Direction.unchanged, "as before", position=relation.position)


class _Table:
    """One table for one role, before and after."""

    def __init__(
        self, name: Name, role: str, old: Declared, new: Declared, columns: Mapping[Name, Collection[str]] | None
    ) -> None:
        self.name, self.role = name, role
        self.before, self.after = old.tables.get(name), new.tables.get(name)
        self.existing = columns.get(name) if columns is not None else None
        self.position = self.after.position if self.after else None

    def change(self, aspect: str, direction: Direction, message: str, before: str = "", after: str = "") -> Change:
        return Change(self.role, str(self.name), aspect, direction, message, before, after, self.position)

    def changes(self, proven: Mapping[Read, Order]) -> Iterator[Change]:
        """All that differs."""
        before, after = self.before, self.after
        if before is None or before.access == "hidden":
            if after is not None and after.access != "hidden":
                what = f"it becomes readable: {_rows(after)}"
                yield self.change("rows", Direction.widened, what, _NOTHING, _rows(after))
                yield from self._commands((), after.allow, _UNPROVEN, _UNPROVEN)
        elif after is None or after.access == "hidden":
            yield self.change("rows", Direction.narrowed, "it can no longer be read", _rows(before), _NOTHING)
        else:
            yield from self._both(before, after, proven["read", self.name], proven["write", self.name])

    def _both(self, before: TableSpec, after: TableSpec, read: Order, write: Order) -> Iterator[Change]:
        if read.direction is not Direction.unchanged:
            yield self.change("rows", read.direction, _about_rows(before, after, read), _rows(before), _rows(after))
        yield from _hidden(self, before.hide, after.hide)
        yield from self._private(before, after)
        yield from self._commands(before.allow, after.allow, read, write)
        if before.existing != after.existing:
            what = "what becomes of policies that were there before differs"
            yield self.change("policies", Direction.changed, what, before.existing, after.existing)

    def _private(self, before: TableSpec, after: TableSpec) -> Iterator[Change]:
        for column in sorted(set(before.private) - set(after.private) - set(after.hide)):
            if self.existing is None or column in self.existing:
                what = f"the column {display(column)} is no longer private: plans may give its values away"
                yield self.change("columns", Direction.widened, what, "private", "readable, with statistics")
        for column in sorted(set(after.private) - set(before.private) - set(before.hide)):
            what = f"the column {display(column)} becomes private"
            yield self.change("columns", Direction.narrowed, what, "readable, with statistics", "private")

    def _commands(self, before: Sequence[str], after: Sequence[str], read: Order, write: Order) -> Iterator[Change]:
        for command in ("insert", "update", "delete"):
            if command in after and command not in before:
                what = f"conversations may {command}"
                yield self.change(command, Direction.widened, what, "refused", "allowed")
            elif command in before and command not in after:
                what = f"conversations may no longer {command}"
                yield self.change(command, Direction.narrowed, what, "allowed", "refused")
            elif command in after:
                # UPDATE and DELETE touch only what can also be read.
                both = Order(read.no_more and write.no_more, read.no_less and write.no_less)
                yield from self._written(command, write if command == "insert" else both)

    def _written(self, command: str, order: Order) -> Iterator[Change]:
        assert self.before is not None  # noqa: S101  (only commands that both specs allow come here)
        assert self.after is not None  # noqa: S101
        if order.direction is not Direction.unchanged:
            what = f"the rows that conversations may {command} {_WORDS[order.direction]}"
            yield self.change(command, order.direction, what, _rows(self.before, "write"), _rows(self.after, "write"))


_UNPROVEN = Order(no_more=False, no_less=False)
_WORDS = {
    Direction.widened: "become more",
    Direction.changed: "change, and are not proven to be fewer",
    Direction.narrowed: "become fewer",
}


def _about_rows(before: TableSpec, after: TableSpec, order: Order) -> str:
    text = f"the rows that can be read {_WORDS[order.direction]}"
    if _rows(before) == _rows(after):
        text += ", since those of a table that it follows do"
    return text


def _rows(table: TableSpec, mode: str = "read") -> str:
    """Which rows, in words of the spec."""
    if table.access == "shared":
        return "all rows"
    text = table.check or table.filter if mode == "write" else table.filter
    parts = [_text(text)] if text else []
    for each in table.through:
        here, there = ", ".join(map(display, each.columns)), ", ".join(map(display, each.parent_columns))
        schema = f"{display(each.parent.schema)}." if each.parent.schema else ""
        parts.append(f"through {here} -> {schema}{display(each.parent.name)}({there})")
    return "; ".join(parts) or _NOTHING


def _text(text: FilterText) -> str:
    return " ".join(text.text.split())


def _hidden(about: _Table, before: Collection[str], after: Collection[str]) -> Iterator[Change]:
    for column in sorted(set(before) - set(after)):
        if about.existing is None or column in about.existing:
            what = f"the column {display(column)} becomes readable"
            yield about.change("columns", Direction.widened, what, "hidden", "readable")
    for column in sorted(set(after) - set(before)):
        what = f"the column {display(column)} can no longer be read"
        yield about.change("columns", Direction.narrowed, what, "readable", "hidden")


def _view(
    name: Name,
    role: str,
    before: ViewSpec | None,
    after: ViewSpec | None,
    columns: Mapping[Name, Collection[str]] | None,
) -> Iterator[Change]:
    about = _Table(name, role, Declared(None), Declared(None), columns)
    about.position = after.position if after else None
    if after is None or not _shown(after):
        if _shown(before):
            what = "the view can no longer be read"
            yield about.change("rows", Direction.narrowed, what, "with the rights of its reader", _NOTHING)
    elif before is None or not _shown(before):
        what = "the view becomes readable, with the rights of its reader"
        yield about.change("rows", Direction.widened, what, _NOTHING, "with the rights of its reader")
    else:
        yield from list(_hidden(about, before.hide, after.hide)) or [_unchanged(name, role, after)]


def _roles(before: Spec | None, after: Spec) -> Iterator[Change]:
    old = set(before.unrestricted) if before else set()
    place = after.positions.get("roles.unrestricted")
    for role in sorted(set(after.unrestricted) - old):
        what = "it becomes unrestricted: no filter binds it"
        yield Change(role, "every table", "rows", Direction.widened, what, "", "unrestricted", place)
    for role in sorted(old - set(after.unrestricted)):
        what = "it is unrestricted no longer"
        yield Change(role, "every table", "rows", Direction.narrowed, what, "unrestricted", "", place)


def _context(before: Spec, after: Spec) -> Iterator[Change]:
    """Which contexts there may be. A field that no filter uses decides about nothing."""
    texts = [text for spec in (before, after) for table in spec.tables for text in (table.filter, table.check) if text]
    used = {name.lower() for text in texts for name in text.fields}
    for field in after.context:
        old = before.field(field.name)
        if old is None or field.name.lower() not in used:
            continue
        for direction, what in _field(old, field):
            message = f"the context field {field.name} {what}"
            place = field.position
            yield Change(after.conversation, f"context.{field.name}", "context", direction, message, position=place)


def _field(old: ContextField, new: ContextField) -> Iterator[tuple[Direction, str]]:
    if old.type != new.type:
        yield Direction.changed, f"was {old.type} and becomes {new.type}"
    if old.required != new.required:
        widened = Direction.narrowed if new.required else Direction.widened
        yield widened, "becomes required" if new.required else "may be left out"
    if old.pattern != new.pattern:
        yield _bound(old.pattern is None, new.pattern is None), "matches another pattern"
    for name, greater_is_narrower in _BOUNDS:
        one, other = getattr(old, name), getattr(new, name)
        if one != other:
            narrower = one is None or (other is not None and (other > one) == greater_is_narrower)
            shown = "none" if other is None else str(other)
            yield Direction.narrowed if narrower else Direction.widened, f"has another {name}: {shown}"


def _bound(was_free: bool, is_free: bool) -> Direction:
    if was_free == is_free:
        return Direction.changed
    return Direction.widened if is_free else Direction.narrowed


def _switches(before: Spec, after: Spec) -> Iterator[Change]:
    role = after.conversation
    if before.seal != after.seal:
        direction = Direction.narrowed if after.seal else Direction.widened
        what = "contexts are sealed against forgery" if after.seal else "contexts can be forged: the seal is off"
        yield Change(role, "seal", "seal", direction, what, position=after.positions.get("seal"))
    if before.force != after.force:
        direction = Direction.narrowed if after.force else Direction.widened
        what = "binds" if after.force else "no longer binds"
        place: Position | None = after.positions.get("force")
        message = f"row security {what} the owner's views and functions in a conversation"
        yield Change(role, "force", "force", direction, message, position=place)
    yield from _schemas(before, after, role)


def _schemas(before: Spec, after: Spec, role: str) -> Iterator[Change]:
    place = after.positions.get("schemas")
    for name in sorted(set(after.schemas) - set(before.schemas)):
        what = "conversations may use what PUBLIC may use in this schema"
        yield Change(role, f"schema {display(name)}", "usage", Direction.widened, what, position=place)
    for name in sorted(set(before.schemas) - set(after.schemas)):
        what = "conversations may no longer use this schema"
        yield Change(role, f"schema {display(name)}", "usage", Direction.narrowed, what, position=place)
    both = set(before.schemas) & set(after.schemas)
    if [each for each in before.schemas if each in both] != [each for each in after.schemas if each in both]:
        what = "names without a schema are looked up in another order"
        shown = [", ".join(spec.schemas) for spec in (before, after)]
        yield Change(role, "schemas", "order", Direction.changed, what, shown[0], shown[1], place)


def _functions(before: Spec | None, after: Spec) -> Iterator[Change]:
    old = {(each.schema, each.name) for each in before.functions} if before else set()
    new = {(each.schema, each.name): each.position for each in after.functions}
    for key in sorted(new.keys() - old):
        what = "statements may use it, and everyone may call it"
        yield Change(after.conversation, f"function {Name(*key)}", "call", Direction.widened, what, position=new[key])
    for key in sorted(old - new.keys()):
        what = "statements may no longer use it"
        yield Change(after.conversation, f"function {Name(*key)}", "call", Direction.narrowed, what)
