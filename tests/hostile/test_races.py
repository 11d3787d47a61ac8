"""Between a plan and its transactions somebody drops, replaces or opens things: nothing is granted on those."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from rlsgen.catalog.connect import open_connection
from rlsgen.errors import ApplyFailed
from rlsgen.provision.apply import Outcome, apply, execute, make_plan
from rlsgen.provision.plan import Plan
from tests.hostile.support import EVERYTHING, Sandbox
from tests.support.postgres import Database

_REPLACED = (
    "ALTER TABLE products RENAME TO former; CREATE TABLE products (LIKE former INCLUDING ALL);"
    " INSERT INTO products OVERRIDING SYSTEM VALUE SELECT * FROM former"
)


def raced(sandbox: Sandbox, title: str, harm: str) -> Outcome:
    """Apply, while somebody does `harm` just before the transaction of that title begins."""

    def between(now: str, done: int, total: int) -> None:
        if now == title:
            sandbox.owner(harm)

    with open_connection(sandbox.database.dsn()) as connection:
        return apply(connection, sandbox.spec, allow=EVERYTHING, progress=between)


@pytest.fixture
def ungranted(sandbox: Sandbox) -> Sandbox:
    """Somebody revoked what the conversation had: the next plan only grants, since the policies stand."""
    sandbox.owner("REVOKE ALL ON products, monthly_revenue FROM nl_conversation")
    assert {step.action for step in sandbox.plan().steps} == {"grant"}
    return sandbox


@pytest.mark.parametrize("harm", [
    _REPLACED,
    "ALTER TABLE products DISABLE ROW LEVEL SECURITY",
    "DROP POLICY rlsgen_only_select ON products; CREATE POLICY theirs ON products USING (true)",
    "ALTER POLICY rlsgen_only_select ON products USING (true);"
    " ALTER POLICY rlsgen_allow_select ON products USING (true)",
    "ALTER POLICY rlsgen_only_select ON products TO shop_app; CREATE POLICY theirs ON products USING (true)",
], ids=["replaced", "disabled", "dropped", "altered", "redirected"])  # fmt: skip
def test_nothing_is_granted_on_an_open_table(ungranted: Sandbox, harm: str) -> None:
    with pytest.raises(ApplyFailed, match="lacks the row security that the plan found"):
        raced(ungranted, "table public.products", harm)
    assert ungranted.attack("SELECT name FROM products").reply.state == "42501"


def test_without_the_assertion_it_would_be(ungranted: Sandbox) -> None:
    with open_connection(ungranted.database.dsn()) as connection:
        plan = make_plan(connection, ungranted.spec)
        ungranted.owner(_REPLACED)
        execute(connection, Plan(tuple(replace(each, closing=()) for each in plan.transactions), plan.search_path))
    assert ungranted.attack("SELECT name FROM products").leaks


def test_nothing_is_granted_on_a_replaced_view(ungranted: Sandbox) -> None:
    again = (
        "CREATE OR REPLACE VIEW monthly_revenue AS SELECT organisation_id, now()::date AS month, count(*) AS orders,"
        " max(total) AS revenue FROM orders GROUP BY 1"
    )
    with pytest.raises(ApplyFailed, match="has lost security_invoker"):
        raced(ungranted, "view public.monthly_revenue", again)
    assert ungranted.attack("SELECT revenue FROM monthly_revenue").reply.state == "42501"


@pytest.mark.parametrize("harm", [
    "ALTER TABLE products RENAME TO former",
    "DROP TABLE products CASCADE",
    "ALTER TABLE products RENAME TO former; CREATE VIEW products AS SELECT * FROM former",
    "ALTER TABLE products RENAME organisation_id TO tenant",
    "ALTER TABLE products DROP COLUMN name CASCADE",
], ids=["renamed", "dropped", "a-view-now", "other-column", "fewer-columns"])  # fmt: skip
def test_a_first_apply_stops_at_what_is_gone(plain: Callable[[], Database], harm: str) -> None:
    sandbox = Sandbox.unprovisioned(plain())
    with pytest.raises(ApplyFailed, match=r"table public\.products"):
        raced(sandbox, "table public.products", harm)
    with sandbox.database.connect(sandbox.spec.conversation) as conversation:
        for table in ("products", "former"):
            with pytest.raises(Exception, match=r"permission denied|does not exist"):
                conversation.execute(f"SELECT 1 FROM {table}")


def test_a_first_apply_protects_what_took_the_place(plain: Callable[[], Database]) -> None:
    """Policies and grants come in one transaction: another table under that name gets both."""
    sandbox = Sandbox.unprovisioned(plain())
    raced(sandbox, "table public.products", _REPLACED)
    sandbox.make_key()
    verdict = sandbox.attack("SELECT name FROM products")
    assert verdict.leaks == ()
    assert verdict.reply.rows


def test_a_partition_attached_meanwhile_is_covered(plain: Callable[[], Database]) -> None:
    sandbox = Sandbox.unprovisioned(plain())
    raced(sandbox, "table public.events",
          "CREATE TABLE later (LIKE events INCLUDING ALL); INSERT INTO later VALUES"
          " (2, '2001-01-01', gen_random_uuid(), 'CANARY_user', 'view', '/CANARY', 1);"
          " ALTER TABLE events ATTACH PARTITION later FOR VALUES FROM ('2001-01-01') TO ('2001-02-01')")  # fmt: skip
    sandbox.make_key()
    assert sandbox.attack("SELECT path FROM events").leaks == ()
    assert sandbox.attack("SELECT path FROM later").reply.state == "42501"
