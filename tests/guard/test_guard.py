"""What comes out of the guard: statements, filters in the spec's words, writes, places of refusals, the cache."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from rlsgen.errors import StatementRefused
from rlsgen.identifiers import Name
from rlsgen.runtime.guard import Guard
from rlsgen.runtime.guard.guard import CACHE_ENTRIES
from rlsgen.spec.load import parse_spec
from rlsgen.spec.model import TableSpec
from tests.guard.conftest import POLICIES
from tests.guard.shop import ALDER, Shop


def refusal(guard: Guard, text: str, parameters: int = 0) -> StatementRefused:
    with pytest.raises(StatementRefused) as caught:
        guard.check(text, parameters)
    return caught.value


def test_a_statement(guard: Guard) -> None:
    found = guard.check("select count(*) from orders o join order_items i on i.order_id = o.id where o.total > $1", 1)
    assert (found.command, found.parameters, found.writes) == ("select", 1, False)
    assert [(twin.field, twin.type_oid) for twin in found.twins] == [("organisationId", 23)]
    assert [(str(each.relation), each.filter) for each in found.filters] == [
        ("public.orders", "organisation_id = userContext.organisationId"),
        ("public.order_items", "order_id -> orders(id)"),
    ]
    assert found.sql == (
        "SELECT pg_catalog.count(*) FROM (SELECT id, organisation_id, user_id, country_code, status, total, created_at "
        "FROM public.orders WHERE organisation_id = $2) o JOIN (SELECT order_id, line, product_id, quantity, unit_price "
        "FROM public.order_items WHERE order_id IN (SELECT id FROM public.orders WHERE organisation_id = $2)) i "
        "ON i.order_id = o.id WHERE o.total > $1"
    )


def test_the_fingerprint_leaves_constants_out(guard: Guard) -> None:
    one, other = guard.check("SELECT * FROM orders WHERE id = 1"), guard.check("SELECT * FROM orders WHERE id = 25")
    assert one.fingerprint == other.fingerprint


@pytest.mark.parametrize(
    ("relation", "words"),
    [
        ("countries", "shared"),
        ("monthly_revenue", "invoker"),
        ("templates", "organisation_id IS NULL OR organisation_id = userContext.organisationId"),
        ("projects", "organisation_id = userContext.organisationId AND team_id = userContext.teamId"),
    ],
)
def test_filters_in_the_specs_words(guard: Guard, relation: str, words: str) -> None:
    found = guard.check(f"SELECT 1 FROM {relation}, {relation} AS again")
    assert [(each.relation, each.filter) for each in found.filters] == [(Name("public", relation), words)]


def test_writes_name_what_governs_them(guard: Guard) -> None:
    found = guard.check("UPDATE templates SET name = 'x' WHERE id IN (SELECT id FROM templates)")
    assert [each.filter for each in found.filters] == ["organisation_id = userContext.organisationId"]
    assert found.writes


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("SELECT * FROM nothing", "nothing"),
        ("SELECT 'äöü', * FROM nothing", "nothing"),
        ("SELECT '🐘'\n, o.x\nFROM orders o", "o.x"),
        ("SELECT 1\nFROM orders\nWHERE pg_sleep(1) IS NULL", "pg_sleep"),
        ("SELECT 'ß'::regclass", "regclass"),
        ("SELECT 'ß', ctid FROM orders", "ctid"),
        ("SELECT 'ß', FROM orders", "FROM"),
        ("SELECT 1 === 1", "==="),
        ("SELECT 'ß', current_user", "current_user"),
        ("SELECT 1 FROM orders, LATERAL (SELECT pg_sleep(1)) x", "pg_sleep"),
        ("DELETE FROM orders", "orders"),
        ("INSERT INTO notes (nothing) VALUES (1)", "nothing"),
    ],
)
def test_places_count_characters(guard: Guard, text: str, place: str) -> None:
    error = refusal(guard, text)
    assert error.offset == text.index(place)
    assert error.line == text[: error.offset].count("\n") + 1


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("SELECT * FROM order_item", "did you mean order_items?"),
        ("SELECT * FROM Users_", "did you mean users?"),
        ("SELECT o.totl FROM orders o", "did you mean total?"),
        ("SELECT ord.id FROM orders o", ""),
        ("SELECT cuont(*) FROM orders", "did you mean count?"),
        ("SELECT 1::intger", "did you mean integer?"),
        ("SELECT similarity('a', 'b')", "functions: {allow: [schema.similarity]}"),
        ("INSERT INTO notes VALUES (1)", "INSERT INTO notes (user_id, title, body, pinned, created_at) …"),
        ("SELECT clock_timestamp()", "use now()"),
    ],
)
def test_hints_say_what_to_write(guard: Guard, text: str, hint: str) -> None:
    if "intger" in text:
        assert refusal(guard, text).hint.startswith("did you mean int")
        return
    assert hint in refusal(guard, text).hint


@pytest.mark.parametrize(
    ("text", "given", "message"),
    [
        ("SELECT $1", 0, "the statement uses $1, but 0 parameters were given"),
        ("SELECT $2::int", 1, "the statement uses $2, but 1 parameter was given"),
        ("SELECT 1", 1, "1 parameter was given, but the statement does not use $1"),
        ("SELECT $1::int, $3::int", 3, "3 parameters were given, but the statement does not use $2"),
    ],
)
def test_parameters_must_match(guard: Guard, text: str, given: int, message: str) -> None:
    error = refusal(guard, text, given)
    assert (error.message, error.reason) == (message, "parameters")


def test_the_same_text_with_other_parameters_is_another_statement(guard: Guard) -> None:
    assert guard.check("SELECT $1::int FROM orders", 1).twins
    assert refusal(guard, "SELECT $1::int FROM orders", 2).reason == "parameters"


WRITES = [
    ("INSERT INTO notes (title) VALUES ('a'), ('b') RETURNING user_id", [("user_1",), ("user_1",)]),
    ("INSERT INTO notes (title, pinned) SELECT 'c', 'true' RETURNING user_id, pinned", [("user_1", "t")]),
    ("INSERT INTO notes (title) SELECT name FROM teams WHERE id = 1 UNION SELECT 'd' RETURNING user_id", [("user_1",)] * 2),
    ("INSERT INTO notes (title, body) VALUES ('e', DEFAULT) RETURNING body, user_id", [("", "user_1")]),
    ("WITH t AS (SELECT 'f' AS x) INSERT INTO notes AS n (title) SELECT x FROM t RETURNING n.title, n.user_id", [("f", "user_1")]),
    ("INSERT INTO notes (user_id, title) VALUES ('user_1', 'g') RETURNING public.notes.title", [("g",)]),
    ("UPDATE notes SET pinned = true, body = DEFAULT WHERE title = 'zzz' RETURNING *", []),
    ("UPDATE notes n SET (title, body) = (SELECT t.name, 'y' FROM teams t WHERE t.id = 1) WHERE n.id = (SELECT min(id) FROM notes) RETURNING n.body", [("y",)]),
    ("UPDATE notes SET (title, body) = ('p', DEFAULT) WHERE id = (SELECT min(id) FROM notes) RETURNING title", [("p",)]),
    ("UPDATE notes SET title = u.name FROM users u WHERE u.id = notes.user_id AND false", []),
    ("DELETE FROM notes WHERE title = 'zzz'", []),
    ("DELETE FROM notes n USING users u WHERE u.id = n.user_id AND false RETURNING n, u.name", []),
]  # fmt: skip


@pytest.mark.parametrize(("text", "rows"), WRITES)
def test_writes_do_what_they_say(guarded: Shop, text: str, rows: list[tuple[str, ...]]) -> None:
    for guard in (guarded.guard, guarded.bare):
        with guarded.talking(ALDER) as talk:
            answer = talk.checked(guard.check(text))
            assert not answer.state, answer.message
            assert list(answer.rows) == rows


def test_a_write_without_where_stays_one(guarded: Shop) -> None:
    """A WHERE of ours would ask for rights that the statement does not need."""
    assert guarded.guard.check("UPDATE notes SET pinned = false").sql == "UPDATE public.notes SET pinned = false"


def test_another_users_row_is_refused_by_the_database(guarded: Shop) -> None:
    statement = guarded.guard.check("INSERT INTO notes (user_id, title) VALUES ('user_2', 'x')")
    with guarded.talking(ALDER) as talk:
        assert talk.checked(statement).state == "42501"


def test_functions_of_the_spec(guarded: Shop) -> None:
    text = POLICIES.read_text(encoding="utf-8")
    extra = "functions: {allow: [public.similarity, public.count, 'public.<%>', 'public.<->', tools.f]}\n"
    guard = Guard(parse_spec(text + extra, "p"), guarded.schema)
    assert guard.check("SELECT similarity('a', 'b')").sql == "SELECT public.similarity('a', 'b')"
    assert guard.check("SELECT f(1)").sql == "SELECT tools.f(1)"
    assert guard.check("SELECT count(*), public.count(1) FROM orders").sql.startswith(
        "SELECT pg_catalog.count(*), public.count(1)"
    )
    assert guard.check("SELECT 'a' <%> 'b', 'a' <-> 'b'").sql == "SELECT 'a' OPERATOR(public.<%>) 'b', 'a' <-> 'b'"
    assert guard.check("SELECT 'a' OPERATOR(public.<->) 'b'").sql == "SELECT 'a' OPERATOR(public.<->) 'b'"
    assert refusal(guard, "SELECT tools.g(1)").reason == "function"
    assert refusal(guard, "SELECT x.y FROM f(1) AS x").reason == "column"
    assert guard.check("SELECT x.y FROM f(1) AS x(y)").sql == "SELECT x.y FROM tools.f(1) x(y)"
    assert guard.check("SELECT x.x FROM f(1) AS x").sql == "SELECT x.x FROM tools.f(1) x(x)"


HIDDEN = [
    "SELECT {} FROM users",
    "SELECT u.id, u.name, {} FROM users u GROUP BY u.id",
    "SELECT u.id FROM users u GROUP BY u.id HAVING max({}) > 'a'",
    "SELECT (SELECT {}) FROM users u GROUP BY u.id",
    "SELECT u.id FROM users u GROUP BY u.id ORDER BY {}",
    "SELECT u.id FROM users u, LATERAL (SELECT {}) x GROUP BY u.id",
    "SELECT u.id, u.name FROM users u JOIN (SELECT 'x' AS {}) x USING ({}) GROUP BY u.id",
    "SELECT u.id FROM users u WHERE EXISTS (SELECT FROM teams WHERE {} = 'a') GROUP BY u.id",
    "SELECT u.{} FROM users u GROUP BY u.id",
    "SELECT (u).{} FROM users u",
]


@pytest.mark.parametrize("text", HIDDEN)
def test_a_hidden_column_looks_like_one_that_does_not_exist(guarded: Shop, text: str) -> None:
    """Where the table itself stood in FROM, Postgres denied the one and did not know the other."""
    said: list[tuple[object, ...]] = []
    for name in ("password_hash", "passwort_hash"):
        with guarded.talking(ALDER) as talk:
            try:
                answer = talk.checked(guarded.guard.check(text.replace("{}", name)))
                said.append((answer.state, answer.message.replace(name, "?").splitlines()[0]))
            except StatementRefused as error:
                said.append((error.reason, error.message.replace(name, "?"), error.hint, error.offset))
    assert said[0] == said[1]
    assert said[0][0] in ("42703", "column")


@pytest.mark.parametrize(
    "text",
    [
        "UPDATE users SET name = 'x' WHERE {} = 'a'",
        "UPDATE users SET name = {}",
        "UPDATE users SET name = (SELECT max(name) FROM teams WHERE {} > 'a')",
        "UPDATE users SET name = 'x' RETURNING {}",
        "DELETE FROM users u USING teams t WHERE {} IS NULL",
    ],
)
def test_a_write_that_names_a_hidden_column(guarded: Shop, text: str) -> None:
    name = Name("public", "users")
    users = guarded.schema.relations[name]
    assert isinstance(users.declared, TableSpec)
    declared = replace(users.declared, allow=("select", "update", "delete"))
    columns = tuple(replace(each, updatable=True) for each in users.columns)
    users = replace(users, declared=declared, columns=columns, deletable=True)
    guard = Guard(guarded.spec, replace(guarded.schema, relations={**guarded.schema.relations, name: users}))
    said = []
    for column in ("password_hash", "passwort_hash"):
        error = refusal(guard, text.format(column))
        said.append((error.message.replace(column, "?"), error.reason, error.hint, error.offset))
    assert said[0] == said[1]
    guard.check("UPDATE users SET name = (SELECT name AS n FROM teams ORDER BY n LIMIT 1) WHERE email = 'x'")


def test_the_cache_is_bounded(guarded: Shop) -> None:
    guard = Guard(guarded.spec, guarded.schema)
    first = guard.check("SELECT 0")
    assert guard.check("SELECT 0") is first
    for number in range(1, CACHE_ENTRIES + 1):
        guard.check(f"SELECT {number}")
    assert guard.check("SELECT 0") is not first
    assert len(guard._cache) == CACHE_ENTRIES


def test_it_is_fast(guarded: Shop) -> None:
    """Generous bounds for a busy machine; docs/guard.md has what was measured."""
    text = "SELECT u.name, sum(o.total) FROM users u JOIN orders o ON o.user_id = u.id WHERE o.status = 'paid' GROUP BY u.name"
    guard = Guard(guarded.spec, guarded.schema)
    cold = min(_seconds(lambda n=n: guard.check(f"{text} LIMIT {n}")) for n in range(30))
    cached = min(_seconds(lambda: guard.check(text)) for _ in range(1000))
    assert cold < 0.006
    assert cached < 0.00005


def _seconds(work: object) -> float:
    assert callable(work)
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
