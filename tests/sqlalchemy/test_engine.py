"""The engine itself: how it is made, what it tells, what it does when keys, servers and provisions change."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import ARRAY, JSON, Enum, Integer, Numeric, String, cast, func, literal, select, text
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from rlsgen.errors import Closed, ContextRefused, KeyProblem, QueryFailed, ServerError, SpecError, Unhealthy
from rlsgen.identifiers import Name
from rlsgen.provision.keys import create_key, retire
from rlsgen.runtime.schema import Column
from rlsgen.runtime.sqlalchemy import conversation, create_conversation_engine, health
from rlsgen.runtime.sqlalchemy.reflection import sql_type
from tests.runtime.conftest import POLICIES, Place
from tests.sqlalchemy.conftest import ALDER, MakeEngine
from tests.sqlalchemy.models import Order
from tests.support.clusters import wait_until

_POSTGRES: Any = PGDialect_psycopg()  # type: ignore[no-untyped-call]


def ask(engine: Any) -> Any:
    with conversation(engine, ALDER), engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(Order))


def test_nothing_connects_before_it_must(place: Place) -> None:
    engine = create_conversation_engine("host=/nowhere", place.spec, place.key)
    assert health(engine) is None
    with pytest.raises(SpecError):
        create_conversation_engine("host=/nowhere", POLICIES.parent / "none.yaml", place.key)
    with pytest.raises(KeyProblem):
        create_conversation_engine("host=/nowhere", place.spec, "not a key")


def test_a_server_that_cannot_be_reached(place: Place) -> None:
    engine = create_conversation_engine("host=/nowhere dbname=shop", place.spec, place.key)
    with pytest.raises(ServerError, match="cannot be reached") as caught:
        ask(engine)
    assert isinstance(caught.value, SQLAlchemyError)


@pytest.mark.parametrize("option", ["creator", "connect_args", "paramstyle", "module", "plugins"])
def test_options_that_are_decided_here(place: Place, option: str) -> None:
    with pytest.raises(ArgumentError, match=option):
        create_conversation_engine("", place.spec, place.key, **{option: None})  # type: ignore[arg-type]


def test_dsns(place: Place, make_engine: MakeEngine) -> None:
    known = conninfo_to_dict(place.dsn)
    query = {"host": str(known["host"]), "port": str(known["port"])}
    as_url = make_url("postgresql+psycopg://").set(
        username=str(known["user"]), database=str(known["dbname"]), query=query
    )
    for dsn in (place.dsn, as_url, as_url.render_as_string(hide_password=False)):
        engine = make_engine(dsn=dsn)
        assert ask(engine) == 3_605
        assert engine.url.username == "nl_conversation"


def test_nothing_secret_shows(make_engine: MakeEngine, place: Place, caplog: pytest.LogCaptureFixture) -> None:
    engine = make_engine(dsn=f"{place.dsn} password=hunter2", echo="debug")
    with caplog.at_level(logging.DEBUG):
        assert ask(engine) == 3_605
        with conversation(engine, ALDER), engine.connect() as connection, pytest.raises(SQLAlchemyError):
            connection.execute(text("SELECT 1 / 0"))
    shown = caplog.text + repr(engine) + str(engine.url) + repr(engine.dialect.__dict__) + repr(engine.pool.__dict__)
    assert "SELECT count(*)" in caplog.text
    for secret in ("hunter2", place.key.secret.hex(), place.key.reveal(), "eyJ"):  # how every token begins
        assert secret not in shown
    assert "set_context" not in caplog.text


def test_the_pool_may_be_any(make_engine: MakeEngine) -> None:
    assert ask(make_engine(poolclass=NullPool)) == 3_605
    assert ask(make_engine(max_overflow=-1)) == 3_605


def test_dispose(make_engine: MakeEngine, place: Place) -> None:
    engine = make_engine(pool_size=3)
    assert ask(engine) == 3_605
    engine.dispose()
    connected = "SELECT 1 FROM pg_stat_activity WHERE usename = 'nl_conversation' AND datname = %s"
    with place.superuser() as superuser:
        wait_until(lambda: not superuser.execute(connected, (place.database.name,)).fetchall(), "all are closed")
    assert ask(engine) == 3_605


def test_known_holes_are_refused_unless_told(place: Place, make_engine: MakeEngine) -> None:
    engine = make_engine(known_holes="refuse")
    if place.database.server.version == 18:
        with pytest.raises(Unhealthy) as caught:
            ask(engine)
        assert "CVE" in str(caught.value.problems)
    found = health(make_engine())
    assert found is None


def test_a_database_that_is_not_provisioned(shop: Any, make_engine: MakeEngine, place: Place) -> None:
    engine = make_engine(dsn=shop.dsn("nl_conversation"))
    with pytest.raises(Unhealthy):
        ask(engine)


def test_the_wrong_role(place: Place, make_engine: MakeEngine) -> None:
    with pytest.raises(Unhealthy):
        ask(make_engine(dsn=place.database.dsn()))


def test_health_is_checked_again(own_place: Place, make_engine: MakeEngine) -> None:
    engine = make_engine(place=own_place, self_check_seconds=0.0)
    assert ask(engine) == 3_605
    own_place.owner().execute("ALTER TABLE orders DISABLE ROW LEVEL SECURITY")
    with pytest.raises(Unhealthy) as caught:
        ask(engine)
    assert "orders" in str(caught.value.problems)
    found = health(engine)
    assert found is not None
    assert not found.healthy
    own_place.owner().execute("ALTER TABLE orders ENABLE ROW LEVEL SECURITY")
    assert ask(engine) == 3_605


def test_a_retired_key(own_place: Place, make_engine: MakeEngine) -> None:
    engine = make_engine(place=own_place)
    assert ask(engine) == 3_605
    fresh = create_key(own_place.owner())
    retire(own_place.owner(), own_place.key.kid)
    with pytest.raises(ContextRefused, match="the database refused"):
        ask(engine)
    assert ask(make_engine(place=replace(own_place, key=fresh))) == 3_605


def kill_all(place: Place) -> None:
    """End every conversation's backend, and wait until they are gone."""
    asked, values = "FROM pg_stat_activity WHERE usename = 'nl_conversation' AND datname = %s", (place.database.name,)
    with place.superuser() as superuser:
        superuser.execute(f"SELECT pg_terminate_backend(pid) {asked}", values)
        wait_until(lambda: not superuser.execute(f"SELECT 1 {asked}", values).fetchall(), "the backends are gone")


def test_a_backend_that_dies(engine: Any, place: Place) -> None:
    with conversation(engine, ALDER), engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        kill_all(place)
        with pytest.raises(QueryFailed, match="connection"):
            connection.execute(text("SELECT 1"))
        connection.rollback()
        assert connection.scalar(text("SELECT 1")) == 1
    kill_all(place)
    assert ask(engine) == 3_605  # an idle connection that went away is noticed before it is used


def test_a_commit_whose_answer_is_lost(writer: Any, place: Place) -> None:
    with conversation(writer, ALDER), writer.connect() as connection:
        connection.execute(text("INSERT INTO notes (user_id, title) VALUES ('user_1', 'lost')"))
        kill_all(place)
        with pytest.raises(QueryFailed) as caught:
            connection.commit()
        assert "unknown" in caught.value.hint
    assert ask(writer) == 3_605


def test_after_a_fork(make_engine: MakeEngine) -> None:
    engine = make_engine()
    assert ask(engine) == 3_605
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            ask(engine)
            os.write(writing, b"answered")
        except Closed as error:
            os.write(writing, error.message.encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert b"another process" in os.read(reading, 100)
    os.close(reading)
    os.close(writing)
    assert ask(engine) == 3_605


def test_made_before_a_fork_and_used_after_it(make_engine: MakeEngine) -> None:
    engine = make_engine()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, str(ask(engine)).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 100) == b"3605"
    os.close(reading)
    os.close(writing)


def test_rlsgen_is_imported_without_sqlalchemy() -> None:
    program = "import sys, rlsgen, rlsgen.runtime.pool; sys.exit('sqlalchemy' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_audit_log(engine: Any, caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.INFO, "rlsgen.audit"),
        conversation(engine, ALDER, user="Ann") as known_as,
        engine.connect() as connection,
    ):
        connection.execute(text("SELECT count(*) FROM orders WHERE total > :t"), {"t": 471_147})
        with pytest.raises(SQLAlchemyError):
            connection.execute(text("SELECT * FROM api_keys"))
    lines = [each.getMessage() for each in caplog.records if each.name == "rlsgen.audit"]
    assert [('"decision": "allowed"' in each, '"decision": "refused"' in each) for each in lines] == [
        (True, False),
        (False, True),
    ]
    assert all(f'"{known_as}"' in each and '"Ann"' in each for each in lines)
    assert "471147" not in caplog.text


def test_values(make_engine: MakeEngine) -> None:
    engine = make_engine(time_zone="Europe/Berlin")
    moment = datetime(2026, 7, 1, 12, tzinfo=UTC)
    with conversation(engine, ALDER), engine.connect() as connection:
        row = connection.execute(
            select(
                literal(moment),
                literal({"a": [1, {"b": None}]}, JSON),
                literal([1, 2, None], ARRAY(Integer)),
                literal("100 %", String),
                cast("1.50", Numeric(10, 2)),
                func.json_build_object("k", 1),
                literal(None, Integer),
                literal(True),
            )
        ).one()
        assert row[0] == moment
        assert row[0].isoformat() == "2026-07-01T14:00:00+02:00"
        assert row[1] == {"a": [1, {"b": None}]}
        assert [*row[2:4], str(row[4]), *row[5:]] == [[1, 2, None], "100 %", "1.50", {"k": 1}, None, True]
        assert connection.scalar(text("SELECT '100 %' || :x"), {"x": "!"}) == "100 %!"
        assert connection.exec_driver_sql("SELECT 7 % 4").scalar() == 3
        assert connection.exec_driver_sql("SELECT $1::text || $2", ("a", "b")).scalar() == "ab"


@pytest.mark.parametrize(
    ("shown", "base", "expected"),
    [
        ("integer", 23, "INTEGER"),
        ("character varying(21)", 1043, "VARCHAR(21)"),
        ("numeric(12,2)", 1700, "NUMERIC(12, 2)"),
        ("timestamp(3) with time zone", 1184, "TIMESTAMP(3) WITH TIME ZONE"),
        ("timestamp without time zone", 1114, "TIMESTAMP WITHOUT TIME ZONE"),
        ("time(0) without time zone", 1083, "TIME(0) WITHOUT TIME ZONE"),
        ("interval day to second(3)", 1186, "INTERVAL day to second (3)"),
        ("interval", 1186, "INTERVAL"),
        ("bit varying(5)", 1562, "BIT VARYING(5)"),
        ("character(2)", 1042, "CHAR(2)"),
        ("uuid[]", 2951, "UUID[]"),
        ("jsonb", 3802, "JSONB"),
        ("email", 25, "TEXT"),  # a domain
        ("positives", 1007, "INTEGER[]"),  # a domain over an array
    ],
)
def test_types(shown: str, base: int, expected: str) -> None:
    own = 90_000 if shown in ("email", "positives") else base
    column = Column("c", shown, own, base, Name("public", shown), (), False, False, False)
    assert sql_type(column, ()).compile(dialect=_POSTGRES) == expected


def test_enums_and_unknown_types() -> None:
    enum = Column("c", "mood[]", 90_000, 90_000, Name("public", "mood"), ("ok", "sad"), False, False, False)
    kind: Any = sql_type(enum, ("public",))
    assert isinstance(kind.item_type, Enum)
    assert kind.item_type.enums == ["ok", "sad"]
    strange = Column("c", "vector(3)", 90_001, 90_001, Name("public", "vector"), (), False, False, False)
    assert str(sql_type(strange, ())) == "NULL"
