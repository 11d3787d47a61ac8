"""Fuzzing: nothing crashes the guard, and what it lets through a second check, written apart from it, lets through too."""

from __future__ import annotations

import random
import re

import postgast
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlsgen.errors import StatementRefused
from rlsgen.runtime.guard.allowed import catalog
from rlsgen.runtime.statement import Statement
from rlsgen.spec.trees import same, statement_to_sql
from tests.guard.independent import Facts, complaints
from tests.guard.shop import Shop
from tests.guard.test_attacks import EVERY
from tests.guard.texts import corpus

TEXTS = sorted(corpus().values())
ATTACKS = [text for _, text in EVERY]
PIECES = [
    "pg_sleep(1)", "o.ctid", "(o).query_to_xml", "(SELECT 1)", "api_keys", "pg_catalog.pg_class", "'orders'::regclass",
    "current_user", "FOR UPDATE", "; SELECT 2", "unnest(ARRAY[1])", "LATERAL", "x.pg_sleep", "o", "*", "o.*", "NATURAL JOIN users",
    "UNION ALL SELECT 1", "OVER ()", "::text", "::int[]", "[1]", ".total", "$1", "WITH api_keys AS (SELECT 1) SELECT 1",
    "FILTER (WHERE true)", "TABLESAMPLE SYSTEM (1)", "INTO x", "OPERATOR(public.+)", "COLLATE \"C\"", "AS pg_class", "(", ")",
    "GROUP BY id", "ROW(1, 2)", "f1", "generate_series(1, 5)", "set_config('a.b', '1', true)", "NULL", "DEFAULT", "\"", "'", "--", "/*",
]  # fmt: skip
SLOW = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


class Judge:
    """The guard, and the second check of what it lets through."""

    def __init__(self, shop: Shop) -> None:
        relations = shop.schema.relations.items()
        self.facts = Facts.read(shop.database.connect())
        self._readable = {(name.schema, name.name): frozenset(c.name for c in each.columns) for name, each in relations}
        self._guard = shop.guard

    def complaints(self, sql: str) -> list[str]:
        return complaints(sql, self._readable, self.facts)

    def passed(self, text: str) -> Statement | None:
        """What the guard makes of a text; a refusal is fine, anything else is not."""
        try:
            return self._guard.check(text)
        except StatementRefused as error:
            if not error.message or not 0 <= (error.offset or 0) <= len(text):
                pytest.fail(f"a refusal without words, or with a place outside of the text: {text!r}")
            return None

    def examine(self, text: str) -> bool:
        """Whether the guard lets a text through; then nothing may be wrong with what runs."""
        statement = self.passed(text)
        if statement is None:
            return False
        assert self.complaints(statement.sql) == [], (text, statement.sql)
        assert same(postgast.parse(statement.sql), postgast.parse(statement_to_sql(postgast.parse(statement.sql))))
        return True


@pytest.fixture(scope="module")
def judge(guarded: Shop) -> Judge:
    return Judge(guarded)


def test_the_second_check_finds_nothing_in_the_corpus(judge: Judge) -> None:
    for text in TEXTS:
        assert judge.examine(text)


def test_the_second_check_refuses_the_attacks(judge: Judge) -> None:
    """It would be worth little if it let everything through; it need not know every reason."""
    bad = 0
    for _, text in EVERY:
        try:
            bad += bool(judge.complaints(text))
        except postgast.PgQueryError:
            bad += 1
    assert bad > len(EVERY) * 0.9


@st.composite
def mutations(draw: st.DrawFn) -> str:
    """A text of the corpus or an attack, with words dropped, doubled, swapped, or taken from elsewhere."""
    text = draw(st.sampled_from(TEXTS + ATTACKS))
    words = re.findall(r"\w+|\s+|[^\w\s]", text)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(words) - 1, 0)))
        kind = draw(st.sampled_from(["drop", "double", "swap", "piece", "other"]))
        if kind == "drop" and words:
            del words[at]
        elif kind == "double" and words:
            words.insert(at, words[at])
        elif kind == "swap" and words:
            other = draw(st.integers(0, len(words) - 1))
            words[at], words[other] = words[other], words[at]
        elif kind == "piece":
            words[at:at] = [" ", draw(st.sampled_from(PIECES)), " "]
        else:
            theirs = re.findall(r"\w+|\s+|[^\w\s]", draw(st.sampled_from(TEXTS)))
            start = draw(st.integers(0, max(len(theirs) - 1, 0)))
            words[at:at] = theirs[start : start + draw(st.integers(1, 12))]
    return "".join(words)


@settings(max_examples=800, deadline=None, suppress_health_check=SLOW)
@given(text=mutations())
def test_mutations(judge: Judge, text: str) -> None:
    judge.examine(text)


names = st.sampled_from(["o", "u", "x", "t", "orders", "users", "api_keys", "pg_class", "total", "ctid", "pg_sleep", "count",
                         "id", "name", "query_to_xml", "password_hash", "status", "value", "f1"])  # fmt: skip
values = st.recursive(
    st.one_of(
        st.sampled_from(["1", "'x'", "NULL", "$1", "now()", "current_user", "*", "true", "CURRENT_DATE"]),
        names,
        st.builds("{}.{}".format, names, names),
    ),
    lambda inner: st.one_of(
        st.builds("({}).{}".format, inner, names),
        st.builds("{}({})".format, names, inner),
        st.builds("pg_catalog.{}({})".format, names, inner),
        st.builds("({} + {})".format, inner, inner),
        st.builds("CASE WHEN {} THEN {} END".format, inner, inner),
        st.builds("ARRAY[{}, {}]".format, inner, inner),
        st.builds("({})[1]".format, inner),
        st.builds("({})::{}".format, inner, st.sampled_from(["text", "int", "regclass", "orders", "jsonb", "name"])),
        st.builds("(SELECT {} FROM orders o)".format, inner),
        st.builds("sum({}) OVER (ORDER BY {})".format, inner, inner),
        st.builds("coalesce({}, {})".format, inner, inner),
        st.builds("ROW({}, {})".format, inner, inner),
    ),
    max_leaves=6,
)
sources = st.recursive(
    st.one_of(
        st.builds("{} AS {}".format, st.sampled_from(["orders", "users", "api_keys", "teams", "public.orders"]), names),
        st.sampled_from(["orders", "public.orders", "api_keys", "monthly_revenue", "pg_class", "x", "events"]),
        st.builds("unnest(ARRAY[1]) AS {}".format, names),
        st.builds("generate_series(1, 3) AS {}({})".format, names, names),
        st.builds("jsonb_each('{{}}') AS {}".format, names),
        st.builds("(SELECT {} AS {}, 1 AS {}) AS {}".format, values, names, names, names),
        st.builds("LATERAL (SELECT {}) AS {}".format, values, names),
    ),
    lambda inner: st.one_of(
        st.builds("{} JOIN {} ON {}".format, inner, inner, values),
        st.builds("{} LEFT JOIN {} USING (id)".format, inner, inner),
        st.builds("{} NATURAL JOIN {}".format, inner, inner),
        st.builds("({} CROSS JOIN {}) AS {}".format, inner, inner, names),
        st.builds("{}, {}".format, inner, inner),
    ),
    max_leaves=3,
)
queries = st.builds(
    "{}SELECT {} FROM {}{}{}".format,
    st.sampled_from(["", "WITH x AS (SELECT 1 AS id) ", "WITH orders AS (SELECT * FROM orders) ",
                     "WITH RECURSIVE x(id) AS (SELECT 1 UNION ALL SELECT id FROM x) ", "WITH api_keys AS (TABLE teams) "]),
    st.lists(st.one_of(values, st.builds("{}.*".format, names)), min_size=1, max_size=3).map(", ".join),
    sources,
    st.one_of(st.just(""), st.builds(" WHERE {}".format, values)),
    st.one_of(st.just(""), st.builds(" GROUP BY {}".format, values), st.builds(" ORDER BY {}".format, values)),
)  # fmt: skip


@settings(max_examples=800, deadline=None, suppress_health_check=SLOW)
@given(text=queries)
def test_generated(judge: Judge, text: str) -> None:
    judge.examine(text)


@settings(max_examples=600, deadline=None, suppress_health_check=SLOW)
@given(text=st.one_of(st.text(max_size=200), st.text("()[]{}.,;:'\"$-+*/=<>abSELECT 1\n\\\0", max_size=100)))
def test_any_text(judge: Judge, text: str) -> None:
    judge.passed(text)


def test_what_passes_never_calls_more_than_the_list(judge: Judge) -> None:
    """Every function of pg_catalog, one by one, as a call and as an attribute: only the list's pass."""
    shuffled = sorted(judge.facts.functions)
    random.Random(1).shuffle(shuffled)
    for name in shuffled:
        for text in (f'SELECT "{name}"(x) FROM orders x', f'SELECT pg_catalog."{name}"(x) FROM orders x'):
            assert judge.passed(text) is None or name in catalog().functions
        columns = {"id", "organisation_id", "user_id", "country_code", "status", "total", "created_at"}
        for text in (f'SELECT x."{name}" FROM orders x', f'SELECT (x)."{name}" FROM orders x', f'SELECT (5)."{name}"'):
            assert judge.passed(text) is None or name in columns
