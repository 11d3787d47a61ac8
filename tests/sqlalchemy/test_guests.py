"""What others build on SQLAlchemy: pandas, and LangChain's SQLDatabase, the real packages."""

from __future__ import annotations

import warnings

import pandas
import pytest
from sqlalchemy import Engine, MetaData, Table, func, select, text
from sqlalchemy.exc import NoSuchTableError, SQLAlchemyError
from sqlalchemy.ext.automap import automap_base
from sqlalchemy.orm import Session

from rlsgen.errors import ContextRefused, StatementRefused
from rlsgen.runtime.sqlalchemy import conversation
from tests.runtime.conftest import Place
from tests.sqlalchemy.conftest import ALDER, BIRCH
from tests.sqlalchemy.models import Note, Order

with warnings.catch_warnings(action="ignore"):  # it announces its own retirement
    from langchain_community.utilities import SQLDatabase

ESCAPE = "COMMIT; BEGIN READ WRITE; UPDATE orders SET status = 'cancelled'; COMMIT"


def test_pandas_reads_queries(engine: Engine) -> None:
    with conversation(engine, ALDER):
        frame = pandas.read_sql("SELECT id, total, created_at FROM orders WHERE status LIKE 'del%' ORDER BY id", engine)
        assert len(frame) > 3_000
        assert list(frame.columns) == ["id", "total", "created_at"]
        counted = pandas.read_sql_query(
            text("SELECT count(*) AS n FROM orders WHERE total > :least"), engine, params={"least": 0}
        )
        assert counted["n"].tolist() == [3_605]
        numbered = pandas.read_sql("SELECT count(*) AS n FROM orders WHERE status = $1", engine, params=("delivered",))
        assert 0 < numbered["n"].iloc[0] < 3_605
        built = pandas.read_sql(select(Order.id, Order.total).where(Order.total > 1_000), engine)
        assert (built["total"].astype(float) > 1_000).all()


def test_pandas_reads_tables(engine: Engine) -> None:
    with conversation(engine, BIRCH):
        frame = pandas.read_sql("orders", engine, parse_dates=["created_at"])
        assert set(frame["organisation_id"]) == {2}
        assert list(pandas.read_sql_table("users", engine, columns=["id", "email"]).columns) == ["id", "email"]
        assert "password_hash" not in pandas.read_sql_table("users", engine).columns
        with pytest.raises(ValueError, match="not found"):
            pandas.read_sql_table("api_keys", engine)


def test_pandas_reads_in_chunks(engine: Engine) -> None:
    with conversation(engine, ALDER), engine.connect().execution_options(stream_results=True) as connection:
        sizes = [len(each) for each in pandas.read_sql("SELECT * FROM orders", connection, chunksize=1_000)]
        assert sizes == [1_000, 1_000, 1_000, 605]


def test_pandas_is_refused_like_everybody(writer: Engine) -> None:
    with conversation(writer, ALDER):
        with pytest.raises(pandas.errors.DatabaseError, match="one statement at a time") as caught:
            pandas.read_sql(ESCAPE, writer)
        assert isinstance(caught.value.__cause__, StatementRefused)
        with pytest.raises(SQLAlchemyError):
            pandas.DataFrame({"a": [1]}).to_sql("mine", writer)
    with pytest.raises(pandas.errors.DatabaseError) as caught:
        pandas.read_sql("SELECT 1", writer)
    assert isinstance(caught.value.__cause__, ContextRefused)


@pytest.fixture
def langchain(writer: Engine) -> SQLDatabase:
    """Made at the start of an application, outside of conversations."""
    return SQLDatabase(writer, view_support=True)


def test_langchain_sees_what_may_be_used(langchain: SQLDatabase) -> None:
    usable = set(langchain.get_usable_table_names())
    assert {"orders", "users", "monthly_revenue", "events"} <= usable
    assert not usable & {"api_keys", "spatial_ref_sys", "object", "provision"}
    assert not any(name.startswith("events_") for name in usable)


def test_langchain_describes_tables(langchain: SQLDatabase) -> None:
    with conversation(langchain._engine, ALDER):
        told = langchain.get_table_info(["users", "orders", "order_items"])
        everything = langchain.get_table_info()
    assert "CREATE TABLE users" in told
    assert "FOREIGN KEY(user_id) REFERENCES users (id)" in told
    assert "3 rows from orders table:" in told
    assert "password" not in everything
    assert "api_keys" not in everything


def test_langchain_runs(langchain: SQLDatabase) -> None:
    with conversation(langchain._engine, ALDER):
        assert langchain.run("SELECT count(*) FROM orders") == "[(3605,)]"
        assert langchain.run("SELECT name FROM organisations", include_columns=True) == "[{'name': 'Alder Supplies'}]"
        assert langchain.run("SELECT count(*) FROM orders WHERE total > :t", parameters={"t": 1e9}) == "[(0,)]"
    with conversation(langchain._engine, BIRCH):
        assert langchain.run("SELECT name FROM organisations") == "[('Birch Foods',)]"


@pytest.mark.parametrize(
    "attack",
    [ESCAPE, "SET ROLE shop_app", "SELECT * FROM pg_roles", "EXPLAIN SELECT 1", "SELECT set_config('a.b','c',false)"],
)
def test_langchain_is_refused(langchain: SQLDatabase, place: Place, attack: str) -> None:
    count = "SELECT count(*) FROM orders WHERE status = 'cancelled'"
    before = place.owner().execute(count).fetchone()
    with conversation(langchain._engine, ALDER):
        with pytest.raises(StatementRefused):
            langchain.run(attack)
        assert str(langchain.run_no_throw(attack)).startswith("Error: ")  # which is what its agents read
        assert langchain.run("SELECT count(*) FROM organisations") == "[(1,)]"
    assert place.owner().execute(count).fetchone() == before


def test_langchain_outside_of_a_block(langchain: SQLDatabase) -> None:
    with pytest.raises(ContextRefused):
        langchain.run("SELECT 1")
    assert "no conversation" in str(langchain.run_no_throw("SELECT 1"))


def test_reflected_tables_can_be_used(engine: Engine, writer: Engine) -> None:
    metadata = MetaData()
    metadata.reflect(engine, views=True)
    orders, revenue = metadata.tables["orders"], metadata.tables["monthly_revenue"]
    assert [each.target_fullname for each in sorted(orders.foreign_keys, key=str)] == [
        "countries.code", "organisations.id", "users.id",
    ]  # fmt: skip
    assert str(orders.c.total.type) == "NUMERIC(12, 2)"
    with conversation(engine, ALDER), engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(orders)) == 3_605
        assert connection.execute(select(revenue)).all()
    notes = Table("notes", MetaData(), autoload_with=writer)
    with conversation(writer, ALDER), writer.connect() as connection:
        made = connection.execute(notes.insert().values(user_id="user_1", title="reflected"))
        assert made.inserted_primary_key is not None
        assert connection.scalar(select(Note.title).where(Note.id == made.inserted_primary_key[0])) == "reflected"


def test_reflected_with_a_schema(engine: Engine) -> None:
    metadata = MetaData(schema="public")
    metadata.reflect(engine)
    items = metadata.tables["public.order_items"]
    assert {each.target_fullname for each in items.foreign_keys} == {"public.orders.id", "public.products.id"}
    assert [each.name for each in items.primary_key] == ["order_id", "line"]
    with conversation(engine, ALDER), engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(items)).scalar_one() > 3_605
    with pytest.raises(NoSuchTableError):
        Table("api_keys", MetaData(), autoload_with=engine)
    with pytest.raises(NoSuchTableError):
        Table("pg_class", MetaData(), schema="pg_catalog", autoload_with=engine)


def test_automap(engine: Engine) -> None:
    mapped = automap_base()
    mapped.prepare(autoload_with=engine)
    with conversation(engine, ALDER), Session(engine) as session:
        order = session.scalars(select(mapped.classes.orders).limit(1)).one()
        assert order.users.organisation_id == 1
