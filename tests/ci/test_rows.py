"""What is called no wider gives no more rows, on a real server: random filters, random changes, random rows."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from rlsgen.ci import predicates
from rlsgen.ci.changes import Order
from rlsgen.ci.rows import Declared, orders
from rlsgen.identifiers import Name
from rlsgen.spec.load import parse_spec
from tests.support.postgres import Connection, Databases, Server

TABLES = ("memberships", "orders", "lines")
PLAIN = (
    "org = userContext.org", "NOT org = userContext.org", "org IS NULL", "kind = 'a'", "kind IN ('a', 'b')",
    "kind IN ('b')", "kind IN ('a', 'c', 'b')", "kind NOT IN ('a', 'b')", "kind NOT IN ('a')", "true", "false", "n > 2",
)  # fmt: skip
READING = (
    "id IN (SELECT n FROM memberships)", "id NOT IN (SELECT n FROM memberships)",
    "id IN (SELECT n FROM memberships WHERE kind = 'a')", "id IN (SELECT max(n) FROM memberships)",
    "EXISTS (SELECT 1 FROM memberships AS m WHERE m.n = orders.n)",
    "EXISTS (SELECT 1 FROM memberships AS m LEFT JOIN memberships AS o ON o.id = m.n WHERE o.id IS NULL)",
    "n > ALL (SELECT n FROM memberships)", "n > ANY (SELECT n FROM memberships)",
    "(SELECT count(*) FROM memberships) > 9", "id IN (SELECT n FROM memberships ORDER BY n LIMIT 2)",
    "id IN (SELECT n FROM memberships EXCEPT SELECT n FROM memberships WHERE kind = 'b')",
    "(SELECT true FROM memberships AS m WHERE m.id = orders.n)",
)  # fmt: skip
PATHS = {"lines": {"through": "n -> orders(id)"}}
CONTEXTS = ("1", "2", "NULL::integer")


def conditions(atoms: tuple[str, ...]) -> st.SearchStrategy[str]:
    def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        joined = st.tuples(st.sampled_from([" AND ", " OR "]), st.lists(inner, min_size=2, max_size=3))
        return joined.map(lambda pair: f"({pair[0].join(pair[1])})") | inner.map(lambda each: f"NOT ({each})")

    return st.recursive(st.sampled_from(atoms), larger, max_leaves=5)


@st.composite
def pairs(draw: st.DrawFn, atoms: tuple[str, ...]) -> tuple[str, str]:
    """A filter and what becomes of it: itself, with another condition before or after it, or anything."""
    before, other = draw(conditions(atoms)), draw(conditions(atoms))
    forms = (before, f"({other}) AND ({before})", f"({before}) OR ({other})", other)
    pair = before, draw(st.sampled_from(forms))
    return pair if draw(st.booleans()) else (pair[1], pair[0])


Filters = dict[str, tuple[str, str]]
changes = st.fixed_dictionaries({"memberships": pairs(PLAIN), "orders": pairs(PLAIN + READING), "lines": pairs(PLAIN)})


def proven(filters: Filters) -> dict[str, Order]:
    """What is said of each table."""
    worlds = [_spec({name: pair[number] for name, pair in filters.items()}) for number in (0, 1)]
    found = orders(*worlds)
    return {name: found["read", Name("public", name)] for name in TABLES}


def _spec(filters: dict[str, str]) -> Declared:
    # Every filter has to use the context; this does, and is always true.
    tables = {
        name: {"filter": f"({text}) AND (userContext.org IS NULL OR true)"} | PATHS.get(name, {})
        for name, text in filters.items()
    }
    document = {
        "version": 1, "context": {"org": {"type": "integer", "required": False}}, "roles": {"conversation": "c"},
        "tables": tables,
    }  # fmt: skip
    return Declared(parse_spec(json.dumps(document), "spec.yaml"))


def rows(connection: Connection, filters: dict[str, str], context: str) -> dict[str, set[int]]:
    """What is visible: each table's own filter, over what is visible of the others."""
    texts = {name: text.replace("userContext.org", context) for name, text in filters.items()}
    query = f"""
        WITH memberships AS MATERIALIZED (SELECT * FROM base AS memberships WHERE {texts["memberships"]}),
             orders AS MATERIALIZED (SELECT * FROM base AS orders WHERE {texts["orders"]}),
             lines AS MATERIALIZED (
               SELECT * FROM base AS lines WHERE ({texts["lines"]}) AND n IN (SELECT id FROM orders))
        SELECT ARRAY(SELECT id FROM memberships), ARRAY(SELECT id FROM orders), ARRAY(SELECT id FROM lines)"""
    found = connection.execute(query.encode()).fetchone()
    assert found is not None
    return {name: set(ids) for name, ids in zip(TABLES, found, strict=True)}


def contradictions(connection: Connection, filters: Filters) -> list[str]:
    """Tables of which something was proven that is not so."""
    found, told = [], proven(filters)
    for context in CONTEXTS:
        before, after = (
            rows(connection, {name: pair[number] for name, pair in filters.items()}, context) for number in (0, 1)
        )
        for name, order in told.items():
            if (order.no_more and after[name] - before[name]) or (order.no_less and before[name] - after[name]):
                found.append(f"{name} for {context}: {order}")
    return found


@pytest.fixture(scope="module")
def data(server: Server) -> Iterator[Connection]:
    databases = Databases(server, "ci_rows")
    connection = databases().connect()
    connection.execute(
        "CREATE TABLE base AS SELECT id, nullif(id % 4, 3) AS org, nullif(id * 7 % 11, 5) AS n,"
        " (ARRAY['a', 'b', 'c', NULL])[id % 3 + id / 9 % 2 + 1] AS kind FROM generate_series(0, 40) AS id"
    )
    yield connection
    databases.drop()


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(filters=changes)
def test_what_is_proven_is_so(data: Connection, filters: Filters) -> None:
    for name, order in proven(filters).items():
        event(f"{name} {order.direction}")
    assert contradictions(data, filters) == []


KEPT = ("org = userContext.org", "org = userContext.org")
WRONG = {
    "exclusion": {"memberships": ("n >= 0", "n >= 0 AND kind = 'a'"), "orders": (READING[1],) * 2, "lines": KEPT},
    "a limit": {"memberships": ("true", "n > 2"), "orders": (READING[9],) * 2, "lines": KEPT},
    "an aggregate": {"memberships": ("true", "n < 4"), "orders": (READING[3],) * 2, "lines": KEPT},
    "an outer join": {"memberships": ("n = 0", "n = 0 AND id > 0"), "orders": (READING[5],) * 2, "lines": KEPT},
    "a comparison with all": {"memberships": ("n > 2", "n > 2 AND n < 4"), "orders": (READING[6],) * 2, "lines": KEPT},
}


@pytest.mark.parametrize("filters", WRONG.values(), ids=WRONG.keys())
def test_without_care_for_sub_queries_it_would_be_wrong(
    data: Connection, filters: Filters, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert contradictions(data, filters) == []
    monkeypatch.setattr(predicates, "_is_monotone", lambda node, links: True)
    assert contradictions(data, filters)


def test_lists_after_not_in_would_be_wrong(data: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    filters = {"memberships": KEPT, "orders": ("kind NOT IN ('a', 'b')", "kind NOT IN ('a')"), "lines": KEPT}
    assert contradictions(data, filters) == []
    assert not proven(filters)["orders"].no_more
    monkeypatch.setattr(predicates, "_IN", ("<>",))
    assert contradictions(data, filters)


def test_tables_in_a_circle_stand_or_fall_together() -> None:
    def world(extra: str) -> Declared:
        tables = {
            "a": {"filter": f"org = userContext.org {extra}", "through": "n -> b(id)"},
            "b": {"filter": "org = userContext.org", "through": "n -> a(id)"},
        }
        document = {"version": 1, "context": {"org": "integer"}, "roles": {"conversation": "c"}, "tables": tables}
        return Declared(parse_spec(json.dumps(document), "spec.yaml"))

    same, narrower = orders(world(""), world("")), orders(world(""), world("AND n > 1"))
    assert {str(each.direction) for each in same.values()} == {"unchanged"}
    assert {str(each.direction) for each in narrower.values()} == {"narrowed"}
    assert {str(each.direction) for each in orders(world(""), world("OR n > 1")).values()} == {"widened"}
