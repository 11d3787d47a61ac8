"""Orders and their items, of tenants that have 30 %, 5 % and 0.1 % of them, and what is asked about them.

Nothing is random: the same number of rows gives the same database. Orders have the tenant's column, items only have
their order, as in many schemas: their rows are found through a path.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg

from rlsgen.demo.shop import APPLICATION, CONVERSATION, OWNER
from rlsgen.identifiers import Sql, fill

TENANTS = {"30 %": 1, "5 %": 2, "0.1 %": 3}
OTHERS = 649
"""Tenants that share the rest, with 0.1 % each."""
ITEMS_PER_ORDER = 4

_CREATE: LiteralString = """
CREATE TABLE organisations (id integer PRIMARY KEY, name text NOT NULL);
INSERT INTO organisations SELECT g, 'organisation ' || g FROM generate_series(1, {tenants}) g;
CREATE TABLE orders (
    id bigint PRIMARY KEY,
    organisation_id integer NOT NULL REFERENCES organisations (id),
    status text NOT NULL,
    amount numeric(12, 2) NOT NULL,
    created_at timestamptz NOT NULL
);
-- A thousand orders in a row have every tenant in its proportion; 7919 is a prime, so that they are spread.
INSERT INTO orders
SELECT g, CASE WHEN share < 300 THEN 1 WHEN share < 350 THEN 2 WHEN share = 350 THEN 3 ELSE share - 347 END,
       (ARRAY['open', 'paid', 'sent', 'returned'])[1 + g % 4], (g % 9973) * 0.37,
       timestamptz '2024-01-01 00:00:00+00' + g * (interval '63072000 s' / {orders})
FROM (SELECT g, g % 1000 * 7919 % 1000 AS share FROM generate_series(1, {orders}) g) spread;
CREATE INDEX ON orders (organisation_id);
CREATE TABLE items (
    id bigint PRIMARY KEY,
    order_id bigint NOT NULL REFERENCES orders (id),
    product integer NOT NULL,
    quantity integer NOT NULL,
    price numeric(12, 2) NOT NULL
);
INSERT INTO items
SELECT g, 1 + (g - 1) / {each}, g % 5003, 1 + g % 7, (g % 997) * 0.11 FROM generate_series(1, {each} * {orders}) g;
CREATE INDEX ON items (order_id);
"""

SPEC = f"""
version: 1
context: {{organisationId: integer}}
roles: {{conversation: {CONVERSATION}, unrestricted: [{OWNER}, {APPLICATION}]}}
default_filter: organisation_id = userContext.organisationId
tables:
  organisations: id = userContext.organisationId
  orders: {{}}
  items: {{through: order_id -> orders(id)}}
limits: {{per: organisationId, rows: 10000, bytes: 20MB, seconds: 30}}
"""


def create_tables(connection: psycopg.Connection[Any], rows: int) -> None:
    """Make the tables in an empty database, as its owner, with about so many items."""
    orders = max(1_000, rows // ITEMS_PER_ORDER)
    tenants, orders_, each = (Sql(str(number)) for number in (3 + OTHERS, orders, ITEMS_PER_ORDER))
    connection.execute(fill(_CREATE, tenants=tenants, orders=orders_, each=each).encode(), prepare=False)
    connection.execute(b"VACUUM ANALYZE")


@dataclass(frozen=True, slots=True)
class Question:
    """What a model asks, and what somebody would write by hand who filters by tenant; $1 there is the tenant."""

    name: str
    asked: LiteralString
    by_hand: LiteralString


_OWN: LiteralString = " JOIN orders o ON o.id = i.order_id WHERE o.organisation_id = $1"

QUESTIONS = (
    Question(
        "orders: sum over the tenant",
        "SELECT count(*), sum(amount) FROM orders",
        "SELECT count(*), sum(amount) FROM orders WHERE organisation_id = $1",
    ),
    Question(
        "orders: by month",
        "SELECT date_trunc('month', created_at) AS month, sum(amount) FROM orders GROUP BY month ORDER BY month",
        "SELECT date_trunc('month', created_at) AS month, sum(amount) FROM orders WHERE organisation_id = $1"
        " GROUP BY month ORDER BY month",
    ),
    Question(
        "orders: last 10 by id",
        "SELECT id, amount FROM orders ORDER BY id DESC LIMIT 10",
        "SELECT id, amount FROM orders WHERE organisation_id = $1 ORDER BY id DESC LIMIT 10",
    ),
    Question(
        "items: sum over the tenant",
        "SELECT count(*), sum(i.price * i.quantity) FROM items i",
        "SELECT count(*), sum(i.price * i.quantity) FROM items i" + _OWN,
    ),
    Question(
        "items: joined with orders",
        "SELECT o.status, sum(i.price) FROM items i JOIN orders o ON o.id = i.order_id GROUP BY 1 ORDER BY 1",
        "SELECT o.status, sum(i.price) FROM items i" + _OWN + " GROUP BY 1 ORDER BY 1",
    ),
    Question(
        "items: by product, the top 5",
        "SELECT i.product, sum(i.quantity) FROM items i GROUP BY i.product ORDER BY 2 DESC, 1 LIMIT 5",
        "SELECT i.product, sum(i.quantity) FROM items i" + _OWN + " GROUP BY i.product ORDER BY 2 DESC, 1 LIMIT 5",
    ),
    Question(
        "items: of one order",
        "SELECT i.id, i.price FROM items i WHERE i.order_id = (SELECT max(o.id) FROM orders o WHERE o.id < 900)",
        "SELECT i.id, i.price FROM items i" + _OWN + " AND i.order_id ="
        " (SELECT max(p.id) FROM orders p WHERE p.id < 900 AND p.organisation_id = $1)",
    ),
    Question(
        "items: last 10 by id",
        "SELECT i.id, i.price FROM items i ORDER BY i.id DESC LIMIT 10",
        "SELECT i.id, i.price FROM items i" + _OWN + " ORDER BY i.id DESC LIMIT 10",
    ),
)

SMALL: LiteralString = "SELECT id, status, amount FROM orders WHERE id = 10"
LATENCY: dict[str, LiteralString] = {
    "one row": SMALL,
    "10 rows": "SELECT id, status, amount, created_at FROM orders ORDER BY id DESC LIMIT 10",
    "1,000 rows": "SELECT id, status, amount, created_at FROM orders ORDER BY id LIMIT 1000",
}
GUARDED: dict[str, LiteralString] = {
    "short": "SELECT count(*) FROM orders",
    "medium": "SELECT o.status, date_trunc('month', o.created_at) AS month, count(*) AS orders, sum(i.price) AS sold,"
    " rank() OVER (PARTITION BY o.status ORDER BY sum(i.price) DESC) FROM orders o JOIN items i ON i.order_id = o.id"
    " WHERE o.created_at >= now() - interval '1 year' AND o.status IN ('paid', 'sent') GROUP BY 1, 2 ORDER BY 1, 2",
    "long": "WITH "
    + ", ".join(
        "part" + "x" * number + " AS (SELECT o.id, o.status, sum(i.price * i.quantity) FILTER (WHERE i.product > 5) AS"
        " revenue, CASE WHEN count(*) > 3 THEN 'many' ELSE 'few' END AS kind FROM orders o JOIN items i ON"
        " i.order_id = o.id WHERE o.amount BETWEEN 10 AND 500 GROUP BY o.id, o.status)"
        for number in range(20)
    )
    + " SELECT "
    + ", ".join("(SELECT max(revenue) FROM part" + "x" * number + ")" for number in range(20)),
}
"""Texts of about 30, 320 and 6,300 characters."""
