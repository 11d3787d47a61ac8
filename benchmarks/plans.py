"""Plans, a line for each node, of what a conversation asks and of what is written by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
from sides import Place

from rlsgen import ConversationPool
from rlsgen.demo.shop import OWNER


@contextmanager
def tracing(place: Place, *, twins: bool) -> Iterator[Callable[[LiteralString, int], list[str]]]:
    """Gives plans instead of rows."""
    with ConversationPool(place.dsn(), place.spec, place.key, known_holes="warn", twins=twins) as pool:

        def plan(query: LiteralString, tenant: int) -> list[str]:
            return outline(pool.conversation({"organisationId": tenant}).explain(query, analyze=True).plan)

        yield plan


def plan_by_hand(place: Place, query: LiteralString, tenant: int) -> list[str]:
    """The plan of what is written by hand."""
    with psycopg.connect(place.dsn(OWNER), cursor_factory=psycopg.RawCursor, prepare_threshold=None) as connection:
        explain = b"EXPLAIN (FORMAT JSON, ANALYZE, TIMING OFF, BUFFERS OFF) "
        row = connection.execute(explain + query.encode(), [tenant]).fetchone()
        assert row is not None
        return outline(row[0][0]["Plan"])


def outline(node: Mapping[str, Any], depth: int = 0) -> list[str]:
    """A plan, a line for each node: what it does, estimated and real rows, times."""
    if "Plan" in node:
        return outline(node["Plan"])
    words = [node["Node Type"], node.get("Relation Name", ""), node.get("Index Name", "")]
    role = f"{node['Subplan Name']}: " if "Subplan Name" in node else ""
    rows = f"({node['Plan Rows']:,.0f} estimated, {node['Actual Rows']:,.0f} x {node['Actual Loops']:,})"
    lines = [f"{'  ' * depth}{role}{' '.join(word for word in words if word)} {rows}"]
    for child in node.get("Plans", ()):
        lines += outline(child, depth + 1)
    return lines
