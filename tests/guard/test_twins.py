"""Twins change no answer: on joins of every kind, on data with NULL keys, and for every type that they are made for."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlsgen.runtime.guard import Guard
from rlsgen.spec.load import parse_spec
from tests.guard.conftest import provision
from tests.guard.shop import Shop, Talk
from tests.support.postgres import Databases, Server

SPEC = """
version: 1
context: {org: integer, big: bigint, key: uuid, word: text, day: {type: date, required: false}, ids: "integer[]"}
roles: {conversation: nl_conversation, unrestricted: [shop_owner, shop_app]}
tables:
  a: org = userContext.org
  b: {filter: userContext.org = b.org AND (x IS NULL OR x < 5)}
  c: {through: b_id -> b(id)}
  d: {through: [c_id -> c(id), a_id -> a(id)]}
  e: org = userContext.big
  f: key = userContext.key
  g: word = userContext.word
  h: word = userContext.key
  i: word = userContext.org
  j: day = userContext.day
  k: org = ANY (userContext.ids)
  l: org = userContext.org OR x = 1
  m: {filter: org = userContext.org, through: parent -> m(id)}
  n: amount = userContext.org
  o: moment = userContext.day::timestamp AT TIME ZONE 'UTC'
  p: {filter: dom = userContext.org, columns: {hide: [x]}}
  s: {filter: org = userContext.org, columns: {hide: [org]}}
  t: {through: s_id -> s(id)}
"""
TABLES = """
CREATE DOMAIN small AS integer CHECK (VALUE < 1000);
CREATE TABLE a (id integer PRIMARY KEY, org integer, x integer, y text);
CREATE TABLE b (id integer PRIMARY KEY, org integer, x integer, y text);
CREATE TABLE c (id integer PRIMARY KEY, b_id integer, x integer, y text);
CREATE TABLE d (id integer PRIMARY KEY, c_id integer, a_id integer, x integer, y text);
CREATE TABLE e (id integer PRIMARY KEY, org integer, x integer, y text);
CREATE TABLE f (id integer PRIMARY KEY, key uuid, x integer, y text);
CREATE TABLE g (id integer PRIMARY KEY, word varchar(20), x integer, y text);
CREATE TABLE h (id integer PRIMARY KEY, word text, x integer, y text);
CREATE TABLE i (id integer PRIMARY KEY, word text, x integer, y text);
CREATE TABLE j (id integer PRIMARY KEY, day date, x integer, y text);
CREATE TABLE k (id integer PRIMARY KEY, org integer, x integer, y text);
CREATE TABLE l (id integer PRIMARY KEY, org integer, x integer, y text);
CREATE TABLE m (id integer PRIMARY KEY, org integer, parent integer, x integer, y text);
CREATE TABLE n (id integer PRIMARY KEY, amount numeric, x integer, y text);
CREATE TABLE o (id integer PRIMARY KEY, moment timestamptz, x integer, y text);
CREATE TABLE p (id integer PRIMARY KEY, dom small, x integer, y text);
CREATE TABLE s (id integer PRIMARY KEY, org integer, x integer, y text);
CREATE TABLE t (id integer PRIMARY KEY, s_id integer, x integer, y text);
INSERT INTO a SELECT n, nullif(n % 4, 3), nullif(n % 7, 0), CASE WHEN n % 5 > 0 THEN 'v' || n % 3 END FROM generate_series(1, 40) n;
INSERT INTO b SELECT * FROM a; INSERT INTO e SELECT * FROM a; INSERT INTO k SELECT * FROM a; INSERT INTO l SELECT * FROM a;
INSERT INTO p SELECT * FROM a; INSERT INTO s SELECT * FROM a; INSERT INTO n SELECT * FROM a;
INSERT INTO c SELECT id, nullif((id * 3) % 45, 3), x, y FROM a;
INSERT INTO d SELECT id, nullif((id * 7) % 42, 2), nullif((id * 5) % 41, 4), x, y FROM a;
INSERT INTO f SELECT id, CASE WHEN org > 0 THEN ('ab000000-0000-0000-0000-00000000000' || org)::uuid END, x, y FROM a;
INSERT INTO g SELECT id, 'W' || org, x, y FROM a;
INSERT INTO h SELECT id, CASE WHEN org > 0 THEN 'ab000000-0000-0000-0000-00000000000' || org END, x, y FROM a;
INSERT INTO i SELECT id, org::text, x, y FROM a;
INSERT INTO j SELECT id, date '2024-01-01' + org, x, y FROM a;
INSERT INTO m SELECT id, org, CASE WHEN id > 4 THEN id - 4 END, x, y FROM a;
INSERT INTO o SELECT id, '2024-01-01'::timestamptz + make_interval(days => org), x, y FROM a;
INSERT INTO t SELECT id, nullif((id * 3) % 45, 3), x, y FROM a;
ANALYZE;
"""
CONTEXT = {
    "org": 1,
    "big": 1,
    "key": "AB000000-0000-0000-0000-000000000001",
    "word": "W1",
    "day": "2024-01-02",
    "ids": [1, 2],
}
NAMES = "abcdefghijklmnopst"
WITH_TWINS = {
    "a": {"org"}, "b": {"org"}, "c": {"org"}, "d": {"org"}, "e": {"big"}, "f": {"key"}, "g": {"word"}, "h": {"key"},
    "i": {"org"}, "j": {"day"}, "m": {"org"}, "p": {"org"},
}  # fmt: skip


@pytest.fixture(scope="module")
def zoo(server: Server) -> Iterator[Shop]:
    databases = Databases(server, f"twins_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.getpid()}")
    database = databases()
    database.connect().execute(TABLES.encode())
    spec = parse_spec(SPEC, "policies.yaml")
    schema, key = provision(database, spec)
    yield Shop(database, spec, schema, key, Guard(spec, schema), Guard(spec, schema, twins=False))
    databases.drop()


@pytest.fixture(scope="module")
def talk(zoo: Shop) -> Iterator[Talk]:
    """One transaction for all that only reads: a connection for each text takes as long as the text."""
    with zoo.talking(CONTEXT) as talk:
        yield talk


@pytest.mark.parametrize("name", NAMES)
def test_which_tables_have_twins(zoo: Shop, name: str) -> None:
    """Not for OR, = ANY, numeric, expressions, hidden columns, nor self-references."""
    found = zoo.guard.check(f"SELECT count(*) FROM {name}")
    assert {twin.field for twin in found.twins} == WITH_TWINS.get(name, set())
    assert "parent IN" not in found.sql


@pytest.mark.parametrize("name", NAMES)
def test_every_table_alone(zoo: Shop, talk: Talk, name: str) -> None:
    assert compare(zoo, talk, f"SELECT * FROM {name}") > 0


def test_an_absent_field_is_null(zoo: Shop) -> None:
    context = {key: value for key, value in CONTEXT.items() if key != "day"}
    statement = zoo.guard.check("SELECT * FROM j")
    with zoo.talking(context) as talk:
        assert talk.checked(statement).rows == ()
        assert talk.raw("SELECT * FROM j").rows == ()


def compare(zoo: Shop, talk: Talk, text: str) -> int:
    """The number of rows, after the answers with twins, without, and as written were found equal."""
    one, other = zoo.guard.check(text), zoo.bare.check(text)
    twinned, bare, raw = talk.checked(one), talk.checked(other), talk.raw(text)
    assert bare.columns == twinned.columns
    assert bare.multiset == twinned.multiset, one.sql
    assert bare.state == twinned.state
    if "42501" not in (raw.state, bare.state):  # p and s have columns that a star cannot name
        assert (raw.state, raw.multiset, raw.columns) == (bare.state, bare.multiset, bare.columns), other.sql
    return len(twinned.rows)


@st.composite
def joins(draw: st.DrawFn) -> str:
    """A tree of joins of two to four tables, with conditions on keys that are often NULL, and a WHERE."""
    aliases: list[str] = []

    def leaf() -> str:
        alias = f"t{len(aliases)}"
        aliases.append(alias)
        return f"{draw(st.sampled_from(NAMES))} {alias}"

    def condition(left: list[str], right: list[str]) -> str:
        one, other = draw(st.sampled_from(left)), draw(st.sampled_from(right))
        column = draw(st.sampled_from(["id", "y"]))
        extra = draw(
            st.sampled_from(["", f" AND {one}.id > 3", f" AND {other}.y IS NOT NULL", f" OR {other}.y = 'v1'"])
        )
        return f"{one}.{column} = {other}.{column}{extra}"

    def tree(size: int) -> tuple[str, list[str]]:
        if size == 1:
            text = leaf()
            return text, [aliases[-1]]
        split = draw(st.integers(1, size - 1))
        (left, ours), (right, theirs) = tree(split), tree(size - split)
        kind = draw(st.sampled_from(["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "CROSS JOIN", "USING"]))
        right = f"({right})" if len(theirs) > 1 else right
        if kind == "CROSS JOIN":
            return f"{left} CROSS JOIN {right}", ours + theirs
        if kind == "USING" and len(ours) == len(theirs) == 1:
            outer = draw(st.sampled_from(["JOIN", "LEFT JOIN", "FULL JOIN"]))
            return f"{left} {outer} {right} USING (id)", ours + theirs
        on = "true" if kind == "USING" else condition(ours, theirs)
        if kind == "FULL JOIN":
            on = f"{ours[0]}.id = {theirs[0]}.id"
        return f"{left} {kind.replace('USING', 'LEFT JOIN')} {right} ON {on}", ours + theirs

    source, names = tree(draw(st.integers(2, 4)))
    first = draw(st.sampled_from(names))
    shapes = [
        "SELECT {counts} FROM {source}{where}",
        "SELECT {first}.id, {first}.y, count(*), {counts} FROM {source}{where} GROUP BY {first}.id",
        "SELECT {first}.y, {counts} FROM {source}{where} GROUP BY {first}.y",
        "SELECT {first}.id, ({first} IS NULL) FROM {source}{where} LIMIT 100000",
        "SELECT {counts} FROM {source} WHERE EXISTS (SELECT 1 FROM c WHERE c.id = {first}.id)",
        "SELECT x.id, (SELECT count(*) FROM d WHERE d.y = x.y) FROM (SELECT {first}.* FROM {source}{where}) x",
    ]
    where = draw(
        st.sampled_from(["", f" WHERE {first}.id IS NULL", f" WHERE {first}.y = 'v1'", f" WHERE NOT ({first}.id = 5)"])
    )
    counts = ", ".join(f"count({name}.id), count({name}.y)" for name in names)
    return draw(st.sampled_from(shapes)).format(first=first, source=source, where=where, counts=counts)


@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(text=joins())
def test_joins_of_every_kind(zoo: Shop, talk: Talk, text: str) -> None:
    compare(zoo, talk, text)
