"""Whatever somebody changes by hand is seen by plan, closed by apply, and gone from the next plan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from rlsgen.errors import SpecError
from tests.shapes.conftest import clone
from tests.shapes.harness import TEXT, Case, assert_isolated, assert_nothing_to_do, changed, rows
from tests.shapes.truth import CONTEXTS, TRUTH
from tests.support.postgres import Databases


@dataclass(frozen=True)
class Drift:
    """What is done by hand, what the plan then names, and the tables to look at afterwards."""

    sql: str
    named: str
    tables: tuple[str, ...] = ("p_orders",)
    leaks: bool = False  # without a repair the conversation would see too much: shown before apply
    superuser: bool = False

    def __str__(self) -> str:
        return self.sql


THREE = "k_three"
_A = "organisation_id = (SELECT rlsgen.organisation_id())"
_B = "organisation_id IS NULL AND team_id IN (SELECT id FROM teams)"
_C = "team_id = (SELECT rlsgen.team_id()) OR user_id = (SELECT rlsgen.user_id())"
BOTH = "ALTER POLICY rlsgen_only_select ON {0} USING ({1}); ALTER POLICY rlsgen_allow_select ON {0} USING ({1})"

DRIFTS = [
    # Policies
    Drift(BOTH.format("p_orders", "true"), "policy rlsgen_only_select on public.p_orders", leaks=True),
    Drift("ALTER POLICY rlsgen_allow_select ON p_orders USING (organisation_id < 99)", "policy rlsgen_allow_select"),
    Drift("ALTER POLICY rlsgen_allow_select ON p_orders TO PUBLIC", "policy rlsgen_allow_select"),
    Drift("ALTER POLICY rlsgen_only_select ON p_orders TO nl_conversation, shop_app", "policy rlsgen_only_select"),
    Drift("ALTER POLICY rlsgen_only_insert ON p_orders WITH CHECK (true)", "policy rlsgen_only_insert"),
    Drift("ALTER POLICY rlsgen_only_update ON w_items WITH CHECK (true)", "policy rlsgen_only_update", ("w_items",)),
    Drift("DROP POLICY rlsgen_only_delete ON p_orders", "policy rlsgen_only_delete on public.p_orders"),
    Drift("DROP POLICY rlsgen_allow_select ON p_items", "policy rlsgen_allow_select on public.p_items", ("p_items",)),
    Drift(
        "DROP POLICY rlsgen_only_select ON p_orders; CREATE POLICY rlsgen_only_select ON p_orders AS PERMISSIVE FOR SELECT"
        f" TO nl_conversation USING ({_A})", "policy rlsgen_only_select",
    ),
    Drift(
        "DROP POLICY rlsgen_only_select ON p_orders; CREATE POLICY rlsgen_only_select ON p_orders AS RESTRICTIVE FOR INSERT"
        " TO nl_conversation WITH CHECK (false)", "policy rlsgen_only_select",
    ),
    Drift("CREATE POLICY rlsgen_more ON p_orders TO nl_conversation USING (true)", "policy rlsgen_more"),
    Drift(BOTH.format(THREE, f"({_A} OR ({_B})) AND ({_C})").replace("ALTER POLICY rlsgen_allow", "SELECT 1; ALTER POLICY rlsgen_allow")
          .replace(f"({_A} OR ({_B})) AND ({_C})", f"{_A} OR ({_B} AND ({_C}))"), "policy rlsgen_only_select", (THREE,), leaks=True),
    Drift(BOTH.format("k_integer", "organisation_id::bigint = (SELECT rlsgen.organisation_id())::bigint"), "rlsgen_only_select", ("k_integer",)),
    Drift(BOTH.format("k_integer", "organisation_id = rlsgen.organisation_id()"), "rlsgen_only_select", ("k_integer",)),
    # Row security itself
    Drift("ALTER TABLE p_orders DISABLE ROW LEVEL SECURITY", "row security of public.p_orders", leaks=True),
    Drift("ALTER TABLE r_events DISABLE ROW LEVEL SECURITY", "row security of public.r_events", ("r_events",), leaks=True),
    Drift("ALTER TABLE p_orders FORCE ROW LEVEL SECURITY", "forced row security of public.p_orders"),
    Drift("ALTER TABLE x_replaced NO FORCE ROW LEVEL SECURITY", "forced row security of public.x_replaced", ("x_replaced",)),
    # Privileges of the role
    Drift("GRANT SELECT ON c_people TO nl_conversation", "SELECT on public.c_people for nl_conversation", ("c_people",)),
    Drift("GRANT ALL ON p_orders TO nl_conversation", "on public.p_orders for nl_conversation"),
    Drift("GRANT SELECT (password_hash) ON c_people TO nl_conversation", "SELECT (1 columns) on public.c_people", ("c_people",)),
    Drift("GRANT INSERT (id) ON s_null TO nl_conversation", "INSERT (1 columns) on public.s_null", ("s_null",)),
    Drift("GRANT SELECT ON x_queue, m_counts, h_secrets TO nl_conversation", "on public.h_secrets"),
    Drift("GRANT SELECT (id) ON h_secrets TO nl_conversation", "on public.h_secrets"),
    Drift("GRANT SELECT ON v_everything TO nl_conversation", "on public.v_everything"),
    Drift("GRANT SELECT ON r_events_2026_1 TO nl_conversation", "on public.r_events_2026_1"),
    Drift("GRANT SELECT, UPDATE ON SEQUENCE w_items_id_seq TO nl_conversation", "on public.w_items_id_seq", ("w_items",)),
    Drift("REVOKE USAGE ON SEQUENCE w_items_id_seq FROM nl_conversation", "on public.w_items_id_seq", ("w_items",)),
    Drift("REVOKE SELECT (number) ON p_orders FROM nl_conversation", "SELECT (1 columns) on public.p_orders"),
    Drift("GRANT SELECT (number) ON p_orders TO nl_conversation WITH GRANT OPTION", "public.p_orders"),
    Drift("GRANT CREATE ON SCHEMA billing TO nl_conversation", "schema billing"),
    Drift("GRANT CREATE ON SCHEMA rlsgen TO nl_conversation", "schema rlsgen"),
    Drift("GRANT USAGE ON SCHEMA public TO nl_conversation WITH GRANT OPTION", "schema public"),
    Drift("GRANT USAGE ON SCHEMA rlsgen_private TO nl_conversation", "rlsgen_private"),
    Drift("REVOKE USAGE ON SCHEMA billing FROM nl_conversation", "USAGE on schema billing", ("billing.invoices",)),
    Drift("REVOKE USAGE ON SCHEMA rlsgen FROM nl_conversation", "USAGE on schema rlsgen"),
    Drift("CREATE FUNCTION f_plain() RETURNS integer LANGUAGE sql RETURN 1; GRANT EXECUTE ON FUNCTION f_plain() TO nl_conversation",
          "f_plain"),
    Drift("GRANT USAGE ON TYPE region TO nl_conversation", "region"),
    Drift("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO nl_conversation", "default SELECT on tables"),
    Drift('ALTER DEFAULT PRIVILEGES IN SCHEMA "Odd. schema" GRANT USAGE ON SEQUENCES TO nl_conversation', "default USAGE on sequences"),
    # ... and of everybody
    Drift("GRANT SELECT ON p_orders TO PUBLIC", "SELECT on table public.p_orders from PUBLIC"),
    Drift("GRANT INSERT, DELETE ON w_items TO PUBLIC", "from PUBLIC", ("w_items",)),
    Drift("GRANT SELECT (password_hash) ON c_people TO PUBLIC", "from PUBLIC", ("c_people",)),
    Drift("GRANT USAGE ON SEQUENCE w_items_id_seq TO PUBLIC", "from PUBLIC", ("w_items",)),
    Drift("GRANT CREATE ON SCHEMA public TO PUBLIC", "CREATE on schema public from PUBLIC"),
    Drift("CREATE FUNCTION f_definer() RETURNS bigint LANGUAGE sql SECURITY DEFINER RETURN 1", "f_definer"),
    Drift("GRANT ALL ON rlsgen.object TO PUBLIC", "schemas rlsgen"),
    Drift("GRANT SELECT (before) ON rlsgen.object TO PUBLIC", "schemas rlsgen"),
    Drift("GRANT UPDATE ON rlsgen.provision TO PUBLIC", "schemas rlsgen"),
    Drift("GRANT USAGE ON SCHEMA rlsgen TO PUBLIC", "schema rlsgen"),
    # The sealed context
    Drift("CREATE OR REPLACE FUNCTION rlsgen.organisation_id() RETURNS integer LANGUAGE sql STABLE AS 'SELECT 2'",
          "function rlsgen.organisation_id()", leaks=True),
    Drift("ALTER FUNCTION rlsgen.organisation_id() RESET search_path", "function rlsgen.organisation_id()"),
    Drift("ALTER FUNCTION rlsgen.set_context(text) SET search_path = public", "function rlsgen.set_context"),
    Drift("ALTER FUNCTION rlsgen.user_id() SECURITY INVOKER", "function rlsgen.user_id()"),
    Drift("ALTER FUNCTION rlsgen.user_id() PARALLEL SAFE", "function rlsgen.user_id()"),
    Drift("GRANT EXECUTE ON FUNCTION rlsgen.set_context(text) TO PUBLIC", "EXECUTE on function rlsgen.set_context"),
    Drift("REVOKE EXECUTE ON FUNCTION rlsgen.set_context(text) FROM nl_conversation", "EXECUTE on function rlsgen.set_context"),
    Drift("GRANT EXECUTE ON FUNCTION rlsgen.set_context(text) TO nl_conversation WITH GRANT OPTION", "the right to grant EXECUTE"),
    Drift("GRANT CREATE, USAGE ON SCHEMA billing TO nl_conversation WITH GRANT OPTION", "the right to grant USAGE on schema billing"),
    Drift("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA rlsgen_private TO nl_conversation", "rlsgen_private"),
    Drift("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA rlsgen_private TO PUBLIC", "rlsgen"),
    Drift("DROP FUNCTION rlsgen.user_id() CASCADE", "function rlsgen.user_id()", ("k_text", "w_notes")),
    Drift("CREATE OR REPLACE FUNCTION rlsgen_private.assert_true(fact boolean, message text, hint text) RETURNS void"
          " LANGUAGE sql AS 'SELECT'", "schemas rlsgen"),
    Drift("DROP FUNCTION rlsgen_private.forget(text, text, text, text)", "schemas rlsgen"),
    Drift("CREATE FUNCTION rlsgen.stray() RETURNS integer LANGUAGE sql SECURITY DEFINER RETURN 1", "rlsgen.stray"),
    Drift("GRANT SELECT ON rlsgen_private.signing_key TO nl_conversation", "rlsgen_private.signing_key"),
    Drift("GRANT SELECT ON rlsgen_private.seal_key TO shop_app", "schemas rlsgen"),
    Drift("GRANT SELECT (inner_pad) ON rlsgen_private.seal_key TO PUBLIC", "schemas rlsgen"),
    Drift("ALTER TABLE rlsgen_private.seal_key DISABLE ROW LEVEL SECURITY", "schemas rlsgen"),
    Drift("CREATE POLICY p ON rlsgen_private.seal_key USING (true)", "schemas rlsgen"),
    Drift("ALTER TABLE rlsgen_private.seal_key ALTER inner_pad SET STATISTICS 100", "schemas rlsgen"),
    # The ledger
    Drift("DELETE FROM rlsgen.object WHERE relation_name = 'p_orders' AND kind = 'policy'", "public.p_orders"),
    Drift("UPDATE rlsgen.object SET source = 'x' WHERE relation_name = 'p_orders' AND kind = 'policy'", "public.p_orders"),
    Drift("DELETE FROM rlsgen.object WHERE kind = 'function'", "function rlsgen.organisation_id"),
    Drift("UPDATE rlsgen.provision SET fingerprint = ''", "fingerprint"),
    # Views, columns, statistics
    Drift("CREATE OR REPLACE VIEW v_orders AS SELECT id, organisation_id, number FROM p_orders", "view public.v_orders: security_invoker",
          ("v_orders", "v_totals"), leaks=True),
    Drift("ALTER VIEW v_already RESET (security_invoker)", "view public.v_already: security_invoker", ("v_already",), leaks=True),
    Drift("ALTER VIEW v_orders SET (security_invoker = off)", "view public.v_orders: security_invoker", ("v_orders",), leaks=True),
    Drift("CREATE OR REPLACE VIEW v_totals WITH (security_invoker = on) AS SELECT v.organisation_id, count(*) AS orders,"
          " sum(i.quantity) AS quantity, 1 AS more FROM v_orders AS v JOIN p_items AS i ON i.order_id = v.id GROUP BY v.organisation_id",
          "public.v_totals for", ("v_totals",)),
    Drift("ALTER TABLE p_items ADD COLUMN note text DEFAULT 'secret'", "SELECT (1 columns) on public.p_items", ("p_items",)),
    Drift("ALTER TABLE s_null ADD COLUMN note text", "INSERT (1 columns), SELECT (1 columns), UPDATE (1 columns) on public.s_null", ("s_null",)),
    Drift("ALTER TABLE c_people ALTER email SET STATISTICS -1; ANALYZE c_people", "statistics", ("c_people",)),
    Drift("GRANT TEMPORARY, CREATE ON DATABASE {database} TO nl_conversation", "database"),
    Drift("GRANT TEMPORARY ON DATABASE {database} TO PUBLIC", "TEMPORARY on database"),
]  # fmt: skip


@pytest.fixture(scope="module")
def kept() -> list[Case]:
    """The database that the drifts share, as long as each puts it right."""
    return []


@pytest.fixture
def drifting(kept: list[Case], module_databases: Databases, provisioned_template: str) -> Iterator[Case]:
    """A provisioned database; after a failure, the next test gets a new one."""
    case = kept.pop() if kept else clone(module_databases, provisioned_template)
    case.settled = False
    yield case
    if case.settled:
        kept.append(case)


@pytest.mark.parametrize("drift", DRIFTS, ids=str)
def test_a_change_by_hand_is_seen_and_repaired(drifting: Case, drift: Drift) -> None:
    drifting.key  # noqa: B018  (made while there is nothing wrong)
    with drifting.admin.transaction():
        drifting.admin.execute(drift.sql.replace("{database}", f'"{drifting.database.name}"').encode())
    if drift.leaks:
        with pytest.raises(AssertionError):
            assert_isolated(drifting, drift.tables, refused=False)
    assert drift.named in drifting.plan().to_text()
    drifting.apply()
    assert_nothing_to_do(drifting)
    assert_isolated(drifting, drift.tables, CONTEXTS[:2])
    drifting.settled = True


def test_after_all_that_everything_is_right(drifting: Case) -> None:
    assert_nothing_to_do(drifting)
    assert_isolated(drifting)


PROBLEMS = [
    ("ALTER POLICY rlsgen_only_update ON w_items RENAME TO mine_now", "ALTER POLICY mine_now ON w_items RENAME TO rlsgen_only_update",
     "table public.w_items already has policies: mine_now"),
    ("GRANT SELECT ON x_queue TO PUBLIC", "REVOKE SELECT ON x_queue FROM PUBLIC", "public.x_queue is hidden, but everybody may read it"),
    ("GRANT SELECT (id) ON x_queue TO PUBLIC", "REVOKE SELECT (id) ON x_queue FROM PUBLIC", "public.x_queue is hidden"),
    ("GRANT SELECT ON v_everything TO PUBLIC", "REVOKE SELECT ON v_everything FROM PUBLIC", "public.v_everything is not declared"),
    ("CREATE TABLE forgotten (id integer)", "DROP TABLE forgotten", "table public.forgotten is not declared"),
    ("CREATE POLICY theirs ON p_orders USING (true)", "DROP POLICY theirs ON p_orders", "table public.p_orders already has policies: theirs"),
    ("ALTER TABLE p_items RENAME COLUMN order_id TO o", "ALTER TABLE p_items RENAME COLUMN o TO order_id", "column order_id of public.p_items"),
    ("ALTER TABLE p_items RENAME TO items", "ALTER TABLE items RENAME TO p_items", "table p_items does not exist"),
    ("ALTER TABLE teams SET SCHEMA rlsgen", "ALTER TABLE rlsgen.teams SET SCHEMA public", "teams"),
    ("GRANT shop_app TO nl_conversation", "REVOKE shop_app FROM nl_conversation", "is a member of shop_app"),
    ("ALTER ROLE nl_conversation SET work_mem = '1MB'", "ALTER ROLE nl_conversation RESET work_mem", "settings of its own: work_mem"),
    ("ALTER TABLE f_countries OWNER TO nl_conversation",
     "ALTER TABLE f_countries OWNER TO shop_owner; GRANT SELECT (code, name) ON f_countries TO nl_conversation", "owns table"),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "undo", "said"), PROBLEMS)
def test_what_apply_must_not_decide_is_a_problem(drifting: Case, sql: str, undo: str, said: str) -> None:
    server = drifting.database.server
    try:
        with server.administer(drifting.database.name) as superuser:
            superuser.execute(sql.encode())
        with pytest.raises(SpecError) as refusal:
            drifting.apply()
        assert said in str(refusal.value)
    finally:
        with server.administer(drifting.database.name) as superuser:
            superuser.execute(undo.encode())
    assert_nothing_to_do(drifting)
    drifting.settled = True


def test_a_renamed_table_follows_its_new_name_and_destroy_still_closes_it(own: Case) -> None:
    own.admin.execute("ALTER TABLE p_orders RENAME TO sales; ALTER TABLE w_items RENAME TO lines")
    renamed = changed(text=TEXT.replace("p_orders", "sales").replace("w_items", "lines"))
    assert "public.sales" in own.plan(renamed).to_text()
    own.apply(renamed)
    assert_nothing_to_do(own)
    for context in CONTEXTS[:3]:
        with own.conversation(context) as talker:
            seen = rows(talker, "SELECT id FROM sales")
            assert seen == rows(own.admin, "SELECT id FROM sales WHERE organisation_id = %(organisationId)s", context)
            rest = [table for table in TRUTH if "p_orders" not in TRUTH[table][1] and "w_items" not in TRUTH[table][1]]
    assert_isolated(own, rest, refused=False)
    own.destroy()
    assert rows(own.admin, "SELECT relname FROM pg_class WHERE relrowsecurity") == [("x_kept",), ("x_replaced",)]
    assert rows(own.admin, "SELECT attrelid::regclass::text FROM pg_attribute, aclexplode(attacl) a"
                           " WHERE a.grantee = 'nl_conversation'::regrole") == []  # fmt: skip


def test_a_table_that_is_dropped_and_made_again_is_protected_again(own: Case) -> None:
    own.admin.execute("""
        CREATE TABLE copy AS SELECT * FROM w_notes; DROP TABLE w_notes;
        CREATE TABLE w_notes (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id text NOT NULL, body text);
        INSERT INTO w_notes OVERRIDING SYSTEM VALUE SELECT * FROM copy; DROP TABLE copy""")
    assert "policy rlsgen_only_select on public.w_notes" in own.plan().to_text()
    own.apply()
    assert_nothing_to_do(own)
    assert_isolated(own, ["w_notes"])
