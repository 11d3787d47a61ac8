"""Conversation blocks: every transaction belongs to one, and nothing runs without."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, func, select, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import Session

from rlsgen.errors import ContextRefused, InvalidContext
from rlsgen.runtime.sqlalchemy import conversation
from tests.runtime.conftest import Place
from tests.sqlalchemy.conftest import ALDER, BIRCH, MakeEngine
from tests.sqlalchemy.models import Note, Order

OURS = select(Order.organisation_id).distinct()


def organisations(engine: Engine) -> set[int]:
    with engine.connect() as connection:
        return set(connection.scalars(OURS))


@pytest.mark.parametrize("statement", ["SELECT 1", "SELECT count(*) FROM orders", "SHOW server_version", "COMMIT"])
def test_outside_of_a_block_every_statement_raises(engine: Engine, statement: str) -> None:
    with engine.connect() as connection:
        with pytest.raises(ContextRefused, match="no conversation"):
            connection.execute(text(statement))
        with pytest.raises(ContextRefused, match="no conversation"):
            connection.exec_driver_sql(statement)
    with Session(engine) as session, pytest.raises(ContextRefused):
        session.execute(text(statement))
    raw = engine.raw_connection()
    with pytest.raises(ContextRefused):
        raw.cursor().execute(statement)
    raw.close()


def test_errors_are_those_of_both_hierarchies(engine: Engine) -> None:
    with engine.connect() as connection, pytest.raises(SQLAlchemyError) as caught:
        connection.execute(text("SELECT 1"))
    assert isinstance(caught.value, ContextRefused)
    assert "with conversation(" in caught.value.hint
    assert str(caught.value) == "this statement belongs to no conversation"


def test_the_block_decides(engine: Engine) -> None:
    for context, expected in ((ALDER, 1), (BIRCH, 2), (ALDER, 1)):
        with conversation(engine, context):
            assert organisations(engine) == {expected}
    with pytest.raises(ContextRefused):
        organisations(engine)


def test_a_context_that_does_not_fit(engine: Engine) -> None:
    with pytest.raises(InvalidContext, match="organisationId"), conversation(engine, {"userId": "a"}):
        pass


def test_blocks_are_not_nested(engine: Engine) -> None:
    with conversation(engine, ALDER):
        with pytest.raises(ContextRefused, match="open here already"), conversation(engine, BIRCH):
            pass
        assert organisations(engine) == {1}


def test_blocks_of_two_engines(make_engine: MakeEngine) -> None:
    first, second, third = make_engine(), make_engine(), make_engine()
    with conversation(first, ALDER), conversation(second, BIRCH):
        assert organisations(first) == {1}
        assert organisations(second) == {2}
        with pytest.raises(ContextRefused):
            organisations(third)


def test_a_transaction_does_not_outlive_its_block(engine: Engine) -> None:
    with engine.connect() as connection:
        with conversation(engine, ALDER):
            connection.execute(OURS)
        with pytest.raises(ContextRefused, match="no conversation"):
            connection.execute(OURS)
        connection.rollback()
        with conversation(engine, BIRCH):
            assert set(connection.scalars(OURS)) == {2}


def test_a_block_within_a_running_transaction(engine: Engine) -> None:
    with engine.connect() as connection:
        with conversation(engine, ALDER):
            connection.execute(OURS)
        with conversation(engine, BIRCH):
            with pytest.raises(ContextRefused, match="another conversation"):
                connection.execute(OURS)
            connection.rollback()
            assert set(connection.scalars(OURS)) == {2}


def test_nothing_is_committed_after_its_block(writer: Engine, place: Place) -> None:
    with Session(writer) as session:
        with conversation(writer, ALDER):
            session.add(Note(user_id="user_1", title="late"))
            session.flush()
        with pytest.raises(ContextRefused, match="nothing was committed"):
            session.commit()
    assert place.owner().execute("SELECT count(*) FROM notes WHERE title = 'late'").fetchone() == (0,)


def test_a_failed_transaction_is_not_committed(writer: Engine, place: Place) -> None:
    with conversation(writer, ALDER), writer.connect() as connection:
        connection.execute(text("INSERT INTO notes (user_id, title) VALUES ('user_1', 'half')"))
        with pytest.raises(SQLAlchemyError, match="division by zero"):
            connection.execute(text("SELECT 1 / (SELECT count(*) FROM notes WHERE title = 'none')"))
        with pytest.raises(SQLAlchemyError, match="earlier statement of this transaction failed"):
            connection.execute(text("SELECT 1"))
        with pytest.raises(SQLAlchemyError, match="nothing was committed"):
            connection.commit()
        connection.rollback()
        assert connection.scalar(text("SELECT count(*) FROM notes WHERE title = 'half'")) == 0


def test_a_refused_statement_leaves_the_transaction_alone(writer: Engine) -> None:
    with conversation(writer, ALDER), writer.connect() as connection:
        connection.execute(text("INSERT INTO notes (user_id, title) VALUES ('user_1', 'stays')"))
        with pytest.raises(SQLAlchemyError):
            connection.execute(text("SELECT * FROM api_keys"))
        assert connection.scalar(text("SELECT count(*) FROM notes WHERE title = 'stays'")) == 1
        connection.rollback()


def test_threads_do_not_inherit_blocks(engine: Engine) -> None:
    found: list[object] = []

    def look() -> None:
        try:
            found.append(organisations(engine))
        except ContextRefused as error:
            found.append(type(error).__name__)

    with conversation(engine, ALDER):
        inherited = contextvars.copy_context()
        for target in (look, lambda: inherited.run(look)):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
    assert found == ["ContextRefused", {1}]
    with pytest.raises(ContextRefused, match="is over"):
        inherited.run(organisations, engine)


def test_a_block_that_is_left_in_another_context(engine: Engine) -> None:
    """As web frameworks do it with generators that run in their thread pools."""
    block, entering = conversation(engine, ALDER), contextvars.copy_context()
    entering.run(block.__enter__)
    assert entering.run(organisations, engine) == {1}
    contextvars.copy_context().run(block.__exit__, None, None, None)
    with pytest.raises(ContextRefused, match="is over"):
        entering.run(organisations, engine)


def test_tasks_inherit_blocks_until_they_are_left(run_async: Callable[..., Any]) -> None:
    async def main(engine: AsyncEngine) -> None:
        left = asyncio.Event()

        async def look(*, after: bool) -> set[int]:
            if after:
                await left.wait()
            async with engine.connect() as connection:
                return set((await connection.scalars(OURS)).all())

        with conversation(engine, ALDER):
            late = asyncio.create_task(look(after=True))
            assert await asyncio.create_task(look(after=False)) == {1}
            in_thread = await asyncio.to_thread(contextvars.copy_context)
        left.set()
        with pytest.raises(ContextRefused, match="is over"):
            await late
        assert in_thread is not None

    run_async(main)


def test_other_engines_are_told_apart(place: Place) -> None:
    with (
        pytest.raises(ArgumentError, match="create_conversation_engine"),
        conversation(create_engine("sqlite://"), ALDER),
    ):
        pass


def test_only_this_package_makes_its_engines() -> None:
    with pytest.raises(ArgumentError, match="create_conversation_engine"):
        create_engine("postgresql+rlsgen://nl_conversation@localhost/shop")


def test_two_statements_of_one_connection_do_not_overlap(engine: Engine) -> None:
    with conversation(engine, ALDER), engine.connect() as connection:
        stream = connection.execution_options(stream_results=True).execute(select(Order))
        stream.fetchone()
        with pytest.raises(SQLAlchemyError, match="busy"):
            connection.execute(select(func.count()).select_from(Order))
        assert len(stream.all()) > 1_000
        assert connection.scalar(select(func.count()).select_from(Order)) == 3_605


def test_sessions_are_closed_by_the_garbage_collector(engine: Engine) -> None:
    with conversation(engine, ALDER):
        result = engine.connect().execute(OURS)
        del result
    gc.collect()
    with conversation(engine, BIRCH):
        assert organisations(engine) == {2}


def test_the_transaction_is_read_only(engine: Engine, writer: Engine) -> None:
    for made, expected in ((engine, "on"), (writer, "off")):
        seen: list[object] = []

        @event.listens_for(made, "before_cursor_execute")
        def look(connection: Any, cursor: Any, *_: object, seen: list[object] = seen) -> None:
            seen.append(cursor.connection._connection.pgconn)

        with conversation(made, ALDER), made.connect() as connection:
            connection.execute(OURS)
            pgconn: Any = seen[0]
            assert pgconn.exec_(b"SHOW transaction_read_only").get_value(0, 0) == expected.encode()


def test_read_only_and_isolation_are_options_of_connections(writer: Engine, engine: Engine) -> None:
    with conversation(writer, ALDER):
        reading = writer.connect().execution_options(postgresql_readonly=True)
        with reading as connection, pytest.raises(SQLAlchemyError, match="may only read"):
            connection.execute(text("INSERT INTO notes (user_id, title) VALUES ('user_1', 'x')"))
        with writer.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            assert connection.get_isolation_level() == "REPEATABLE READ"
            assert connection.scalar(OURS) == 1
        with writer.connect() as connection:
            assert connection.get_isolation_level() == "READ COMMITTED"
    with pytest.raises(ArgumentError, match="AUTOCOMMIT"), engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
    for wanted in (True, False):
        with conversation(engine, ALDER), engine.connect().execution_options(postgresql_readonly=wanted) as connection:
            assert connection.scalar(text("SELECT 1")) == 1
            assert connection.connection.dbapi_connection.read_only  # type: ignore[union-attr]
    assert engine.pool.checkedin() == 1  # type: ignore[attr-defined]


def test_isolation_of_a_whole_engine(make_engine: MakeEngine) -> None:
    engine = make_engine(isolation_level="SERIALIZABLE")
    with conversation(engine, ALDER), engine.connect() as connection:
        assert connection.scalar(OURS) == 1
        assert connection.get_isolation_level() == "SERIALIZABLE"
    with pytest.raises(ArgumentError, match="AUTOCOMMIT"), make_engine(isolation_level="AUTOCOMMIT").connect():
        pass


def test_a_stream_stands_in_the_way_of_a_commit(writer: Engine, place: Place) -> None:
    with conversation(writer, ALDER), writer.connect() as connection:
        connection.execute(text("INSERT INTO notes (user_id, title) VALUES ('user_1', 'streamed')"))
        connection.execution_options(stream_results=True).execute(select(Order)).fetchone()
        with pytest.raises(SQLAlchemyError, match="still being streamed"):
            connection.commit()
    assert place.owner().execute("SELECT count(*) FROM notes WHERE title = 'streamed'").fetchone() == (0,)


def test_ends_wait_for_no_other_thread(engine: Engine) -> None:
    raw: Any = engine.raw_connection()
    with conversation(engine, ALDER):
        raw.cursor().execute("SELECT 1")
    with raw.dbapi_connection._free, pytest.raises(SQLAlchemyError, match="busy"):  # as if a thread used it
        raw.rollback()
    raw.rollback()
    assert not raw.dbapi_connection.closed
    raw.close()
