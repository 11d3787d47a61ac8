"""Traces: per table the filter that applied and what Postgres' plan did with it, read from real plans."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from rlsgen import AsyncConversationPool, Conversation, ConversationPool
from rlsgen.errors import QueryTimeout, StatementRefused
from rlsgen.identifiers import Name
from rlsgen.runtime.trace import Scan, Trace
from rlsgen.spec.model import Limits
from tests.runtime.conftest import Place
from tests.runtime.talking import ALDER

LAST_ORDERS = "SELECT id, total FROM orders WHERE created_at > now() - interval '7 days'"


@pytest.fixture
def conversation(place: Place) -> Iterator[Conversation]:
    with ConversationPool(place.dsn, place.spec, place.key, known_holes="warn") as pool:
        yield pool.conversation(ALDER)


def scan(trace: Trace, relation: str) -> Scan:
    scans = next(each.scans for each in trace.tables if each.relation == Name("public", relation))
    assert len(scans) == 1
    return scans[0]


def test_a_filter_reaches_its_index(conversation: Conversation) -> None:
    """By its twin: the value stands in the index condition, and the policy is looked at once."""
    trace = conversation.explain(LAST_ORDERS)
    assert [(each.relation, each.filter) for each in trace.tables] == [
        (Name("public", "orders"), "organisation_id = userContext.organisationId")
    ]
    found = scan(trace, "orders")
    assert found.indexes == ("orders_organisation_id_created_at_idx",)
    assert "organisation_id = 1" in " ".join(found.index_conditions)
    assert len(found.one_time_filters) == 1
    assert trace.twins == ("organisationId",)
    assert (found.rows, trace.execution_ms) == (None, None)


def test_without_twins_the_policy_alone(place: Place) -> None:
    with ConversationPool(place.dsn, place.spec, place.key, known_holes="warn", twins=False) as pool:
        trace = pool.conversation(ALDER).explain(LAST_ORDERS)
    found = scan(trace, "orders")
    conditions = " ".join([*found.index_conditions, found.filter or ""])
    assert "organisation_id = 1" not in conditions
    assert "organisation_id = " in conditions
    assert trace.twins == ()
    assert found.one_time_filters == ()


def test_analyze_counts(conversation: Conversation) -> None:
    text = "SELECT count(*) FROM orders WHERE status <> 'cancelled'"
    whole, own = conversation.query("SELECT count(*) FROM orders").rows[0][0], conversation.query(text).rows[0][0]
    trace = conversation.explain(text, analyze=True)
    found = scan(trace, "orders")
    assert (found.rows, found.times) == (own, 1)
    assert found.removed is not None
    assert found.removed >= whole - own
    assert trace.execution_ms is not None


@pytest.mark.parametrize(
    "text",
    [
        "SELECT count(*) FROM events",
        "SELECT e.kind FROM events AS e WHERE kind = 'view'",
        # Grouped by its key, the table stands in what runs under the alias of the text.
        "SELECT e.*, count(*) FROM events AS e GROUP BY e.organisation_id, e.occurred_at, e.id",
    ],
)
def test_partitions_belong_to_their_table(conversation: Conversation, text: str) -> None:
    trace = conversation.explain(text)
    (events,) = trace.tables
    assert events.relation == Name("public", "events")
    assert len(events.scans) > 2
    assert all(each.relation.name.startswith("events_") for each in events.scans)
    assert trace.others == ()


def test_a_path_and_what_it_reads(conversation: Conversation) -> None:
    trace = conversation.explain("SELECT sum(quantity) FROM order_items")
    assert [each.filter for each in trace.tables] == ["order_id -> orders(id)"]
    probes = [each for each in trace.others if each.subplan is not None]
    assert {each.relation for each in probes} == {Name("public", "orders")}
    assert scan(trace, "order_items").filter is not None


def test_a_view_and_what_it_reads(conversation: Conversation) -> None:
    trace = conversation.explain("SELECT * FROM monthly_revenue")
    assert [(each.filter, each.scans) for each in trace.tables] == [("invoker", ())]
    assert {each.relation for each in trace.others} == {Name("public", "orders")}


def test_nothing_to_read(place: Place) -> None:
    """Without a team: the planner proves that no project can pass."""
    with ConversationPool(place.dsn, place.spec, place.key, known_holes="warn") as pool:
        trace = pool.conversation({"organisationId": 1, "userId": "user_1"}).explain("SELECT * FROM projects")
    (projects,) = trace.tables
    if projects.scans:  # before PostgreSQL 18 the plan still has a scan, which is never started
        assert scan(trace, "projects").one_time_filters == ("false",)
    else:
        assert trace.one_time_filters == ("false",)


def test_a_table_that_stands_twice(conversation: Conversation) -> None:
    trace = conversation.explain("SELECT count(*) FROM users a JOIN users b ON a.name = b.email")
    assert [each.relation.name for each in trace.tables] == ["users"]
    assert len(trace.tables[0].scans) == 2


def test_parameters(conversation: Conversation) -> None:
    trace = conversation.explain("SELECT * FROM orders WHERE id = $1", [43])
    assert "43" in " ".join(scan(trace, "orders").index_conditions)


def test_a_write_is_planned_and_not_done(conversation: Conversation) -> None:
    before = conversation.query("SELECT count(*) FROM notes").rows
    trace = conversation.explain("DELETE FROM notes")
    assert [each.relation.name for each in trace.tables] == ["notes"]
    with pytest.raises(StatementRefused, match="analyze would run what writes"):
        conversation.explain("DELETE FROM notes", analyze=True)
    assert conversation.query("SELECT count(*) FROM notes").rows == before


def test_what_the_guard_refuses_is_not_explained(conversation: Conversation, place: Place) -> None:
    for text in ("SELECT * FROM api_keys", "EXPLAIN SELECT 1", "ANALYZE", "SELECT pg_sleep(1)"):
        with pytest.raises(StatementRefused):
            conversation.explain(text)
    with (
        ConversationPool(place.dsn, place.spec, place.key, known_holes="warn", guard=False) as pool,
        pytest.raises(StatementRefused, match="only what the guard has checked"),
    ):
        pool.conversation(ALDER).explain("SELECT 1")


def test_limits_hold(place: Place) -> None:
    """Rows and bytes do not cut a plan; seconds end it."""
    limits = Limits(per="organisationId", rows=1, bytes=1, seconds=0.3)
    slow = "SELECT count(*) FROM orders a, orders b, orders c"
    with ConversationPool(place.dsn, place.spec, place.key, known_holes="warn", limits=limits) as pool:
        assert pool.conversation(ALDER).explain(slow).tables
        with pytest.raises(QueryTimeout):
            pool.conversation(ALDER).explain(slow, analyze=True)


def test_asyncio_gives_the_same(place: Place, conversation: Conversation) -> None:
    async def explain() -> tuple[Trace, str]:
        async with AsyncConversationPool(place.dsn, place.spec, place.key, known_holes="warn") as pool:
            own = pool.conversation(ALDER)
            return await own.explain(LAST_ORDERS), own.describe().to_markdown()

    trace, description = asyncio.run(explain())
    assert trace.tables == conversation.explain(LAST_ORDERS).tables
    assert description == conversation.describe().to_markdown()
