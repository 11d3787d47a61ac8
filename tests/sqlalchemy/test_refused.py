"""Text that attacks: through text(), driver SQL and pandas' and LangChain's paths; and each protection taken away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, inspect, text
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.exc import SQLAlchemyError

from rlsgen.errors import ContextRefused, QueryFailed, StatementRefused
from rlsgen.runtime.sqlalchemy import conversation
from rlsgen.runtime.sqlalchemy.legs import Leg
from rlsgen.runtime.sqlalchemy.link import Link
from rlsgen.runtime.sqlalchemy.reflection import Reflection
from rlsgen.runtime.sqlalchemy.source import current
from tests.runtime.conftest import Place
from tests.sqlalchemy.conftest import ALDER, BIRCH, MakeEngine

HOSTILE = [
    "COMMIT; BEGIN READ WRITE; DELETE FROM notes",
    "SELECT 1; SELECT 2",
    "COMMIT",
    "ROLLBACK",
    "COMMIT AND CHAIN",
    "BEGIN",
    "SAVEPOINT sa_savepoint_1",
    "SET app.organisation_id = '2'",
    "SET LOCAL search_path TO public",
    "RESET ALL",
    "DISCARD ALL",
    "SET TRANSACTION READ WRITE",
    "SELECT set_config('app.organisation_id', '2', false)",
    "SELECT current_setting('app.rlsgen_seal')",
    "SELECT rlsgen.set_context('x')",
    "SELECT * FROM (SELECT set_config('app.organisation_id','2',true)) s, orders",
    "EXPLAIN SELECT * FROM orders",
    "EXPLAIN ANALYZE SELECT * FROM users WHERE email = 'x'",
    "SELECT * FROM pg_catalog.pg_class",
    "SELECT * FROM pg_class",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM pg_stat_activity",
    "SELECT * FROM api_keys",
    "SELECT password_hash FROM users",
    "SELECT ctid FROM orders",
    "SELECT query_to_xml('SELECT 1', true, true, '')",
    "SELECT pg_sleep(1)",
    "PREPARE p AS SELECT 1",
    "DEALLOCATE ALL",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    "FETCH ALL FROM c",
    "LISTEN x",
    "COPY orders TO STDOUT",
    "DO $$ BEGIN END $$",
    "CREATE TEMPORARY TABLE t AS SELECT 1",
    "LOCK TABLE orders",
    "SELECT * FROM orders FOR UPDATE",
    "SHOW search_path",
    "",
    "-- nothing",
    "SELECT \x00",
]


@pytest.mark.parametrize("statement", HOSTILE)
def test_text_is_refused(writer: Engine, statement: str) -> None:
    with conversation(writer, ALDER), writer.connect() as connection:
        with pytest.raises(StatementRefused if "password" not in statement else QueryFailed):
            connection.execute(text(statement))
        connection.rollback()  # which the last one needs: a column that does not exist, as far as anybody can tell
        with pytest.raises(StatementRefused if "password" not in statement else QueryFailed):
            connection.exec_driver_sql(statement)
        connection.rollback()
        assert set(connection.scalars(text("SELECT organisation_id FROM orders"))) == {1}


def test_places_are_those_of_the_text(engine: Engine) -> None:
    with conversation(engine, ALDER), engine.connect() as connection, pytest.raises(StatementRefused) as caught:
        connection.execute(text("SELECT *\n  FROM api_keys"))
    assert (caught.value.line, caught.value.column) == (2, 8)


@pytest.mark.parametrize("private", ["api_keys", "password_hash", "rlsgen", "key_hash"])
def test_reflection_shows_nothing_hidden(engine: Engine, private: str) -> None:
    inspector: Any = inspect(engine)
    seen: list[object] = [inspector.get_schema_names(), inspector.get_view_names(), inspector.get_sequence_names()]
    for name in [*inspector.get_table_names(), *inspector.get_view_names()]:
        seen += [
            name, inspector.get_columns(name), inspector.get_pk_constraint(name), inspector.get_foreign_keys(name),
            inspector.get_unique_constraints(name), inspector.get_indexes(name), inspector.get_check_constraints(name),
            inspector.get_table_comment(name), inspector.get_table_options(name),
        ]  # fmt: skip
    assert "monthly_revenue" in str(seen)
    assert private not in str(seen)
    assert not inspector.has_table(private)


def test_what_reflection_does_not_answer_asks_no_catalog(engine: Engine) -> None:
    inspector: Any = inspect(engine)
    with pytest.raises(ContextRefused):
        inspector.get_enums()
    with conversation(engine, ALDER), pytest.raises(StatementRefused):
        inspector.get_enums()
    with conversation(engine, ALDER), pytest.raises(StatementRefused):
        inspector.get_view_definition("monthly_revenue")


def test_two_phase_transactions_are_refused(writer: Engine) -> None:
    with conversation(writer, ALDER), writer.connect() as connection, pytest.raises(SQLAlchemyError, match="two-phase"):
        connection.begin_twophase()


def test_postgres_details_do_not_show(writer: Engine) -> None:
    with conversation(writer, ALDER), writer.connect() as connection, pytest.raises(SQLAlchemyError) as caught:
        connection.execute(text("INSERT INTO notes (id, user_id, title) VALUES (1, 'user_1', 'x')"))
    assert "notes_pkey" not in repr(vars(caught.value)) + str(caught.value)


# Ring 3 alone: without the guard, nothing that a text does reaches another conversation.


@pytest.fixture
def unguarded(make_engine: MakeEngine) -> Engine:
    return make_engine(guard=False, pool_size=1, max_overflow=0)


def tried(engine: Engine, *statements: str, context: dict[str, object] | None = None) -> list[object]:
    """What came of each statement, in one transaction."""
    answers: list[object] = []
    with conversation(engine, context or ALDER), engine.connect() as connection:
        for each in statements:
            try:
                result = connection.exec_driver_sql(each)
                answers.append([tuple(row) for row in result] if result.returns_rows else result.rowcount)
            except SQLAlchemyError as error:
                answers.append(type(error).__name__)
                connection.rollback()
    return answers


def test_several_statements_are_refused_by_the_protocol(unguarded: Engine) -> None:
    assert tried(unguarded, "COMMIT; BEGIN READ WRITE; DELETE FROM notes") == ["StatementRefused"]
    assert tried(unguarded, "SELECT 1; SELECT 2") == ["StatementRefused"]


@pytest.mark.parametrize("ending", ["COMMIT", "ROLLBACK", "COMMIT AND CHAIN", "ROLLBACK AND CHAIN", "ABORT", "END"])
def test_a_text_that_ends_the_transaction(unguarded: Engine, ending: str) -> None:
    assert tried(unguarded, ending, "SELECT DISTINCT organisation_id FROM orders") == ["StatementRefused", [(1,)]]


def test_a_forged_context_is_seen_by_the_database(unguarded: Engine) -> None:
    answers = tried(
        unguarded,
        "SELECT count(*) FROM (SELECT set_config('app.organisation_id', '2', true)) s, orders",
        "SELECT set_config('app.organisation_id', '2', false)",
        "SELECT DISTINCT organisation_id FROM orders",
    )
    assert answers[0] == "ContextRefused"
    assert answers[2] in ([(1,)], "ContextRefused")


LEFT_BEHIND = {
    "SET SESSION search_path = pg_catalog": ("SELECT current_setting('search_path')", "pg_catalog"),
    "SELECT pg_advisory_lock(4711)": ("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", 1),
    "PREPARE theft AS SELECT 1": ("SELECT count(*) FROM pg_prepared_statements", 1),
    "SELECT set_config('app.rlsgen_note', 'from Alder', false)": (
        "SELECT current_setting('app.rlsgen_note', true)",
        "from Alder",
    ),
}


@pytest.mark.parametrize(("text_", "probe"), LEFT_BEHIND.items())
def test_nothing_is_left_behind(unguarded: Engine, text_: str, probe: tuple[str, object]) -> None:
    before = backend(unguarded)
    tried(unguarded, text_)
    question, trace = probe
    assert tried(unguarded, question, context=BIRCH) != [[(trace,)]]
    assert backend(unguarded) == before  # it is the same connection


@pytest.mark.parametrize("text_", ["SELECT pg_advisory_lock(4711)", "PREPARE theft AS SELECT 1"])
def test_without_discarding_it_would_be(unguarded: Engine, text_: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Link, "_unguarded", property(lambda _: False, lambda *_: None), raising=False)
    before = backend(unguarded)
    tried(unguarded, text_)
    question, trace = LEFT_BEHIND[text_]
    assert tried(unguarded, question, context=BIRCH) == [[(trace,)]]
    assert backend(unguarded) == before


def backend(engine: Engine) -> object:
    """The process at the server."""
    raw: Any = engine.raw_connection()
    try:
        return raw.dbapi_connection._connection.info.backend_pid
    finally:
        raw.close()


@contextmanager
def simple_protocol() -> Iterator[None]:
    """Statements sent as psycopg does it without parameters: mutation of the leg."""
    original = Leg._send

    def send(self: Leg) -> Any:
        order, pgconn = self._order, self._pgconn
        if order.begin:
            pgconn.exec_(order.begin)
            pgconn.exec_params(order.context, [order.token], [25])
        raise SentSimply(pgconn.exec_(order.text).status)
        yield

    Leg._send = send  # type: ignore[method-assign]
    try:
        yield
    finally:
        Leg._send = original  # type: ignore[method-assign]


class SentSimply(Exception):
    """It was sent."""


def test_with_the_simple_protocol_several_statements_would_run(make_engine: MakeEngine, place: Place) -> None:
    engine = make_engine(guard=False, writes=True)
    stray = "COMMIT; BEGIN READ WRITE; COMMIT; SELECT pg_advisory_lock(4712)"
    assert tried(engine, stray) == ["StatementRefused"]
    with (
        simple_protocol(),
        conversation(engine, ALDER),
        engine.connect() as connection,
        pytest.raises(SentSimply) as sent,
    ):
        connection.exec_driver_sql(stray)
    assert sent.value.args == (psycopg.pq.ExecStatus.TUPLES_OK,)


def test_without_the_guard_a_catalog_would_answer(unguarded: Engine) -> None:
    assert tried(unguarded, "SELECT count(*) > 0 FROM pg_class") == [[(True,)]]
    assert tried(unguarded, "SELECT 1 FROM api_keys") == ["StatementRefused"]  # privileges


def test_without_owners_a_transaction_would_go_on_in_another_block(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(twins=False)  # they are Birch's, and would find nothing among Alder's rows
    ours = text("SELECT DISTINCT organisation_id FROM orders")
    with engine.connect() as connection:
        with conversation(engine, ALDER):
            connection.execute(ours)
        with conversation(engine, BIRCH):
            with pytest.raises(ContextRefused):
                connection.execute(ours)
            monkeypatch.setattr(Link, "_mine", lambda link, **_: current(link._source))
            assert connection.scalars(ours).all() == [1]  # Birch's block reads Alder's rows


def test_without_read_only_a_reading_engine_would_write(unguarded: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    write = "INSERT INTO notes (user_id, title) VALUES ('user_1', 'x')"
    assert tried(unguarded, write) == ["StatementRefused"]
    begin = Link._begin
    monkeypatch.setattr(Link, "_begin", lambda link, block: begin(link, block).replace(b"READ ONLY", b"READ WRITE"))
    assert tried(unguarded, write) == [1]


def test_without_a_memory_reflection_would_ask_the_catalog(unguarded: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "api_keys" not in inspect(unguarded).get_table_names()
    monkeypatch.setattr(Reflection, "get_table_names", PGDialect_psycopg.get_table_names)
    with conversation(unguarded, ALDER):
        assert "api_keys" in inspect(unguarded).get_table_names()


def test_copy_closes_the_connection(unguarded: Engine) -> None:
    before = backend(unguarded)
    assert tried(unguarded, "COPY countries TO STDOUT", "SELECT 1") == ["StatementRefused", [(1,)]]
    assert backend(unguarded) != before


def test_an_aborted_transaction_says_so(unguarded: Engine) -> None:
    with conversation(unguarded, ALDER), unguarded.connect() as connection:
        with pytest.raises(QueryFailed):
            connection.exec_driver_sql("SELECT 1 / 0")
        with pytest.raises(QueryFailed, match="earlier statement") as caught:
            connection.exec_driver_sql("SELECT 1")
        assert "roll back" in caught.value.hint
