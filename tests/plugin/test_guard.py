"""The guard: a test whose statement touches a scoped table without a context fails, whatever sent it."""

from __future__ import annotations

import pytest

from rlsgen.identifiers import identifier
from rlsgen.testing.touched import touched
from rlsgen.testing.watch import plain
from tests.plugin.conftest import Run

FAILING = """
import asyncio, threading
import psycopg, pytest, sqlalchemy
from psycopg import sql
from sqlalchemy.ext.asyncio import create_async_engine

@pytest.fixture(scope="module")
def isolated_database(rlsgen_template):  # one for all of these
    with rlsgen_template.clone() as database:
        yield database

@pytest.fixture(scope="module")
def dsn(isolated_database):
    with isolated_database.connect() as owner:  # fixtures may: they make every tenant's rows
        owner.execute("SELECT * FROM orders")
        owner.execute("CREATE VIEW all_orders AS SELECT * FROM orders")
        owner.execute("CREATE VIEW behind WITH (check_option = local, security_invoker) AS SELECT * FROM all_orders")
        owner.execute("CREATE MATERIALIZED VIEW stored AS SELECT * FROM orders")
        owner.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO plugin_app")
        owner.execute("GRANT SELECT ON all_orders, behind, stored, events_1 TO plugin_conversation")
    return isolated_database.dsn("plugin_app")

def in_a_server_cursor(connection):
    with connection.cursor(name="x") as cursor:
        cursor.execute("SELECT * FROM orders")

def in_a_pipeline(connection):
    with connection.pipeline():
        connection.execute("SELECT 1")
        connection.execute("SELECT * FROM orders")

STATEMENTS = {
    "plain": lambda c: c.execute("SELECT * FROM orders"),
    "bytes": lambda c: c.execute(b"SELECT * FROM public.orders"),
    "composed": lambda c: c.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier("orders"))),
    "parameters": lambda c: c.execute("SELECT * FROM orders WHERE id = %s", [1]),
    "named parameters": lambda c: c.execute("SELECT * FROM orders WHERE id = %(id)s", {"id": 1}),
    "raw cursor": lambda c: psycopg.RawCursor(c).execute("SELECT * FROM orders WHERE id = $1", [1]),
    "client cursor": lambda c: psycopg.ClientCursor(c).execute("SELECT * FROM orders WHERE id = %s", [1]),
    "server cursor": in_a_server_cursor,
    "pipeline": in_a_pipeline,
    "many": lambda c: c.cursor().executemany("UPDATE orders SET total = %s", ([i] for i in range(2))),
    "copy": lambda c: c.cursor().copy("COPY orders TO STDOUT").__enter__(),
    "stream": lambda c: list(c.cursor().stream("SELECT * FROM orders")),
    "view": lambda c: c.execute("SELECT * FROM all_orders"),
    "view of the spec": lambda c: c.execute("SELECT * FROM big_orders"),
    "partition": lambda c: c.execute("SELECT * FROM events_1"),
    "subquery": lambda c: c.execute("SELECT (SELECT count(*) FROM order_items)"),
    "insert": lambda c: c.execute("INSERT INTO orders VALUES (100, 1, 1)"),
    "truncate": lambda c: c.execute("TRUNCATE events"),
    "two": lambda c: c.execute("SELECT 1; DELETE FROM order_items"),
}

@pytest.mark.parametrize("statement", STATEMENTS)
def test_psycopg(dsn, statement):
    with psycopg.connect(dsn) as connection:
        STATEMENTS[statement](connection)

def test_swallowed(dsn):
    with psycopg.connect(dsn) as connection:
        try:
            connection.execute("SELECT * FROM orders")
        except Exception:
            pass

def test_an_error_that_hides_it(dsn):
    with psycopg.connect(dsn) as connection:
        try:
            connection.execute("SELECT * FROM orders")
        except Exception:
            raise LookupError("500 Internal Server Error") from None

def test_thread(dsn):
    def work():
        with psycopg.connect(dsn) as connection, pytest.raises(AssertionError):
            connection.execute("SELECT * FROM orders")
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

def test_async(dsn):
    async def main():
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            await connection.execute("SELECT * FROM orders")
    asyncio.run(main())

def test_async_pipeline(dsn):
    async def main():
        async with await psycopg.AsyncConnection.connect(dsn) as connection, connection.pipeline():
            await connection.execute("SELECT 1")
            await connection.cursor().executemany("UPDATE orders SET total = %s", [[1], [2]])
    asyncio.run(main())

@pytest.mark.parametrize("name", ["all_orders", "behind", "stored", "events_1"])
def test_a_context_that_does_not_reach_the_table(dsn, as_context, name):
    with as_context({"organisationId": 1}) as connection:
        connection.execute(f"SELECT * FROM {name}")

def test_sqlalchemy(isolated_database, dsn):
    engine = sqlalchemy.create_engine(isolated_database.url("plugin_app"), poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT * FROM orders WHERE id = :id"), {"id": 1})

def test_sqlalchemy_async(isolated_database, dsn):
    async def main():
        engine = create_async_engine(isolated_database.url("plugin_app"), poolclass=sqlalchemy.NullPool)
        async with engine.connect() as connection:
            await connection.execute(sqlalchemy.text("SELECT * FROM orders"))
    asyncio.run(main())

def test_the_conversation_role_without_a_context(isolated_database):
    with psycopg.connect(isolated_database.dsn("plugin_conversation")) as connection:
        connection.execute("SELECT * FROM orders")
"""

PASSING = """
import asyncio
import psycopg, pytest
from rlsgen.testing import assert_refused, unscoped

ONE = {"organisationId": 1}

def test_conversations(conversation, as_context):
    assert len(conversation(ONE).query("SELECT * FROM orders").rows) == 4
    with as_context(ONE) as connection:
        assert len(connection.execute("SELECT * FROM big_orders").fetchall()) == 3
        with connection.cursor().copy("COPY (SELECT * FROM orders) TO STDOUT") as copy:
            assert len(list(copy)) == 4
        assert len(list(connection.cursor().stream("SELECT * FROM orders WHERE id > %s", [2]))) == 3

def test_conversations_of_asyncio(as_context, async_conversation):
    async def main():
        async with as_context(ONE) as connection, async_conversation(ONE) as talk:
            rows = await (await connection.execute("SELECT * FROM orders")).fetchall()
            assert rows == (await talk.query("SELECT * FROM orders")).rows
    asyncio.run(main())

def test_what_the_server_refuses(isolated_database, as_context):
    with isolated_database.connect() as owner, unscoped("makes what nobody may read"):
        owner.execute("CREATE VIEW all_orders AS SELECT * FROM orders")
    for name in ("all_orders", "events_1", "api_keys"):
        with as_context(ONE) as connection, assert_refused(match=name):
            connection.execute(f"SELECT * FROM {name}")

def test_pipeline(as_context):
    with as_context(ONE) as connection, connection.pipeline():
        cursors = [connection.execute("SELECT * FROM orders") for _ in range(2)]
        assert [len(each.fetchall()) for each in cursors] == [4, 4]

def test_other_tables(isolated_database):
    with isolated_database.connect("plugin_owner") as owner:
        owner.execute("SELECT * FROM countries, api_keys, pg_class")
        owner.execute("WITH orders AS (SELECT 1) SELECT * FROM orders")
        owner.execute("ALTER TABLE orders ADD COLUMN note text")
        owner.execute("CREATE TABLE notes (id integer)")
        with pytest.raises(psycopg.errors.SyntaxError):
            owner.execute("SELEC * FROM orders")
        with pytest.raises(psycopg.ProgrammingError):
            owner.execute("SELECT * FROM countries WHERE code = %s", [1, 2])

def test_a_block(isolated_database):
    with isolated_database.connect("plugin_owner") as owner, unscoped("counts for the report of all tenants"):
        owner.execute("SELECT count(*) FROM orders")

def test_a_block_needs_a_reason():
    with pytest.raises(ValueError, match="say why"), unscoped(" "):
        pass

@pytest.mark.rlsgen_unscoped("the nightly export reads all")
def test_a_marker(isolated_database):
    with isolated_database.connect("plugin_owner") as owner:
        owner.execute("SELECT count(*) FROM orders")
"""


def test_what_the_guard_fails(run_on_clones: Run) -> None:
    result = run_on_clones(FAILING, "rlsgen_guard = true")
    outcomes = result.parseoutcomes()
    assert outcomes == {"failed": 31}, result.stdout.str()[-4000:]
    text = result.stdout.str()
    for line in (
        "a statement touches scoped tables without a context: public.orders",
        "no filter of the spec holds there for the role plugin_app",
        "the transaction of plugin_conversation has no context",
        "without a context: public.events",
        "without a context: public.order_items",
        "LookupError: 500 Internal Server Error",
        "say why: `with unscoped(",
    ):
        assert line in text, line


def test_what_the_guard_lets_pass(run_on_clones: Run) -> None:
    run_on_clones(PASSING, "rlsgen_guard = true").assert_outcomes(passed=8)


OTHER_DRIVER = """
import asyncio
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine

def rows(database, role, token=None):
    async def main():
        engine = create_async_engine(database.url(role, driver="asyncpg"), poolclass=sqlalchemy.NullPool)
        async with engine.connect() as connection:
            if token:
                await connection.execute(sqlalchemy.text("SELECT rlsgen.set_context(:t)"), {"t": token})
            query = sqlalchemy.text("SELECT * FROM orders WHERE id > :id")
            return (await connection.execute(query, {"id": 0})).all()
    return asyncio.run(main())

def test_forgotten(isolated_database):
    rows(isolated_database, "plugin_owner")

def test_sealed(isolated_database):
    database = isolated_database
    assert len(rows(database, database.conversation, database.token({"organisationId": 1}))) == 4
"""


def test_sqlalchemy_on_another_driver(run_on_clones: Run) -> None:
    pytest.importorskip("asyncpg")  # of the extra dev
    result = run_on_clones(OTHER_DRIVER, "rlsgen_guard = true")
    result.assert_outcomes(passed=1, failed=1)
    assert "without a context: public.orders" in result.stdout.str()


def test_one_test_asks_for_it_and_roles_may_be_exempt(run_on_clones: Run) -> None:
    source = """
import pytest

def forget(database, role):
    with database.connect(role) as connection:
        connection.execute("SELECT count(*) FROM orders")

def test_unguarded(isolated_database):
    forget(isolated_database, "plugin_owner")

def test_owner(isolated_database, rlsgen_guard):
    forget(isolated_database, "plugin_owner")

@pytest.mark.rlsgen_unscoped()
def test_no_reason(rlsgen_guard): pass
"""
    run_on_clones(source).assert_outcomes(passed=1, failed=1, errors=1)
    result = run_on_clones(source, "rlsgen_unscoped_roles = plugin_owner")
    result.assert_outcomes(passed=2, errors=1)
    assert "the marker rlsgen_unscoped needs a reason" in result.stdout.str()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT 1", set()),
        ("not SQL", set()),
        ('SELECT * FROM a, s."B" JOIN c ON true', {"a", "s.B", "c"}),
        ("WITH a AS (SELECT * FROM b) SELECT * FROM a", {"b"}),
        ("WITH a AS (SELECT * FROM a) SELECT * FROM a", {"a"}),
        ("WITH RECURSIVE a AS (SELECT * FROM a) SELECT * FROM a", set()),
        ("WITH a AS (SELECT 1) SELECT * FROM public.a", {"public.a"}),
        ("WITH a AS (SELECT 1) DELETE FROM a WHERE id IN (SELECT * FROM a)", {"a"}),
        ("WITH a AS (SELECT 1), b AS (SELECT * FROM a, c) SELECT (SELECT max(x) FROM b)", {"c"}),
        ("SELECT * FROM (WITH a AS (SELECT 1) SELECT * FROM a) AS x, a", {"a"}),
        ("MERGE INTO a USING b ON true WHEN MATCHED THEN DELETE", {"a", "b"}),
        ("COPY a FROM STDIN; TRUNCATE b, c", {"a", "b", "c"}),
        ("CREATE TABLE n AS SELECT * FROM a", {"a"}),
        ("SELECT * INTO n FROM a", {"a"}),
        ("EXPLAIN ANALYZE UPDATE a SET x = 1 FROM b", {"a", "b"}),
        ("PREPARE p AS SELECT * FROM a; DECLARE c CURSOR FOR SELECT * FROM b", {"a", "b"}),
        ("ALTER TABLE a ADD b int; CREATE INDEX ON c (d); DROP TABLE e", set()),
        ("SELECT " + "(" * 200 + "1" + ")" * 200, set()),
        ("SELECT " + "NOT " * 200 + "true", None),
    ],
)
def test_touched(text: str, expected: set[str] | None) -> None:
    found = touched(text)
    assert (None if found is None else {name.replace('"', "") for name in found}) == expected


@pytest.mark.parametrize(
    ("statement", "parameters", "style"),
    [
        ("SELECT * FROM a WHERE b = %(b)s AND c LIKE 'd%%'", {"b": 1}, "pyformat"),
        ("SELECT * FROM a WHERE b = %s AND c LIKE 'd%%'", (1,), "format"),
        ("SELECT * FROM a WHERE b = $1 AND c LIKE 'd%'", (1,), "numeric_dollar"),
    ],
)
def test_placeholders_of_other_drivers(statement: str, parameters: object, style: str) -> None:
    text = plain(statement, parameters, style)
    assert touched(text) == frozenset({identifier("a")})
    assert "'d%'" in text
