"""Row predicates that can be compared: is every row for which this one holds also one for which that one holds?

A predicate is a filter's syntax tree, ANDs and ORs flattened and their members in no order; all else is an atom, known
by its tree alone. What is proven: more ANDed conditions hold for fewer rows, more ORed ones for more, a shorter list of
constants after IN for fewer. This is sound in SQL's logic of three values, since a row is visible only where its
predicate is true, and AND and OR are monotone in that. Whatever is not proven is not known, and no guess is made.

An atom may read other tables. Whether it then says the same in two specs depends on what those tables show: an atom in
which more rows of them can only mean more (`IN (SELECT …)`, EXISTS, a path) follows them; any other needs them
unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from google.protobuf.message import Message
from postgast import pg_query_pb2 as pb
from postgast import unwrap_node

from rlsgen.identifiers import Name
from rlsgen.spec.inspection import CONTEXT
from rlsgen.spec.trees import identity

Mode = Literal["read", "write"]
Read = tuple[Mode, Name]
"""What an atom depends on: the rows of a table that may be read, or written."""

_IN = ("=",)
_MONOTONE_LINKS = (pb.EXISTS_SUBLINK, pb.ANY_SUBLINK)
_PLAIN_SELECT = frozenset({"target_list", "from_clause", "where_clause", "limit_option", "op"})


@dataclass(frozen=True, slots=True)
class Atom:
    """A condition that is not taken apart further."""

    key: bytes
    reads: frozenset[Read] = frozenset()
    monotone: bool = False  # more rows of what it reads can make it true for more rows, never for fewer
    items: frozenset[bytes] = frozenset()  # of `key IN (items)`; empty for everything else


@dataclass(frozen=True, slots=True)
class Every:
    """All of them hold; of none: true."""

    parts: frozenset[Predicate]


@dataclass(frozen=True, slots=True)
class Some:
    """One of them holds; of none: false."""

    parts: frozenset[Predicate]


Predicate = Atom | Every | Some
TRUE, FALSE = Every(frozenset()), Some(frozenset())


def every(parts: Iterable[Predicate]) -> Predicate:
    """The conjunction of predicates."""
    flat = {each for part in parts for each in (part.parts if isinstance(part, Every) else (part,))}
    return FALSE if FALSE in flat else next(iter(flat)) if len(flat) == 1 else Every(frozenset(flat))


def some(parts: Iterable[Predicate]) -> Predicate:
    """The disjunction of predicates."""
    flat = {each for part in parts for each in (part.parts if isinstance(part, Some) else (part,))}
    return TRUE if TRUE in flat else next(iter(flat)) if len(flat) == 1 else Some(frozenset(flat))


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads the filters of one table; `resolve` gives the table that a sub-query names."""

    table: Name
    resolve: Callable[[str | None, str], Name]

    def read(self, tree: pb.Node) -> Predicate:
        """The predicate that a tree says. The tree is changed: it becomes the caller's no longer."""
        node = unwrap_node(tree)
        if isinstance(node, pb.BoolExpr) and node.boolop in (pb.AND_EXPR, pb.OR_EXPR):
            join = every if node.boolop == pb.AND_EXPR else some
            return join([self.read(each) for each in node.args])
        if isinstance(node, pb.A_Const) and node.WhichOneof("val") == "boolval":
            return TRUE if node.boolval.boolval else FALSE
        return self._atom(tree, node)

    def _atom(self, tree: pb.Node, node: Message) -> Atom:
        reads: set[Read] = set()
        links = [each for each in _messages(tree) if isinstance(each, pb.SubLink)]
        for each in _messages(tree):
            if isinstance(each, pb.RangeVar):
                name = self.resolve(each.schemaname or None, each.relname)
                each.schemaname = name.schema
                reads.add(("read", name))
            elif isinstance(each, pb.ColumnRef):
                self._plain(each, alone=not links)
        if isinstance(node, pb.A_Expr) and node.kind == pb.AEXPR_IN and not links:
            return self._listed(tree, node)
        return Atom(identity(tree), frozenset(reads), _is_monotone(node, len(links)))

    def _plain(self, node: pb.ColumnRef, alone: bool) -> None:
        """One spelling for names that mean the same: `userContext."orgId"`, and orders.id on orders itself."""
        words = [part.string.sval for part in node.fields if part.WhichOneof("node") == "string"]
        if len(words) != len(node.fields):
            return
        if len(words) == 2 and words[0].lower() == CONTEXT:
            node.fields[0].string.sval, node.fields[1].string.sval = CONTEXT, words[1].lower()
        elif alone and words[:-1] in ([self.table.name], [self.table.schema, self.table.name]):
            del node.fields[:-1]

    def _listed(self, tree: pb.Node, node: pb.A_Expr) -> Atom:
        """`x IN (1, 2)`: its key without the list."""
        constants = [item for item in node.rexpr.list.items if item.WhichOneof("node") == "a_const"]
        plain = tuple(part.string.sval for part in node.name) == _IN and len(constants) == len(node.rexpr.list.items)
        if not plain:
            return Atom(identity(tree))
        items = frozenset(map(identity, constants))
        node.ClearField("rexpr")
        return Atom(identity(tree), items=items)


def _messages(message: Message) -> Iterator[Message]:
    stack = [message]
    while stack:
        each = stack.pop()
        yield each
        for descriptor, value in each.ListFields():
            if descriptor.message_type is not None:
                stack.extend((value,) if isinstance(value, Message) else value)


def _is_monotone(node: Message, links: int) -> bool:
    """Whether the atom is one sub-query whose rows can only add: no aggregates, groups, limits, or outer joins."""
    if not isinstance(node, pb.SubLink) or links != 1 or node.sub_link_type not in _MONOTONE_LINKS:
        return False
    select = node.subselect.select_stmt
    if any(descriptor.name not in _PLAIN_SELECT for descriptor, _ in select.ListFields()) or select.op != pb.SETOP_NONE:
        return False
    targets = [each.res_target.val.WhichOneof("node") for each in select.target_list]
    return all(each in ("column_ref", "a_const") for each in targets) and all(map(_is_inner, select.from_clause))


def _is_inner(item: pb.Node) -> bool:
    match item.WhichOneof("node"):
        case "range_var":
            return True
        case "join_expr":
            join = item.join_expr
            return bool(join.jointype == pb.JOIN_INNER) and _is_inner(join.larg) and _is_inner(join.rarg)
        case _:
            return False


@dataclass(frozen=True, slots=True)
class Proof:
    """Proves that one predicate implies another, given which tables do not grow from the one's world to the other's."""

    follows: Callable[[Read], bool]  # rows of it in the first world are rows of it in the second: proven
    same: Callable[[Read], bool]  # exactly the same rows in both: proven
    _known: dict[tuple[Predicate, Predicate], bool] = field(default_factory=dict)

    def implies(self, one: Predicate, other: Predicate) -> bool:
        """Whether each row for which `one` is true is proven to be one for which `other` is."""
        known = self._known.get((one, other))
        if known is None:
            known = self._known[one, other] = self._implies(one, other)
        return known

    def _implies(self, one: Predicate, other: Predicate) -> bool:
        if isinstance(one, Some):
            return all(self.implies(part, other) for part in one.parts)
        if isinstance(other, Every):
            return all(self.implies(one, part) for part in other.parts)
        if isinstance(one, Atom) and isinstance(other, Atom):
            return self._covers(one, other)
        parts = one.parts if isinstance(one, Every) else ()
        choices = other.parts if isinstance(other, Some) else ()
        return any(self.implies(part, other) for part in parts) or any(self.implies(one, each) for each in choices)

    def _covers(self, one: Atom, other: Atom) -> bool:
        if one.key != other.key or bool(one.items) != bool(other.items) or not one.items <= other.items:
            return False
        holds = self.follows if one.monotone and other.monotone else self.same
        return all(map(holds, one.reads))
