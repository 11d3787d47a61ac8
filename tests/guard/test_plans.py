"""Sub-selects in the place of tables cost nothing: Postgres pulls them up, and plans are those of the tables themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.guard.shop import Shop, Talk

SAME = [
    "SELECT * FROM orders WHERE id = 5",
    "SELECT count(*) FROM orders WHERE created_at > now() - interval '1 day'",
    "SELECT o.*, u.name FROM orders o JOIN users u ON u.id = o.user_id WHERE o.status = 'paid'",
    "SELECT o.id, u.name FROM orders o LEFT JOIN users u ON u.id = o.user_id",
    "SELECT o.id, u.name FROM orders o LEFT JOIN users u ON u.id = o.user_id WHERE u.id IS NULL",
    "SELECT o.id, u.name FROM users u RIGHT JOIN orders o ON u.id = o.user_id AND u.name = 'x'",
    "SELECT t.name, p.name FROM teams t FULL JOIN projects p ON p.team_id = t.id",
    "SELECT t.id FROM teams t LEFT JOIN users u ON u.team_id = t.id LEFT JOIN orders o ON o.user_id = u.id",
    "SELECT * FROM teams t JOIN projects p USING (organisation_id, name)",
    "SELECT u.id, x.total FROM users u CROSS JOIN LATERAL (SELECT total FROM orders WHERE user_id = u.id LIMIT 2) x",
    "SELECT name FROM users WHERE id IN (SELECT user_id FROM orders)",
    "SELECT name FROM users u WHERE NOT EXISTS (SELECT 1 FROM orders o WHERE o.user_id = u.id)",
    "SELECT u.id, u.name, count(o.id) FROM users u LEFT JOIN orders o ON o.user_id = u.id GROUP BY u.id",
    "SELECT status, sum(total) FROM orders GROUP BY status",
    "SELECT count(*) FROM events WHERE occurred_at > now() - interval '3 days'",
    "SELECT p.name, sum(i.quantity) FROM order_items i JOIN products p ON p.id = i.product_id GROUP BY p.name",
    "SELECT * FROM orders ORDER BY created_at DESC LIMIT 5",
    "SELECT max(id), min(id) FROM orders",
    "SELECT o.id FROM orders o JOIN order_items i ON i.order_id = o.id WHERE o.id = 7",
    "WITH a AS (SELECT * FROM orders) SELECT count(*) FROM a JOIN users ON users.id = a.user_id",
    "SELECT * FROM monthly_revenue",
    "SELECT to_json(o) FROM teams t LEFT JOIN orders o ON o.id = t.id",
]


def shape(node: Any) -> Iterator[str]:
    """A plan's nodes, with what they read and how they join, without names of columns and costs."""
    kept = ("Node Type", "Join Type", "Relation Name", "Index Name", "Strategy", "Parent Relationship")
    yield " ".join(str(node[key]) for key in kept if key in node)
    for child in node.get("Plans", ()):
        yield from shape(child)


def plan(talk: Talk, sql: str, values: list[str] | None = None, oids: list[int] | None = None) -> Any:
    found = talk.raw(f"EXPLAIN (FORMAT JSON) {sql}", values or (), oids or ())
    assert not found.state, found.message
    return json.loads(found.rows[0][0] or "")[0]["Plan"]


@pytest.mark.parametrize("text", SAME)
def test_the_plan_is_the_tables_own(guarded: Shop, text: str) -> None:
    with guarded.talking() as talk:
        assert list(shape(plan(talk, guarded.bare.check(text).sql))) == list(shape(plan(talk, text)))


def scans(node: Any, relation: str) -> Iterator[Any]:
    if node.get("Relation Name", "").startswith(relation):
        yield node
    for child in node.get("Plans", ()):
        yield from scans(child, relation)


@pytest.mark.parametrize(
    ("text", "relation"),
    [
        ("SELECT count(*) FROM orders", "orders"),
        ("SELECT count(*) FROM users u LEFT JOIN orders o ON o.user_id = u.id", "orders"),
        ("SELECT count(*) FROM users u FULL JOIN orders o ON o.user_id = u.id", "orders"),
        ("SELECT u.id, u.name, count(o.id) FROM users u LEFT JOIN orders o ON o.user_id = u.id GROUP BY u.id", "users"),
        ("SELECT t.id, t.name FROM orders o LEFT JOIN teams t ON t.id = o.id GROUP BY t.id", "teams"),
        ("SELECT to_json(o) FROM orders o", "orders"),
    ],
)
def test_twins_reach_the_scan(guarded: Shop, text: str, relation: str) -> None:
    """The value itself stands in the plan, where the planner has statistics for it; without twins only a sub-plan."""
    statement = guarded.guard.check(text)
    with guarded.talking() as talk:
        oids = [twin.type_oid for twin in statement.twins]
        found = plan(talk, statement.sql, [str(talk.context[twin.field]) for twin in statement.twins], oids)
        bare = plan(talk, guarded.bare.check(text).sql)
    conditions = ("Filter", "Index Cond", "Recheck Cond", "Hash Cond")
    with_value = [" ".join(str(node.get(key, "")) for key in conditions) for node in scans(found, relation)]
    assert any("organisation_id = 1)" in each for each in with_value), found
    assert not any(
        "organisation_id = 1)" in " ".join(str(node.get(key, "")) for key in conditions)
        for node in scans(bare, relation)
    )


def test_estimates_are_those_of_the_tenant(guarded: Shop) -> None:
    statement = guarded.guard.check("SELECT * FROM orders")
    with guarded.talking() as talk:
        real = int(talk.raw("SELECT count(*) FROM orders").rows[0][0] or 0)
        estimate = plan(talk, statement.sql, ["1"], [statement.twins[0].type_oid])["Plan Rows"]
    assert real * 0.8 < estimate < real * 1.2
