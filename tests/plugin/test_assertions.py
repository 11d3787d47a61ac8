"""Assertions pass where isolation holds, and fail where it does not."""

from __future__ import annotations

from tests.plugin.conftest import Run

BROKEN = """
import pytest
from rlsgen.testing import assert_isolated

def test_no_row_security(isolated_database):
    with isolated_database.connect() as owner:
        owner.execute("ALTER TABLE orders DISABLE ROW LEVEL SECURITY")
    assert_isolated(isolated_database)

def test_a_policy_that_lets_all_through(isolated_database):
    with isolated_database.connect() as owner:
        for name, in owner.execute("SELECT polname FROM pg_policy WHERE polrelid = 'order_items'::regclass").fetchall():
            owner.execute(f'DROP POLICY "{name}" ON order_items')
        owner.execute("CREATE POLICY all_of_them ON order_items USING (true)")
    assert_isolated(isolated_database, tables=["order_items"])

def test_rows_that_are_missing(isolated_database):
    with isolated_database.connect() as owner:
        owner.execute("CREATE POLICY fewer ON events AS RESTRICTIVE USING (id < 4)")
    assert_isolated(isolated_database, tables=["events"])

def test_no_such_table(isolated_database):
    assert_isolated(isolated_database, tables=["invoices"])

def test_a_table_that_the_spec_forgets(isolated_database):
    with isolated_database.connect() as owner:
        owner.execute("DROP TABLE order_items")
    assert_isolated(isolated_database)

def test_other_tables_do_not_matter(isolated_database):
    with isolated_database.connect() as owner:
        owner.execute("ALTER TABLE orders DISABLE ROW LEVEL SECURITY")
    assert_isolated(isolated_database, tables=["events"])
"""


def test_assert_isolated_fails(run_on_clones: Run) -> None:
    result = run_on_clones(BROKEN)
    result.assert_outcomes(passed=1, failed=5)
    text = result.stdout.str()
    for line in (
        "public.orders: leak: ",
        "public.order_items: leak: ",
        "public.events: failed: ",
        "invoices: no such table was compared; verify knows ",
        "the spec does not fit the database",
    ):
        assert line in text, line


REFUSED = """
import psycopg, pytest, sqlalchemy
from rlsgen.errors import StatementRefused
from rlsgen.testing import assert_refused

ONE = {"organisationId": 1}

def test_all_kinds(conversation, as_context, isolated_database):
    talk = conversation(ONE)
    with assert_refused(reason="relation", match="api_keys") as refused:
        talk.query("SELECT * FROM api_keys")
    assert isinstance(refused.error, StatementRefused)
    with as_context(ONE) as connection, assert_refused():
        connection.execute("UPDATE orders SET organisation_id = 2")
    engine = sqlalchemy.create_engine(isolated_database.url(isolated_database.conversation))
    with assert_refused(match="no tenant context"), engine.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT * FROM orders"))
    engine.dispose()

def test_it_ran(conversation):
    with assert_refused():
        conversation(ONE).query("SELECT * FROM orders")

def test_it_changed_nothing(as_context):
    with as_context(ONE) as connection, assert_refused():
        connection.execute("UPDATE orders SET total = 1 WHERE organisation_id = 2")

def test_a_mistake(as_context):
    with as_context(ONE) as connection, assert_refused():
        connection.execute("SELECT * FROM no_such_table")

@pytest.mark.parametrize("mistake", [
    "SELECT * FROM api_kyes", "SELECT * FROM nowhere.api_keys", "SELECT no_such_function()",
    "SELECT id::inteegr FROM orders", "UPDATE orders SET organization_id = 2",
    "SELEC * FROM api_keys", "SELECT * FROM orders WHERE", " ",
])
def test_a_mistake_that_the_guard_refuses(conversation, mistake):
    with assert_refused():
        conversation(ONE).query(mistake)

def test_a_table_that_is_gone(conversation):
    with assert_refused(reason="relation"):
        conversation(ONE).query("SELECT * FROM api_kyes")

def test_a_syntax_error_on_purpose(conversation):
    with assert_refused(reason="syntax"):
        conversation(ONE).query("SELEC * FROM orders")

def test_names_that_exist(conversation):
    for statement in (
        "SELECT pg_read_file('/etc/passwd')", "SELECT rolpassword FROM pg_authid", "SELECT xmin FROM orders",
        "SELECT 'orders'::regclass", "SELECT * FROM events_1", "SELECT 1; DELETE FROM no_such_table",
        "SELECT passwd FROM pg_shadow WHERE usename = $1",
    ):
        with assert_refused():
            conversation(ONE).query(statement, ["x"] if "$1" in statement else [])

def test_another_reason(conversation):
    with assert_refused(reason="function"):
        conversation(ONE).query("SELECT * FROM api_keys")

def test_other_words(conversation):
    with assert_refused(match="pg_authid"):
        conversation(ONE).query("SELECT * FROM api_keys")

def test_interrupted():
    with pytest.raises(KeyboardInterrupt), assert_refused():
        raise KeyboardInterrupt
"""


def test_assert_refused(run_on_clones: Run) -> None:
    result = run_on_clones(REFUSED)
    result.assert_outcomes(passed=4, failed=14)
    text = result.stdout.str()
    for line in (
        'AssertionError: not refused, but mistaken, since nobody could run it: relation "api_kyes" does not exist',
        'not refused, but mistaken, since nobody could run it: syntax error at or near "SELEC"',
        "AssertionError: not refused: the block ran to its end",
        "AssertionError: not refused, but failed: UndefinedTable: ",
        "AssertionError: refused, but for another reason: relation, not function: ",
        "AssertionError: refused, but without saying 'pg_authid': ",
    ):
        assert line in text, line
