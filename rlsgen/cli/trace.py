"""A trace on the command line: per table the filter that applied, and what Postgres' plan did with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rlsgen.cli.output import printable, write

if TYPE_CHECKING:
    from rlsgen.runtime.trace import Scan, Trace

OPERATORS = "for operators only: it tells policies and values of the context, and its estimates count all tenants' rows"


def trace_document(trace: Trace) -> dict[str, object]:
    """A trace for machines."""
    return {
        "audience": OPERATORS,
        "tables": [
            {
                "relation": str(each.relation),
                "filter": each.filter,
                "scans": [_scan_document(scan) for scan in each.scans],
            }
            for each in trace.tables
        ],
        "others": [_scan_document(scan) for scan in trace.others],
        "one_time_filters": trace.one_time_filters,
        "twins": trace.twins,
        "sql": trace.sql,
        "planning_ms": trace.planning_ms,
        "execution_ms": trace.execution_ms,
        "plan": trace.plan,
    }


def _scan_document(scan: Scan) -> dict[str, object]:
    return {
        "relation": str(scan.relation),
        "alias": scan.alias,
        "method": scan.method,
        "indexes": scan.indexes,
        "index_conditions": scan.index_conditions,
        "filter": scan.filter,
        "one_time_filters": scan.one_time_filters,
        "subplan": scan.subplan,
        "estimated": scan.estimated,
        "rows": scan.rows,
        "removed": scan.removed,
        "times": scan.times,
    }


def show_trace(trace: Trace) -> None:
    """A trace for people, after the result."""
    write(printable("\n".join(_lines(trace))))


def _lines(trace: Trace) -> Iterator[str]:
    yield f"\nTrace, {OPERATORS}."
    for table in trace.tables:
        yield f"\n{table.relation}: {table.filter}"
        if not table.scans:
            yield f"  {_unread(trace, view=table.filter == 'invoker')}"
        for scan in table.scans:
            yield from _scan_lines(scan)
    if trace.others:
        yield "\nRead by policies, paths or views:"
        for scan in trace.others:
            yield from _scan_lines(scan)
    yield f"\nValues of the context for the planner: {', '.join(trace.twins) or 'none'}"
    yield f"What ran: {trace.sql}"
    times = (("planned", trace.planning_ms), ("ran", trace.execution_ms))
    taken = [f"{what} in {value:.1f} ms" for what, value in times if value is not None]
    if taken:
        yield f"Again for this trace: {', '.join(taken)}"


def _unread(trace: Trace, *, view: bool) -> str:
    if view:
        return "a view: see below what it reads"
    if trace.one_time_filters:
        return f"not read: nothing can pass {', '.join(trace.one_time_filters)}"
    return "not read"


def _scan_lines(scan: Scan) -> Iterator[str]:
    using = f" using {', '.join(scan.indexes)}" if scan.indexes else ""
    inside = f", in {scan.subplan}" if scan.subplan else ""
    yield f"  {scan.method}{using} on {scan.relation} as {scan.alias}{inside}"
    for condition in scan.index_conditions:
        yield f"    by the index:  {condition}"
    if scan.filter is not None:
        yield f"    row by row:    {scan.filter}"
    for condition in scan.one_time_filters:
        yield f"    once for all:  {condition}"
    yield f"    rows:          {_rows(scan)}"


def _rows(scan: Scan) -> str:
    parts = [f"{scan.estimated:,} estimated"]
    if scan.rows is not None:
        parts.append(f"{scan.rows:,g} came")
    if scan.removed is not None:
        parts.append(f"{scan.removed:,g} filtered out")
    if scan.times is not None and scan.times != 1:
        parts.append(f"each of {scan.times:,g} times")
    return ", ".join(parts)
