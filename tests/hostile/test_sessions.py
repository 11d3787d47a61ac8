"""What a session carries from one context into the next: plans, cursors, settings, prepared names."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from rlsgen.catalog.connect import open_connection
from rlsgen.demo.shop import CONVERSATION
from rlsgen.errors import SpecError
from rlsgen.identifiers import fill, identifier
from tests.hostile.support import ALDER, BIRCH, Sandbox, send

READS = {
    "scoped": "SELECT name FROM products",
    "path": "SELECT quantity FROM order_items WHERE quantity > 900000 OR line = 2",
    "hidden-parent": "SELECT name FROM vault_entries",
    "tree": "SELECT name FROM folders",
    "partitioned": "SELECT path FROM events",
    "inherited": "SELECT plate FROM vehicles",
    "shared-rows": "SELECT name FROM templates",
    "view": "SELECT organisation_id, revenue FROM monthly_revenue",
    "join": "SELECT o.user_id, i.quantity FROM orders AS o JOIN order_items AS i ON i.order_id = o.id",
}
PARALLEL = (
    "SET LOCAL {} = on; SET LOCAL parallel_setup_cost = 0; SET LOCAL parallel_tuple_cost = 0;"
    " SET LOCAL min_parallel_table_scan_size = 0; SET LOCAL min_parallel_index_scan_size = 0;"
    " SET LOCAL max_parallel_workers_per_gather = 4; SET LOCAL parallel_leader_participation = off; "
)


def parallel(sandbox: Sandbox) -> str:
    """Settings under which the planner takes every chance for workers."""
    forced = "debug_parallel_query" if sandbox.database.server.version >= 16 else "force_parallel_mode"
    return PARALLEL.replace("{}", forced)


@pytest.mark.parametrize("mode", ["force_generic_plan", "auto", "force_custom_plan"])
@pytest.mark.parametrize("query", READS.values(), ids=READS)
def test_a_prepared_plan_follows_the_context(shared: Sandbox, query: str, mode: str) -> None:
    with psycopg.connect(shared.database.dsn(CONVERSATION), autocommit=True) as connection:
        send(connection, f"SET plan_cache_mode = {mode}; PREPARE p AS {query}")
        for _ in range(2):
            theirs = shared.attack("EXECUTE p; " * 6, BIRCH, connection=connection)
            assert theirs.leaks, "the other organisation sees its own canaries, or this proves nothing"
            ours = shared.attack("EXECUTE p; " * 6, ALDER, connection=connection)
            assert ours.leaks == ()
            assert len(ours.reply.rows) == 6 * len(shared.attack(query).reply.rows) > 0
            assert shared.attack("EXECUTE p", seal=False, connection=connection).reply.state == "42501"


@pytest.mark.parametrize("query", READS.values(), ids=READS)
def test_parallel_plans_see_the_same(shared: Sandbox, query: str) -> None:
    serial = shared.attack(f"SET LOCAL max_parallel_workers_per_gather = 0; {query}")
    split = shared.attack(parallel(shared) + query)
    assert split.leaks == ()
    assert split.reply.state == ""
    assert sorted(map(repr, split.reply.rows)) == sorted(map(repr, serial.reply.rows))
    assert serial.reply.rows


def test_those_plans_are_parallel(shared: Sandbox) -> None:
    plans = shared.attack(f"{parallel(shared)} EXPLAIN {READS['scoped']}; EXPLAIN {READS['partitioned']}").reply
    assert sum("Gather" in str(row) for row in plans.rows) >= 2


def test_functions_keep_no_context_in_their_plans(sandbox: Sandbox) -> None:
    sandbox.owner("CREATE FUNCTION public.names() RETURNS SETOF text LANGUAGE plpgsql STABLE AS"
                  " $$ BEGIN RETURN QUERY SELECT p.name FROM products AS p; END $$")  # fmt: skip
    with psycopg.connect(sandbox.database.dsn(CONVERSATION), autocommit=True) as connection:
        for _ in range(4):
            assert sandbox.attack("SELECT names(); SELECT names()", BIRCH, connection=connection).leaks
            assert sandbox.attack("SELECT names(); SELECT names()", ALDER, connection=connection).leaks == ()
            assert sandbox.attack("SELECT names()", seal=False, connection=connection).reply.state == "42501"


class TestCursors:
    HOLD = "DECLARE c CURSOR WITH HOLD FOR SELECT name FROM products; COMMIT; BEGIN"

    def test_a_held_cursor_refuses_the_next_context(self, shared: Sandbox) -> None:
        with psycopg.connect(shared.database.dsn(CONVERSATION), autocommit=True) as connection:
            shared.attack(self.HOLD, BIRCH, connection=connection)
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="context token refused"):
                shared.begin(connection, ALDER)
            connection.execute("ROLLBACK")
            send(connection, "CLOSE c")
            shared.begin(connection, ALDER)
            assert send(connection, "SELECT rlsgen.organisation_id()").rows == [("1",)]

    def test_nobody_is_let_in_by_a_held_cursor(self, shared: Sandbox) -> None:
        with psycopg.connect(shared.database.dsn(CONVERSATION), autocommit=True) as connection:
            shared.attack(self.HOLD, ALDER, connection=connection)
            verdict = shared.attack("FETCH ALL FROM c; SELECT name FROM products", seal=False, connection=connection)
            assert verdict.leaks == ()
            assert verdict.reply.state == "42501"

    def test_a_cursor_ends_with_its_transaction(self, shared: Sandbox) -> None:
        text = "DECLARE c CURSOR FOR SELECT name FROM products; COMMIT; FETCH ALL FROM c"
        assert shared.attack(text, BIRCH).reply.state == "34000"


class TestCommit:
    """The text may end our transaction. What follows has no context, and what is in between is gone."""

    @pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK", "COMMIT AND CHAIN", "ROLLBACK AND CHAIN", "END", "ABORT"])
    @pytest.mark.parametrize("begin", ["", "BEGIN;", "START TRANSACTION READ WRITE ISOLATION LEVEL SERIALIZABLE;"])
    def test_no_context_survives(self, shared: Sandbox, end: str, begin: str) -> None:
        verdict = shared.attack(f"{end}; {begin} SELECT name FROM products")
        assert verdict.leaks == ()
        assert (verdict.reply.state, verdict.reply.rows) == ("42501", [])

    def test_what_state_the_connection_is_in(self, shared: Sandbox) -> None:
        with psycopg.connect(shared.database.dsn(CONVERSATION), autocommit=True) as connection:
            for text, status in (
                ("COMMIT", TransactionStatus.IDLE),
                ("COMMIT AND CHAIN", TransactionStatus.INTRANS),
                ("COMMIT; BEGIN; SELECT 1/0", TransactionStatus.INERROR),
            ):
                shared.begin(connection)
                assert send(connection, text).status == status
                send(connection, "ROLLBACK")

    def test_session_settings_outlive_it_and_give_nothing(self, shared: Sandbox) -> None:
        keep = "SELECT set_config(name, setting, false) FROM pg_settings WHERE name LIKE 'app.%'"
        copies = ", ".join(
            f"set_config('app.{name}', current_setting('app.{name}'), false)"
            for name in ("organisation_id", "team_id", "user_id", "rlsgen_seal")
        )
        with psycopg.connect(shared.database.dsn(CONVERSATION), autocommit=True) as connection:
            shared.attack(f"SELECT {copies}; {keep}; COMMIT", BIRCH, connection=connection)
            assert send(connection, "SELECT current_setting('app.organisation_id')").rows == [("2",)]
            assert send(connection, "SELECT name FROM products").state == "42501"
            verdict = shared.attack("SELECT name FROM products", ALDER, connection=connection)
            assert verdict.leaks == ()
            assert verdict.reply.rows

    def test_two_phase_commit_is_no_way_out(self, shared: Sandbox) -> None:
        verdict = shared.attack("PREPARE TRANSACTION 'mine'; SELECT name FROM products")
        assert verdict.reply.state in ("55000", "42501")

    def test_the_extended_protocol_takes_one_statement(self, shared: Sandbox) -> None:
        assert shared.attack("SELECT 1; COMMIT", extended=True).reply.state == "42601"
        assert shared.attack("COMMIT", extended=True).leaks == ()


class TestDropOwned:
    """Before 18.7 and 15.20 DROP OWNED drops policies that name the role, restrictive ones too."""

    TEXT = "DROP OWNED BY CURRENT_USER; COMMIT"

    def test_privileges_of_its_own_stop_it(self, sandbox: Sandbox) -> None:
        """It would have to revoke what others granted on tables, and may not: then all of it is undone."""
        with sandbox.sealed() as connection:
            reply = send(connection, self.TEXT)
            send(connection, "ROLLBACK")
        assert reply.state == "42501"
        assert not sandbox.plan().transactions

    def test_without_them_nothing_opens_and_apply_repairs_it(self, sandbox: Sandbox) -> None:
        role = identifier(CONVERSATION)
        closed = (
            "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {0}; REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM {0}"
        )
        sandbox.owner(fill(closed, role) + "; GRANT SELECT ON products TO PUBLIC")
        with sandbox.sealed() as connection:
            assert send(connection, self.TEXT).state == ""
            send(connection, "BEGIN")
            assert send(connection, "SELECT name FROM products").rows == []
        assert sandbox.plan().transactions
        sandbox.apply()
        assert not sandbox.plan().transactions
        verdict = sandbox.attack("SELECT name FROM products")
        assert verdict.leaks == ()
        assert verdict.reply.rows


class TestAlterOwnRole:
    @pytest.fixture(autouse=True)
    def _reset(self, shared: Sandbox) -> object:
        yield
        role = identifier(CONVERSATION)
        shared.administrator(fill("ALTER ROLE {0} RESET ALL; ALTER ROLE {0} IN DATABASE {1} RESET ALL", role,
                                  identifier(shared.database.name)))  # fmt: skip

    @pytest.mark.parametrize("setting", [
        "row_security = off", "statement_timeout = 1", "search_path = 'pg_temp'", "default_transaction_read_only = off",
        "standard_conforming_strings = off", "transform_null_equals = on", "array_nulls = off", "bytea_output = escape",
        "plan_cache_mode = force_generic_plan", "DateStyle = 'SQL, DMY'", "TimeZone = 'Pacific/Kiritimati'",
    ])  # fmt: skip
    def test_settings_for_all_that_come_later(self, shared: Sandbox, setting: str) -> None:
        with psycopg.connect(shared.database.dsn(CONVERSATION), autocommit=True) as connection:
            assert send(connection, f"ALTER ROLE CURRENT_USER SET {setting}").state == ""
        with pytest.raises(SpecError, match="has settings of its own"):
            shared.plan()
        with psycopg.connect(shared.database.dsn(CONVERSATION), autocommit=True) as later:
            send(later, "SET statement_timeout = 0")
            verdict = shared.attack("SELECT name FROM public.products", connection=later)
        assert verdict.leaks == ()
        assert verdict.reply.rows or verdict.reply.state == "42501"

    def test_not_the_settings_of_a_context(self, shared: Sandbox) -> None:
        with psycopg.connect(shared.database.dsn(CONVERSATION), autocommit=True) as connection:
            for setting in ("app.organisation_id", "app.rlsgen_seal"):
                assert send(connection, f"ALTER ROLE CURRENT_USER SET {setting} = '2'").state == "42501"

    def test_read_only_stops_it(self, shared: Sandbox) -> None:
        with psycopg.connect(shared.database.dsn(CONVERSATION), autocommit=True) as connection:
            send(connection, "BEGIN READ ONLY")
            assert send(connection, "ALTER ROLE CURRENT_USER SET row_security = off").state == "25006"


class TestHijackedNames:
    """THREATS D: hostile text takes the name of a statement that a driver prepared for everybody's use."""

    def test_what_it_steals_is_no_context(self, shared: Sandbox) -> None:
        """The next conversation's token goes to the hostile statement; that conversation has no context, and fails."""
        with psycopg.connect(shared.database.dsn(CONVERSATION), autocommit=True) as connection:
            send(connection, "PREPARE _pg3_0 (text) AS SELECT rlsgen.set_context($1)")
            shared.attack("DEALLOCATE _pg3_0; PREPARE _pg3_0 (text) AS SELECT set_config('mine.token', $1, false)",
                          BIRCH, connection=connection)  # fmt: skip
            send(connection, "BEGIN")
            assert send(connection, f"EXECUTE _pg3_0('{shared.token()}')").state == ""
            assert send(connection, "SELECT name FROM products").state == "42501"
            send(connection, "ROLLBACK")
            # The session's setting went with the transaction, and the token with it.
            assert send(connection, "SELECT current_setting('mine.token', true)").rows in ([("",)], [(None,)])

    def test_our_own_connections_prepare_nothing_by_name(self, shared: Sandbox) -> None:
        with open_connection(shared.database.dsn()) as connection:
            for _ in range(8):
                connection.execute("SELECT %s::integer", [1])
            assert connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)

    def test_discard_all_ends_it(self, shared: Sandbox) -> None:
        with psycopg.connect(shared.database.dsn(CONVERSATION), autocommit=True) as connection:
            shared.attack(
                "PREPARE mine AS SELECT 1; COMMIT; DECLARE c CURSOR WITH HOLD FOR SELECT 1", connection=connection
            )
            send(connection, "DISCARD ALL")
            assert send(connection, "EXECUTE mine").state == "26000"
