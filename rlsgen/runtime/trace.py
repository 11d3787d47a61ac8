"""What Postgres' plan does with a statement's filters: EXPLAIN of the checked statement under the same context, read.

For operators, never for customers or a model: a plan spells out policies and the context's values, and its estimates
come from the statistics of all tenants.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import postgast
from google.protobuf.message import Message
from postgast import pg_query_pb2 as pb

from rlsgen.errors import StatementRefused
from rlsgen.identifiers import Name
from rlsgen.runtime.conversation import Core, Talk
from rlsgen.runtime.guard.deep import deep
from rlsgen.runtime.result import Result
from rlsgen.runtime.run import Run
from rlsgen.runtime.session import Order
from rlsgen.runtime.statement import AppliedFilter, Statement

_PLAN = b"EXPLAIN (FORMAT JSON, VERBOSE) "
_RUN = b"EXPLAIN (FORMAT JSON, VERBOSE, ANALYZE, BUFFERS OFF, TIMING OFF) "


@dataclass(frozen=True, slots=True)
class Scan:
    """One reading of a relation in a plan. Numbers of rows are of one time that it is done."""

    relation: Name  # a partition by its own name
    alias: str
    method: str  # Seq Scan, Index Scan, Bitmap Heap Scan...
    indexes: tuple[str, ...]
    index_conditions: tuple[str, ...]  # found through an index
    filter: str | None  # looked at row by row
    one_time_filters: tuple[str, ...]  # looked at once: whether anything is read at all
    subplan: str | None  # SubPlan 3, which a condition of another scan names; InitPlan 1
    estimated: float  # rows that come out of it
    rows: float | None  # that came out of it; None: it was not run
    removed: float | None  # rows that its filter took away
    times: float | None  # how often it was done


@dataclass(frozen=True, slots=True)
class TableTrace:
    """A relation that the statement names: what applied to it, and how it was read."""

    relation: Name
    filter: str  # in the spec's words, as in a result
    scans: tuple[Scan, ...]  # empty: the planner proved that there is nothing to read, or it is a view


@dataclass(frozen=True, slots=True)
class Trace:
    """A plan, told from the side of the filters. For operators only."""

    tables: tuple[TableTrace, ...]
    others: tuple[Scan, ...]  # of relations that only policies, paths or views read
    one_time_filters: tuple[str, ...]  # under which nothing is left to read
    sql: str  # what ran, as the guard wrote it
    twins: tuple[str, ...]  # context fields whose values were bound behind the caller's parameters
    planning_ms: float | None
    execution_ms: float | None
    plan: Mapping[str, Any] = field(repr=False)  # Postgres' own


class Tracing(Run):
    """A statement that is explained instead of run; with `analyze` it is run as well, and its rows are thrown away."""

    __slots__ = ("_analyze",)

    def __init__(self, core: Core, talk: Talk, text: str, parameters: Sequence[object], *, analyze: bool) -> None:
        super().__init__(core, talk, text, parameters)
        self._analyze = analyze

    def check(self, *, streamed: bool = False) -> None:
        """As for the statement itself.

        Raises:
            StatementRefused: also where no guard knows what to explain, or where a statement that writes would run.
        """
        super().check(streamed=streamed)
        if self.statement is None:
            raise StatementRefused("only what the guard has checked can be traced", reason="statement", text=self.text)
        if self._analyze and self.statement.writes:
            hint = "trace it without analyze"
            raise StatementRefused("analyze would run what writes", reason="statement", text=self.text, hint=hint)

    @property
    def writes(self) -> bool:
        """Never: the transaction is READ ONLY, and rolled back."""
        return False

    def order(self) -> Order:
        """The statement's, explained, and without its limits of rows and bytes: a plan is one row."""
        order = super().order()
        return replace(order, text=(_RUN if self._analyze else _PLAN) + order.text, rows=None, bytes=None)

    def trace(self, result: Result) -> Trace:
        """What the one row of the result says."""
        assert self.statement is not None, "check comes first"  # noqa: S101
        return read_plan(result.rows[0][0][0], self.statement)


def read_plan(document: Mapping[str, Any], statement: Statement) -> Trace:
    """A document of EXPLAIN (FORMAT JSON, VERBOSE) as a trace."""
    scans = list(_scans(document["Plan"], (), None))
    groups: dict[Name, list[Scan]] = {each.relation: [] for each in statement.filters}
    aliases = _aliases(statement.sql)
    others: list[Scan] = []
    for scan in scans:
        owner = _owner(scan, groups, aliases)
        (groups[owner] if owner is not None else others).append(scan)
    return Trace(
        tables=tuple(_table(each, groups) for each in _once(statement.filters)),
        others=tuple(others),
        one_time_filters=tuple(dict.fromkeys(_empty(document["Plan"]))),
        sql=statement.sql,
        twins=tuple(dict.fromkeys(each.field for each in statement.twins)),
        planning_ms=document.get("Planning Time"),
        execution_ms=document.get("Execution Time"),
        plan=document,
    )


def _once(filters: Sequence[AppliedFilter]) -> Iterator[AppliedFilter]:
    yield from {each.relation: each for each in filters}.values()


def _table(applied: AppliedFilter, groups: Mapping[Name, Sequence[Scan]]) -> TableTrace:
    return TableTrace(applied.relation, applied.filter, tuple(groups[applied.relation]))


def _owner(scan: Scan, named: Mapping[Name, object], aliases: Mapping[str, Name]) -> Name | None:
    """The relation of the statement that is scanned: itself, or the parent of a partition, which its alias tells.

    Postgres calls the partitions of what the statement calls `e` e_1, e_2... A policy's probe cannot be told from a
    sub-query of the text; `subplan` says that it is one of them.
    """
    if scan.relation in named:
        return scan.relation
    stem = scan.alias.rstrip("0123456789").removesuffix("_")
    owner = aliases.get(stem) if stem != scan.alias else None
    return owner if owner in named else None


def _aliases(sql: str) -> dict[str, Name]:
    """What the statement, as the guard wrote it, calls the relations in it."""
    found: dict[str, Name] = {}
    pending: list[Message] = [deep(lambda: postgast.parse(sql), size=len(sql))]
    while pending:
        message = pending.pop()
        if isinstance(message, pb.RangeVar):
            found[message.alias.aliasname or message.relname] = Name(message.schemaname, message.relname)
        for descriptor, value in message.ListFields():
            if descriptor.message_type is not None:
                pending += [value] if isinstance(value, Message) else value
    return found


def _scans(node: Mapping[str, Any], once: tuple[str, ...], subplan: str | None) -> Iterator[Scan]:
    """All scans below a node, which stands under the one-time filters `once`, in their order."""
    if one_time := node.get("One-Time Filter"):
        once = (*once, one_time)
    subplan = node.get("Subplan Name", subplan)
    if "Relation Name" in node:
        yield _scan(node, once, subplan)
    for child in node.get("Plans", ()):
        inside = child.get("Parent Relationship") in ("InitPlan", "SubPlan")
        yield from _scans(child, () if inside else once, subplan)


def _scan(node: Mapping[str, Any], once: tuple[str, ...], subplan: str | None) -> Scan:
    bitmaps = list(_bitmaps(node))
    return Scan(
        relation=Name(node.get("Schema", ""), node["Relation Name"]),
        alias=node.get("Alias", node["Relation Name"]),
        method=node["Node Type"],
        indexes=tuple(each["Index Name"] for each in (node, *bitmaps) if "Index Name" in each),
        index_conditions=tuple(each["Index Cond"] for each in (node, *bitmaps) if "Index Cond" in each),
        filter=node.get("Filter"),
        one_time_filters=once,
        subplan=subplan,
        estimated=node["Plan Rows"],
        rows=node.get("Actual Rows"),
        removed=node.get("Rows Removed by Filter"),
        times=node.get("Actual Loops"),
    )


def _bitmaps(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The index scans that a bitmap scan is made of."""
    for child in node.get("Plans", ()):
        if child["Node Type"] in ("Bitmap Index Scan", "BitmapAnd", "BitmapOr"):
            yield child
            yield from _bitmaps(child)


def _empty(node: Mapping[str, Any]) -> Iterator[str]:
    """One-time filters with no scan below them."""
    if (one_time := node.get("One-Time Filter")) and not any(_scans(node, (), None)):
        yield one_time
    for child in node.get("Plans", ()):
        yield from _empty(child)
