"""Private columns: what the planner's statistics give away, and what else keeps such statistics."""

from __future__ import annotations

import re

import pytest

from rlsgen.errors import SpecError
from tests.hostile.support import Sandbox

# Two guesses at somebody else's address: one comes before every address but a few, the other after all of them.
LOW, HIGH = "a", "zzzz"


def estimates(sandbox: Sandbox, condition: str) -> list[str]:
    """How many rows the planner expects for each of the two guesses, as the conversation sees it in EXPLAIN."""
    seen = []
    for guess in (LOW, HIGH):
        rows = sandbox.attack(f"EXPLAIN SELECT id FROM users WHERE {condition.format(guess)}").reply.rows
        seen.append(" ".join(re.findall(r"rows=(\d+)", " ".join(str(row) for row in rows))))
    return seen


def told(sandbox: Sandbox, condition: str) -> bool:
    """Whether the estimates differ, so that a binary search would spell addresses out."""
    low, high = estimates(sandbox, condition)
    return low != high


PLAIN = "email > '{}'"
EXPRESSION = "lower(email) > '{}'"


def test_a_private_column_tells_nothing(sandbox: Sandbox) -> None:
    assert not told(sandbox, PLAIN)
    sandbox.owner("ANALYZE users")
    assert not told(sandbox, PLAIN)


def test_with_statistics_it_tells(sandbox: Sandbox) -> None:
    sandbox.owner("ALTER TABLE users ALTER email SET STATISTICS 100; ANALYZE users")
    assert told(sandbox, PLAIN)
    assert sandbox.plan().transactions
    sandbox.apply()
    assert not told(sandbox, PLAIN)
    assert not sandbox.plan().transactions


def test_an_index_on_an_expression_keeps_statistics_too(sandbox: Sandbox) -> None:
    assert not told(sandbox, EXPRESSION)
    sandbox.owner("CREATE INDEX by_address ON users (lower(email)); ANALYZE users")
    assert told(sandbox, EXPRESSION), "if Postgres no longer does this, the rule below can go"
    with pytest.raises(SpecError, match="by_address") as refused:
        sandbox.plan()
    assert refused.value.problems[0].position is not None
    sandbox.owner("DROP INDEX by_address; CREATE INDEX by_address ON users (lower(email))")
    sandbox.owner("ALTER INDEX by_address ALTER COLUMN 1 SET STATISTICS 0")
    sandbox.owner("ANALYZE users")
    assert not told(sandbox, EXPRESSION)
    assert not sandbox.plan().transactions


def test_a_statistics_object_keeps_them_as_well(sandbox: Sandbox) -> None:
    sandbox.owner("CREATE STATISTICS addresses ON lower(email), (email || '') FROM users; ANALYZE users")
    assert told(sandbox, EXPRESSION)
    with pytest.raises(SpecError, match="addresses"):
        sandbox.plan()
    sandbox.owner("DROP STATISTICS addresses")
    assert not sandbox.plan().transactions


def test_other_indexes_do_not_matter(sandbox: Sandbox) -> None:
    sandbox.owner("CREATE INDEX plain ON users (email); CREATE INDEX expression ON users (lower(name));"
                  " CREATE STATISTICS others ON name, team_id FROM users; ANALYZE users")  # fmt: skip
    assert not told(sandbox, PLAIN)
    assert not sandbox.plan().transactions


def test_new_partitions_of_private_columns_are_seen(sandbox: Sandbox) -> None:
    """A table's children have statistics of their own, also those that come later."""
    text = sandbox.spec_with("  events: {}", "  events: {columns: {private: [path]}}")
    sandbox.apply(text)
    assert not sandbox.plan(text).transactions
    sandbox.owner("CREATE TABLE later PARTITION OF events FOR VALUES FROM ('2001-01-01') TO ('2001-02-01')")
    assert any("later" in step.object for step in sandbox.plan(text).steps)
    sandbox.apply(text)
    assert not sandbox.plan(text).transactions
