"""The fixtures, on a real server: each does what its name says, for the test alone."""

from __future__ import annotations

import psycopg
import pytest

from tests.plugin.conftest import Run
from tests.support.postgres import Server

TESTS = """
import asyncio
import psycopg, pytest, sqlalchemy
from rlsgen import ConversationPool
from rlsgen.testing import assert_isolated, assert_refused

ONE, TWO = {"organisationId": 1}, {"organisationId": 2}
ALL = "SELECT id FROM orders ORDER BY id"

def test_conversation(conversation):
    assert conversation(ONE).query(ALL).rows == [(2,), (4,), (6,), (8,)]
    assert conversation(TWO, user="ann").query(ALL).rows == [(1,), (3,), (5,), (7,)]

def test_async_conversation(async_conversation):
    async def main():
        async with async_conversation(ONE) as talk:
            return (await talk.query(ALL)).rows
    assert asyncio.run(main()) == [(2,), (4,), (6,), (8,)]

def test_as_context(as_context):
    with as_context(ONE) as connection:
        assert connection.execute(ALL).fetchall() == [(2,), (4,), (6,), (8,)]
        assert connection.info.user == "plugin_conversation"
        connection.rollback()
        with assert_refused(match="context"):
            connection.execute(ALL)

def test_as_context_of_asyncio(as_context):
    async def main():
        async with as_context(TWO) as connection:
            with assert_refused():
                await connection.execute("SELECT * FROM api_keys")
            await connection.rollback()
        async with as_context(TWO) as connection:
            return await (await connection.execute(ALL)).fetchall()
    assert asyncio.run(main()) == [(1,), (3,), (5,), (7,)]

def test_as_context_rolls_back(as_context):
    for _ in range(2):
        with as_context(ONE) as connection:
            assert connection.execute("UPDATE orders SET total = 0 WHERE total > 0").rowcount == 4

@pytest.mark.parametrize("again", range(2))
def test_a_database_of_its_own(isolated_database, again):
    with isolated_database.connect() as owner:
        assert owner.info.user == "plugin_owner"
        assert owner.execute("DELETE FROM order_items").rowcount == 8

def test_the_applications_own_pool_and_engine(isolated_database):
    database = isolated_database
    dsn = database.dsn(database.conversation)
    with ConversationPool(dsn, database.spec, database.signing_key.reveal(), known_holes="warn") as pool:
        assert len(pool.conversation(ONE).query(ALL).rows) == 4
    engine = sqlalchemy.create_engine(database.url(database.conversation))
    with engine.begin() as connection:
        seal = sqlalchemy.text("SELECT rlsgen.set_context(:token)")
        connection.execute(seal, {"token": database.token(ONE)})
        assert connection.execute(sqlalchemy.text(ALL)).all() == [(2,), (4,), (6,), (8,)]
    engine.dispose()

def test_isolated(isolated_database):
    result = assert_isolated(isolated_database)
    assert {str(table.table) for table in result.tables if table.pairs} >= {"public.orders", "public.order_items"}
    assert_isolated(isolated_database, ONE, tables=["orders", "public.events"])
"""

THINGS = """
version: 1
context: {tenant: {type: integer}}
roles: {conversation: plugin_conversation, unrestricted: [plugin_owner]}
schemas: [public]
tables: {things: tenant_id = userContext.tenant}
"""


def test_the_fixtures_and_what_they_leave(run: Run, server: Server) -> None:
    def databases() -> set[str]:
        with server.administer() as administrator:
            return {name for (name,) in administrator.execute("SELECT datname FROM pg_database").fetchall()}

    before = databases()
    run(TESTS).assert_outcomes(passed=9)
    assert databases() == before


def test_the_projects_own_schema_and_fixtures_win(run: Run, project: pytest.Pytester) -> None:
    (project.path / "things.yaml").write_text(THINGS)
    source = """
import pytest, sqlalchemy
from pathlib import Path
from rlsgen.spec.load import load_spec

@pytest.fixture(scope="session")
def rlsgen_spec():
    return load_spec(Path(__file__).with_name("things.yaml"))

@pytest.fixture(scope="session")
def rlsgen_schema():
    def build(database):
        engine = sqlalchemy.create_engine(database.url())
        metadata = sqlalchemy.MetaData()
        columns = [sqlalchemy.Column(name, sqlalchemy.Integer) for name in ("id", "tenant_id")]
        things = sqlalchemy.Table("things", metadata, *columns)
        metadata.create_all(engine)
        with engine.begin() as connection:
            connection.execute(things.insert(), [{"id": i, "tenant_id": i} for i in range(3)])
        engine.dispose()
    return build

@pytest.fixture
def as_context():
    return "mine"

def test_schema(conversation, as_context):
    assert conversation({"tenant": 2}).query("SELECT id FROM things").rows == [(2,)]
    assert as_context == "mine"
"""
    run(source).assert_outcomes(passed=1)


def test_a_template_that_is_there(run: Run, server: Server) -> None:
    """A database that others migrated and provisioned is cloned; rows of a test stay in its clone."""
    make = """
import psycopg, pytest
@pytest.fixture
def name(rlsgen_server, rlsgen_template):
    rlsgen_server.create("plugin_ready", rlsgen_template.name, "plugin_owner")
def test_make(name): pass
"""
    use = """
def test_use(conversation):
    assert len(conversation({"organisationId": 1}).query("SELECT 1 FROM orders").rows) == 4
"""
    try:
        run(make).assert_outcomes(passed=1)
        run(use, "rlsgen_template = plugin_ready").assert_outcomes(passed=1)
    finally:
        with psycopg.connect(server.base, autocommit=True) as administrator:
            administrator.execute("DROP DATABASE IF EXISTS plugin_ready WITH (FORCE)")
