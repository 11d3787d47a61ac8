"""What a team wants, step by step: its models, its policies.yaml, and what it writes by hand."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
import yaml

from rlsgen.demo.shop import APPLICATION, CONVERSATION, OWNER
from rlsgen.spec.load import parse_spec
from rlsgen.spec.model import Spec

OWN = "organisation_id = userContext.organisationId"


@dataclass(frozen=True, slots=True)
class Step:
    """One revision: what it leaves, and the bodies of its functions where no autogenerate writes them."""

    number: int
    name: str
    metadata: sa.MetaData
    document: dict[str, Any]
    upgrade: str = ""
    downgrade: str = ""
    head: str = "head"
    plain: bool = False  # without anything of rlsgen's

    @property
    def revision(self) -> str:
        return f"r{self.number:02}"

    @property
    def text(self) -> str:
        """The policies.yaml."""
        return yaml.safe_dump(self.document, sort_keys=False)

    @property
    def spec(self) -> Spec:
        return parse_spec(self.text, "policies.yaml")


def models(number: int) -> sa.MetaData:
    """The models after a step."""
    metadata = sa.MetaData()
    key = sa.BigInteger if number >= 4 else sa.Integer
    orders_key = "org_id" if number >= 3 else "organisation_id"

    def column(name: str, type_: Any, *rest: Any, **options: Any) -> sa.Column[Any]:
        return sa.Column(name, type_, *rest, **{"nullable": False, **options})

    def table(name: str, *columns: Any, **options: Any) -> None:
        sa.Table(name, metadata, *columns, **options)

    if number < 2:
        return metadata
    table("organisations", column("id", key, primary_key=True), column("name", sa.Text))
    users = [
        column("id", sa.Integer, primary_key=True), column("organisation_id", key), column("email", sa.Text),
    ]  # fmt: skip
    table("users", *users, *([column("street", sa.Text, nullable=True)] if number < 5 else []))
    if number >= 5:
        table(
            "addresses", column("id", sa.Integer, sa.Identity(), primary_key=True),
            column("user_id", sa.Integer, sa.ForeignKey("users.id")), column("street", sa.Text),
        )  # fmt: skip
    status = column("status", sa.Text, server_default="open")
    table("orders", column("id", key, primary_key=True), column(orders_key, key), column("total", sa.Integer), status)
    table(
        "order_items", column("id", sa.Integer, primary_key=True), column("order_id", key, sa.ForeignKey("orders.id")),
        column("label", sa.Text),
    )  # fmt: skip
    table(
        "folders", column("id", key, primary_key=True), column("organisation_id", key),
        column("parent_id", key, nullable=True),
    )  # fmt: skip
    table(
        "events", column("id", sa.Integer, primary_key=True), column("at", sa.Date, primary_key=True),
        column("organisation_id", key), postgresql_partition_by="RANGE (at)",
    )  # fmt: skip
    if number < 7:
        table("projects", column("id", sa.Integer, primary_key=True), column("organisation_id", key))
    parent = [sa.ForeignKey("projects.id")] if number < 7 else []
    table(
        "tasks", column("id", sa.Integer, primary_key=True), column("project_id", sa.Integer, *parent),
        column("organisation_id", key), column("title", sa.Text),
    )  # fmt: skip
    table("Line.Item", column("id", sa.Integer, sa.Identity(), primary_key=True), column("organisation_id", key))
    table("invoices", column("id", sa.Integer, primary_key=True), column("organisation_id", key), schema="billing")
    if number >= 10:
        table("comments", column("id", sa.Integer, primary_key=True), column("organisation_id", key))
    return metadata


_FIRST: dict[str, Any] = {
    "version": 1,
    "context": {"organisationId": {"type": "integer", "minimum": 1}, "userId": {"type": "text"}},
    "roles": {"conversation": CONVERSATION, "unrestricted": [OWNER, APPLICATION]},
    "schemas": ["public", "billing"],
    "default_filter": OWN,
    "tables": {
        "alembic_version": "hidden",
        "organisations": "id = userContext.organisationId",
        "users": {"columns": {"private": ["email"], "hide": ["street"]}},
        "orders": {},
        "order_items": {"through": "order_id -> orders(id)"},
        "folders": {"filter": OWN, "through": "parent_id -> folders(id)"},
        "events": {},
        "projects": {},
        "tasks": {"through": "project_id -> projects(id)", "allow": ["select", "insert"]},
        '"Line.Item"': {"allow": ["select", "insert", "update", "delete"]},
        "billing.invoices": {},
    },
}


def steps(reporting: str) -> list[Step]:
    """All of them. `reporting` is a role that comes to be at one of them."""
    document = copy.deepcopy(_FIRST)
    made: list[Step] = []

    def step(name: str, upgrade: str = "", downgrade: str = "", head: str = "head", plain: bool = False) -> None:
        number = len(made) + 1
        frozen = copy.deepcopy(document)
        metadata = models(8 if number == 9 else number)
        made.append(Step(number, name, metadata, frozen, upgrade, downgrade, head, plain))

    tables = document["tables"]
    step(
        "a schema of billing's own, before rlsgen comes",
        'op.execute("CREATE SCHEMA billing")',
        'op.execute("DROP SCHEMA billing")',
        plain=True,
    )
    step("create")
    tables["orders"] = "org_id = userContext.organisationId"
    document["views"] = {"totals": "invoker"}
    document["force"] = True
    step(
        "rename a column, make a view, force row security",
        'op.alter_column("orders", "organisation_id", new_column_name="org_id")\n'
        'op.execute("CREATE VIEW totals AS SELECT status, total FROM orders")',
        'op.execute("DROP VIEW totals")\nop.alter_column("orders", "org_id", new_column_name="organisation_id")',
    )
    document["context"]["organisationId"]["type"] = "bigint"
    step("change the type of keys")
    tables["users"] = {"columns": {"private": ["email"]}}
    tables["addresses"] = {"through": "user_id -> users(id)"}
    step(
        "split a table",
        'op.create_table("addresses", sa.Column("id", sa.Integer, sa.Identity(), primary_key=True),\n'
        '    sa.Column("user_id", sa.Integer, sa.ForeignKey("users.id"), nullable=False),\n'
        '    sa.Column("street", sa.Text, nullable=False))\n'
        'op.execute("INSERT INTO addresses (user_id, street) SELECT id, street FROM users WHERE street IS NOT NULL")\n'
        'op.drop_column("users", "street")',
        'op.add_column("users", sa.Column("street", sa.Text))\n'
        'op.execute("UPDATE users SET street = a.street FROM addresses AS a WHERE a.user_id = users.id")\n'
        'op.drop_table("addresses")',
    )
    step(
        "add a partition",
        'op.execute("CREATE TABLE events_2027 PARTITION OF events"\n'
        """    " FOR VALUES FROM ('2027-01-01') TO ('2028-01-01')")""",
        'op.execute("DROP TABLE events_2027")',
    )
    del tables["projects"]
    tables["tasks"] = {"allow": ["select", "insert"]}
    step(
        "drop a parent table",
        'op.drop_constraint("tasks_project_id_fkey", "tasks")\nop.drop_table("projects")',
        'op.create_table("projects", sa.Column("id", sa.Integer, primary_key=True),\n'
        '    sa.Column("organisation_id", sa.BigInteger, nullable=False))\n'
        'op.execute("INSERT INTO projects SELECT DISTINCT project_id, organisation_id FROM tasks")\n'
        'op.create_foreign_key("tasks_project_id_fkey", "tasks", "projects", ["project_id"], ["id"])',
    )
    finished = "org_id = userContext.organisationId AND status <> 'draft: 100%'"
    tables["orders"] = {"filter": finished, "allow": ["select", "update"]}
    step("change a filter")
    # Two branches, each without what the other does.
    document["roles"]["unrestricted"] = [OWNER, APPLICATION, reporting]
    step(
        "add a role",
        f'op.execute("GRANT SELECT ON orders TO {reporting}")',
        f'op.execute("REVOKE SELECT ON orders FROM {reporting}")',
    )
    document["roles"]["unrestricted"] = [OWNER, APPLICATION]
    tables["comments"] = {}
    step("add a table", head="r08")
    document["roles"]["unrestricted"] = [OWNER, APPLICATION, reporting]
    step("merge the branches", head="heads")
    step(
        "a data migration, of every row",
        'with op.rlsgen_every_row("orders", "users"):\n'
        """    op.execute("UPDATE orders SET status = 'closed' WHERE total = 0")\n"""
        """    op.execute("UPDATE users SET email = lower(email)")""",
        "pass",
    )
    return made
