"""The sample shop: what a company has before rlsgen comes, and questions that its customers' users ask.

A web shop for organisations: one Postgres database, one owner that migrates, one application role that sees everything.
There is nothing of rlsgen in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, LiteralString

import psycopg

from rlsgen.catalog.connect import set_password
from rlsgen.identifiers import Sql, fill, identifier

OWNER = "shop_owner"
"""Owns the database and everything in it, and migrates it; an ordinary role."""

APPLICATION = "shop_app"
"""The main application: works on every organisation's rows; has BYPASSRLS, which only an administrator grants."""

CONVERSATION = "nl_conversation"
"""Runs the SQL that a language model writes; may do nothing yet."""

ATTRIBUTES: Mapping[str, Sql] = {
    OWNER: Sql("LOGIN"),
    APPLICATION: Sql("LOGIN BYPASSRLS"),
    CONVERSATION: Sql("LOGIN"),
}
"""What an administrator gives the three roles when making them."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A user who talks to the shop's data, as the application that signed the user in knows it."""

    organisation: str  # its name, for people
    context: Mapping[str, object]  # as policies.yaml declares it


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and what a model writes for it: SQL that says nothing about organisations, teams or who "I" am."""

    text: str
    sql: LiteralString


CONVERSATIONS = (
    Conversation("Alder Supplies", {"organisationId": 1, "teamId": 1, "userId": "user_1"}),
    Conversation("Birch Foods", {"organisationId": 2, "teamId": 4, "userId": "user_301"}),
)
"""Two users: of the organisation that has 30 % of the orders, and of one that has 5 %."""

QUESTIONS = (
    Question(
        "How many orders did we have last month?",
        "SELECT count(*) AS orders, sum(total) AS revenue FROM orders"
        " WHERE created_at >= date_trunc('month', now()) - interval '1 month'"
        " AND created_at < date_trunc('month', now())",
    ),
    Question(
        "What are our three best-selling products?",
        "SELECT p.name, sum(i.quantity) AS sold FROM order_items i JOIN products p ON p.id = i.product_id"
        " GROUP BY p.id, p.name ORDER BY sold DESC, p.id LIMIT 3",
    ),
    Question(
        "How many customers do we have?",
        "SELECT count(*) AS users, count(*) FILTER (WHERE last_order_at IS NOT NULL) AS customers FROM users",
    ),
    Question(
        "Where do our orders go?",
        "SELECT c.name AS country, count(*) AS orders FROM orders o JOIN countries c ON c.code = o.country_code"
        " GROUP BY c.name ORDER BY orders DESC, country LIMIT 3",
    ),
    Question(
        "How did revenue develop in the last three months?",
        "SELECT month, orders, revenue FROM monthly_revenue ORDER BY month DESC LIMIT 3",
    ),
    Question(
        "What did people do on our site last week?",
        "SELECT kind, count(*) AS events FROM events WHERE occurred_at > now() - interval '7 days'"
        " GROUP BY kind ORDER BY events DESC, kind",
    ),
    Question(
        "Which projects is my team working on?",
        "SELECT name, due_on FROM projects WHERE status = 'active' ORDER BY due_on, id LIMIT 3",
    ),
    Question("What are my latest notes?", "SELECT title, body FROM notes ORDER BY created_at DESC, id LIMIT 3"),
    Question(
        "Which templates can I use?",
        "SELECT name, CASE WHEN organisation_id IS NULL THEN 'for everybody' ELSE 'our own' END AS whose"
        " FROM templates ORDER BY name, id",
    ),
)
"""What both are asked; the answers must differ, and none may count another organisation's rows."""


def create_roles(connection: psycopg.Connection[Any], passwords: Mapping[str, str] | None = None) -> None:
    """Make the shop's three roles where they do not exist, as an administrator (superuser) of the cluster.

    Several processes may do it at once. Roles named in `passwords` get that password, SCRAM-hashed before it is sent.
    """
    with connection.transaction():
        # Roles are the cluster's, and CREATE ROLE knows no IF NOT EXISTS.
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('rlsgen.demo roles'))")
        existing = {name for (name,) in connection.execute("SELECT rolname FROM pg_roles").fetchall()}
        for role, attributes in ATTRIBUTES.items():
            verb = Sql("ALTER" if role in existing else "CREATE")
            connection.execute(fill("{} ROLE {} {}", verb, identifier(role), attributes).encode())
        for role, password in (passwords or {}).items():
            set_password(connection, role, password)


def create_shop(connection: psycopg.Connection[Any]) -> None:
    """Make the shop's tables and rows in an empty database, as its owner; the roles exist already."""
    script = resources.files("rlsgen.demo").joinpath("shop.sql").read_bytes()
    with connection.transaction():
        connection.execute(script)
