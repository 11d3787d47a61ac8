"""ORM sessions: relationships, lazy loads, writes. An application's models work as they are."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, delete, func, insert, select, update
from sqlalchemy.orm import Session, joinedload, selectinload, subqueryload

from rlsgen.errors import ContextRefused, StatementRefused
from rlsgen.runtime.sqlalchemy import conversation
from tests.runtime.conftest import Place
from tests.sqlalchemy.conftest import ALDER, BIRCH
from tests.sqlalchemy.models import Item, Note, Order, Organisation, Product, User


@pytest.mark.parametrize(("context", "organisation"), [(ALDER, 1), (BIRCH, 2)])
def test_models_show_one_organisation(engine: Engine, context: dict[str, object], organisation: int) -> None:
    with conversation(engine, context), Session(engine) as session:
        assert [each.id for each in session.scalars(select(Organisation))] == [organisation]
        assert {each.organisation_id for each in session.scalars(select(Order))} == {organisation}


def test_lazy_loads_follow_relationships(engine: Engine) -> None:
    with conversation(engine, ALDER), Session(engine) as session:
        order = session.scalars(select(Order).order_by(Order.id).limit(1)).one()
        assert order.user.organisation.id == 1
        assert order.items[0].product.name
        assert order in order.user.orders
        assert order.items[0].product.sold > 0


@pytest.mark.parametrize("option", [selectinload, joinedload, subqueryload])
def test_eager_loads(engine: Engine, option: type) -> None:
    with conversation(engine, BIRCH), Session(engine) as session:
        query = select(Order).options(option(Order.items).joinedload(Item.product), option(Order.user)).limit(30)
        orders = session.scalars(query).unique().all()
        assert len(orders) == 30
        assert {item.product.organisation_id for order in orders for item in order.items} == {2}


def test_get_finds_no_foreign_row(engine: Engine, place: Place) -> None:
    with place.superuser() as superuser:
        foreign = superuser.execute("SELECT id FROM orders WHERE organisation_id = 2 LIMIT 1").fetchone()
    assert foreign is not None
    with conversation(engine, ALDER), Session(engine) as session:
        assert session.get(Order, foreign[0]) is None
    with conversation(engine, BIRCH), Session(engine) as session:
        assert session.get(Order, foreign[0]) is not None


def test_lazy_load_outside_of_the_block_raises(engine: Engine) -> None:
    with Session(engine) as session:
        with conversation(engine, ALDER):
            order = session.scalars(select(Order).limit(1)).one()
            session.rollback()
        with pytest.raises(ContextRefused, match="no conversation"):
            order.items  # noqa: B018


def test_unit_of_work(writer: Engine, place: Place) -> None:
    with conversation(writer, ALDER):
        with Session(writer) as session, session.begin():
            notes = [Note(user_id="user_1", title=f"unit {n}", body="b") for n in range(25)]
            session.add_all(notes)
            session.flush()
            assert len({each.id for each in notes}) == 25  # RETURNING, in the order of the objects
            assert [session.get_one(Note, each.id).title for each in notes] == [f"unit {n}" for n in range(25)]
        with Session(writer) as session, session.begin():
            changed = session.scalars(select(Note).where(Note.title.like("unit %")).order_by(Note.id)).all()
            for number, each in enumerate(changed):
                each.body = f"changed {number % 3}"
        with Session(writer) as session, session.begin():
            counted = select(Note.body, func.count()).where(Note.title.like("unit %")).group_by(Note.body)
            assert sorted(map(tuple, session.execute(counted))) == [
                ("changed 0", 9),
                ("changed 1", 8),
                ("changed 2", 8),
            ]
            for each in session.scalars(select(Note).where(Note.title.like("unit %"))):
                session.delete(each)
        with Session(writer) as session:
            assert session.scalars(select(Note).where(Note.title.like("unit %"))).all() == []
    assert place.owner().execute("SELECT count(*) FROM notes WHERE title LIKE 'unit %'").fetchone() == (0,)


def test_bulk_statements(writer: Engine) -> None:
    with conversation(writer, ALDER), Session(writer) as session:
        rows = [{"user_id": "user_1", "title": f"bulk {n}", "pinned": n % 2 == 0} for n in range(2_500)]
        titles = session.scalars(insert(Note).returning(Note.title, sort_by_parameter_order=True), rows).all()
        assert titles == [each["title"] for each in rows]
        session.execute(insert(Note), rows[:50])
        done = session.execute(update(Note).where(Note.title.like("bulk %"), Note.pinned).values(body="pinned"))
        assert done.rowcount == 1_275  # type: ignore[attr-defined]
        gone = session.scalars(delete(Note).where(Note.title.like("bulk %")).returning(Note.id)).all()
        assert len(gone) == 2_550
        session.rollback()


def test_savepoints(writer: Engine) -> None:
    with conversation(writer, ALDER), Session(writer) as session:
        session.add(Note(user_id="user_1", title="outer"))
        session.flush()
        nested = session.begin_nested()
        session.add(Note(user_id="user_1", title="inner"))
        session.flush()
        nested.rollback()
        nested = session.begin_nested()
        session.add(Note(user_id="user_2", title="someone else's"))
        with pytest.raises(StatementRefused):
            session.flush()
        nested.rollback()
        with session.begin_nested():
            session.add(Note(user_id="user_1", title="kept"))
        titles = session.scalars(select(Note.title).where(Note.title.in_(["outer", "inner", "kept"]))).all()
        assert sorted(titles) == ["kept", "outer"]
        session.rollback()


def test_savepoint_comes_first(writer: Engine) -> None:
    with conversation(writer, ALDER), Session(writer) as session, session.begin_nested():
        assert session.scalar(select(func.count()).select_from(Organisation)) == 1


def test_rows_of_others_cannot_be_written(writer: Engine, place: Place) -> None:
    with conversation(writer, ALDER), Session(writer) as session:
        session.add(Note(user_id="user_301", title="planted"))
        with pytest.raises(StatementRefused, match="outside"):
            session.commit()
    with conversation(writer, ALDER), Session(writer) as session:
        done = session.execute(update(Note).where(Note.user_id == "user_301").values(title="taken"))
        assert done.rowcount == 0  # type: ignore[attr-defined]
        session.commit()
    assert place.owner().execute("SELECT count(*) FROM notes WHERE title IN ('planted', 'taken')").fetchone() == (0,)


def test_reading_engines_do_not_write(engine: Engine) -> None:
    with conversation(engine, ALDER), Session(engine) as session:
        session.add(Note(user_id="user_1", title="x"))
        with pytest.raises(StatementRefused, match="only read"):
            session.commit()


def test_tables_that_the_spec_does_not_open_are_not_written(writer: Engine) -> None:
    with conversation(writer, ALDER), Session(writer) as session, pytest.raises(StatementRefused):
        session.execute(update(Order).values(status="cancelled"))


def test_expired_objects_are_refreshed_within_the_block(writer: Engine) -> None:
    with conversation(writer, ALDER), Session(writer) as session:
        product = session.scalars(select(Product).limit(1)).one()
        session.commit()
        assert product.organisation_id == 1


def test_users_of_one_organisation_have_their_own_notes(engine: Engine) -> None:
    with conversation(engine, ALDER), Session(engine) as session:
        everybody = session.scalars(select(User).options(selectinload(User.notes))).all()
        assert len(everybody) > 100
        assert {each.id for each in everybody if each.notes} == {"user_1"}
