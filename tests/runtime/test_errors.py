"""Each kind of bad input and bad luck has its own clear error, tells nothing it must not, and the next query works."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rlsgen.errors import (
    Closed,
    ContextRefused,
    QueryFailed,
    RlsgenError,
    ServerError,
    StatementError,
    StatementRefused,
)
from rlsgen.provision.keys import create_key, retire
from rlsgen.runtime.token import SigningKey
from rlsgen.spec.model import Limits
from tests.runtime.conftest import Place
from tests.runtime.talking import ALDER, BIRCH, Pool, Talk
from tests.runtime.test_hygiene import until
from tests.runtime.wires import Wire

Make = Callable[..., Pool]


@pytest.fixture
def talk(place: Place, make_pool: Make) -> Talk:
    """With the guard."""
    return make_pool(place, max_size=1, limits=Limits()).conversation(ALDER)


@pytest.fixture
def raw(place: Place, make_pool: Make) -> Talk:
    """Without the guard: what the session alone must hold."""
    return make_pool(place, max_size=1, limits=Limits(), guard=False).conversation(ALDER)


def error_of(talk: Talk, text: Any, parameters: Any = ()) -> RlsgenError:
    """The error; and the same pool, with its one connection, serves the next query."""
    with pytest.raises(RlsgenError) as caught:
        talk.query(text, parameters)
    assert talk.query("SELECT 1").rows == [(1,)]
    assert caught.value.message
    return caught.value


BAD_TEXT: dict[str, Any] = {
    "empty": "",
    "blank": " \n\t ",
    "a comment": "-- nothing",
    "a block comment": "/* nothing */",
    "a semicolon": ";",
    "two statements": "SELECT 1; SELECT 2",
    "a megabyte": "SELECT '" + "x" * 1_000_000 + "'",
    "nul": "SELECT 'a\x00b'",
    "a lone surrogate": "SELECT '\ud800'",
    "no text": b"SELECT 1",
    "nothing": None,
    "no SQL": "how many orders do we have?",
    "half a statement": "SELECT count(*) FROM",
    "an unknown table": "SELECT * FROM invoices",
    "a hidden table": "SELECT * FROM api_keys",
    "a hidden column": "SELECT password_hash FROM users",
    "COPY out": "COPY orders TO STDOUT",
    "COPY in": "COPY notes (title) FROM STDIN",
    "BEGIN": "BEGIN",
    "COMMIT": "COMMIT",
    "SET": "SET search_path = public",
    "EXPLAIN": "EXPLAIN SELECT 1",
}


@pytest.mark.parametrize("name", BAD_TEXT)
def test_bad_text_is_refused(talk: Talk, name: str) -> None:
    error = error_of(talk, BAD_TEXT[name])
    if name == "a hidden column":  # as one that does not exist
        assert isinstance(error, QueryFailed)
        assert error.sqlstate == "42703"
    else:
        assert isinstance(error, StatementRefused)
        assert error.reason


RAW_FINE = {"EXPLAIN", "SET", "BEGIN", "a megabyte"}  # they do what they say, in a transaction that is rolled back
RAW_FAILED = {"an unknown table", "COPY in"}


@pytest.mark.parametrize("name", [each for each in BAD_TEXT if each not in RAW_FINE])
def test_bad_text_without_the_guard(raw: Talk, name: str) -> None:
    error = error_of(raw, BAD_TEXT[name])
    assert isinstance(error, QueryFailed if name in RAW_FAILED else StatementRefused)


@pytest.mark.parametrize("parameters", [[], [1, 2], "1", {"a": 1}, [object()], ["a\x00"], ["\ud800"], 7])
def test_bad_parameters(talk: Talk, parameters: Any) -> None:
    error = error_of(talk, "SELECT $1::integer", parameters)
    assert isinstance(error, StatementRefused)
    assert error.reason == "parameters"


def test_a_parameter_of_the_wrong_form(talk: Talk) -> None:
    error = error_of(talk, "SELECT $1::integer", ["seven"])
    assert isinstance(error, QueryFailed)
    assert error.sqlstate == "22P02"
    assert "seven" in error.message


def test_too_many_parameters(raw: Talk) -> None:
    error = error_of(raw, "SELECT 1", [1] * 70_000)
    assert isinstance(error, StatementRefused)
    assert error.reason == "parameters"


FAILING = [
    ("SELECT 1 / 0", "22012", "division by zero"),
    ("SELECT 'x'::integer", "22P02", 'invalid input syntax for type integer: "x"'),
    ("SELECT (SELECT id FROM orders)", "21000", "more than one row returned by a subquery used as an expression"),
    ("SELECT sum(status) FROM orders", "42883", "function sum(text) does not exist"),
]


@pytest.mark.parametrize(("text", "state", "message"), FAILING)
def test_mistakes_keep_postgres_words(talk: Talk, text: str, state: str, message: str) -> None:
    error = error_of(talk, text)
    assert isinstance(error, QueryFailed)
    assert error.sqlstate == state
    assert message in error.message.replace("pg_catalog.", "")


PLACES = [
    ("SELECT nix FROM orders", "nix"),
    ("SELECT *\nFROM orders AS o\nWHERE o.organization_id = 1", "o.organization_id"),
    ("SELECT 'äöü€😀', totl FROM orders", "totl"),
    ("SELECT count(*) FROM orders WHERE created_at > 'yesterdayish'", "'yesterdayish'"),
    ("SELECT o.id, sum(o.total) FROM orders o", "o.id"),
    ("SELECT id FROM orders WHERE total = ANY (status)", "ANY"),
]


@pytest.mark.parametrize(("text", "place_"), PLACES)
def test_the_place_is_that_in_the_callers_text(talk: Talk, text: str, place_: str) -> None:
    error = error_of(talk, text)
    assert isinstance(error, StatementError)
    assert error.offset is not None
    assert abs(text.index(place_) - error.offset) <= len("total = ")
    assert text.count("\n", 0, error.offset) == (error.line or 0) - 1


def test_did_you_mean_names_readable_columns_alone(talk: Talk) -> None:
    assert error_of(talk, "SELECT organization_id FROM orders").hint == "did you mean organisation_id?"
    error = error_of(talk, "SELECT u.passwort_hash FROM users u")
    assert "password_hash" not in f"{error.message} {error.hint}"


def test_nothing_that_is_hidden_is_named(raw: Talk) -> None:
    """Postgres' own hint names the hidden column; its message may name what the text did not."""
    error = error_of(raw, "SELECT u.passwort_hash FROM users u")
    assert "password_hash" not in f"{error.message} {error.hint}"
    error = error_of(raw, "SELECT * FROM users")  # "permission denied for table users"
    assert isinstance(error, StatementRefused)
    assert error.reason == "privilege"
    assert "users" not in error.message
    text = "SELECT * FROM notes NATURAL JOIN rlsgen.provision"
    assert "rlsgen" not in error_of(raw, text).message


WRITES = [
    ("INSERT INTO notes (user_id, title) VALUES ('user_2', 'x')", "row", StatementRefused),
    ("UPDATE notes SET user_id = 'user_2'", "row", StatementRefused),
]


def test_foreign_rows_are_not_written(place: Place, make_pool: Make) -> None:
    talk = make_pool(place, guard=False, writes=True, max_size=1).conversation(ALDER)
    talk.query("INSERT INTO notes (user_id, title) VALUES ('user_1', 'mine')")
    for text, reason, kind in WRITES:
        error = error_of(talk, text)
        assert isinstance(error, kind)
        assert error.reason == reason
        assert "policy" not in error.message
    assert talk.query("DELETE FROM notes WHERE title = 'mine'").row_count == 1


def test_constraints_tell_nothing_of_others(place: Place, make_pool: Make) -> None:
    talk = make_pool(place, max_size=1).conversation(ALDER)
    error = error_of(talk, "INSERT INTO notes (title) VALUES (NULL)")
    assert isinstance(error, QueryFailed)
    assert (error.sqlstate, error.message) == ("23502", "the column title must have a value, and got none")
    raw = make_pool(place, guard=False, writes=True, max_size=1).conversation(ALDER)
    with place.owner() as owner:
        owner.execute("CREATE UNIQUE INDEX one_title ON notes (title) WHERE title LIKE 'one%'")
    try:
        make_pool(place).conversation(BIRCH).query("INSERT INTO notes (title) VALUES ('one of Birch')")
        error = error_of(raw, "INSERT INTO notes (user_id, title) VALUES ('user_1', 'one of Birch')")
        assert isinstance(error, QueryFailed)
        assert error.sqlstate == "23505"
        assert "one" not in error.message.replace("none", "")
        assert error.hint == ""
    finally:
        with place.owner() as owner:
            owner.execute("DROP INDEX one_title; DELETE FROM notes WHERE title LIKE 'one%'")


def test_a_commit_that_fails_is_an_error(place: Place, make_pool: Make) -> None:
    with place.owner() as owner:
        owner.execute("ALTER TABLE notes ADD CONSTRAINT later UNIQUE (user_id, title) DEFERRABLE INITIALLY DEFERRED")
    try:
        talk = make_pool(place, max_size=1).conversation(ALDER)
        error = error_of(talk, "INSERT INTO notes (title) VALUES ('twice'), ('twice')")
        assert isinstance(error, QueryFailed)
        assert error.sqlstate == "23505"
        assert talk.query("SELECT count(*) FROM notes WHERE title = 'twice'").rows == [(0,)]
    finally:
        with place.owner() as owner:
            owner.execute("ALTER TABLE notes DROP CONSTRAINT later")


def test_a_server_that_dies_mid_result(raw: Talk) -> None:
    error = error_of(raw, "SELECT pg_terminate_backend(pg_backend_pid()) FROM generate_series(1, 1000)")
    assert isinstance(error, QueryFailed)
    assert error.hint


def test_a_connection_that_died_while_idle_is_not_used(place: Place, make_pool: Make) -> None:
    talk = make_pool(place, max_size=2, min_size=2, limits=Limits()).conversation(ALDER)
    talk.query("SELECT 1")
    with place.superuser() as administrator:
        administrator.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE usename = 'nl_conversation' AND datname = current_database()"
        )
    for _ in range(4):
        assert talk.query("SELECT 1").rows == [(1,)]


def test_a_write_that_ends_with_its_connection_changed_nothing(place: Place, make_pool: Make) -> None:
    talk = make_pool(place, guard=False, writes=True, max_size=1).conversation(ALDER)
    text = (
        "WITH made AS (INSERT INTO notes (user_id, title) VALUES ('user_1', 'lost') RETURNING id)"
        " SELECT pg_terminate_backend(pg_backend_pid()) FROM made"
    )
    error = error_of(talk, text)
    assert isinstance(error, QueryFailed)
    assert "nothing was changed" in error.hint
    assert talk.query("SELECT count(*) FROM notes WHERE title = 'lost'").rows == [(0,)]


def test_a_connection_lost_during_a_commit_leaves_the_outcome_open(
    place: Place, make_pool: Make, wire: Callable[[str], Wire]
) -> None:
    between = wire(place.dsn)
    talk = make_pool(place, dsn=between.dsn, max_size=1).conversation(ALDER)
    talk.query("SELECT 1")
    between.deaf = True
    with pytest.raises(QueryFailed) as caught:
        talk.query("INSERT INTO notes (title) VALUES ('who knows')")
    assert "unknown" in caught.value.hint
    between.deaf = False
    text = "SELECT count(*) FROM notes WHERE title = 'who knows'"
    until(lambda: talk.query(text).rows == [(1,)])  # it was committed, in fact
    assert talk.query("DELETE FROM notes WHERE title = 'who knows'").row_count == 1


def test_a_connection_lost_while_reading(place: Place, make_pool: Make, wire: Callable[[str], Wire]) -> None:
    between = wire(place.dsn)
    talk = make_pool(place, dsn=between.dsn, max_size=1).conversation(ALDER)
    talk.query("SELECT 1")
    between.deaf = True
    with pytest.raises(QueryFailed) as caught:
        talk.query("SELECT count(*) FROM orders")
    assert "tried again" in caught.value.hint
    between.deaf = False
    assert talk.query("SELECT 1").rows == [(1,)]


def test_a_retired_key(own_place: Place, make_pool: Make) -> None:
    with own_place.owner() as owner:
        second = create_key(owner)
    old = make_pool(own_place).conversation(ALDER)
    new = make_pool(own_place, key=second).conversation(ALDER)
    assert old.query("SELECT 1").rows == [(1,)]
    with own_place.owner() as owner:
        retire(owner, own_place.key.kid)
    with pytest.raises(ContextRefused) as caught:
        old.query("SELECT 1")
    assert own_place.key.kid not in f"{caught.value}{caught.value.hint}"
    assert new.query("SELECT 1").rows == [(1,)]


def test_another_databases_key(place: Place, make_pool: Make) -> None:
    key = SigningKey(place.key.kid, "00000000-0000-4000-8000-000000000000", place.key.secret)
    with pytest.raises(ContextRefused):
        make_pool(place, key=key).conversation(ALDER).query("SELECT 1")


def test_a_key_is_never_shown(place: Place, make_pool: Make) -> None:
    secret = place.key.reveal().rsplit(".", 1)[1]
    pool = make_pool(place, key=place.key.reveal())
    inner: Any = getattr(pool, "pool", pool)
    assert secret not in f"{inner!r} {vars(inner)!r} {vars(inner._core)!r}"


def test_what_is_closed_says_so(place: Place, make_pool: Make) -> None:
    pool = make_pool(place)
    first, second = pool.conversation(ALDER), pool.conversation(ALDER)
    first.close()
    first.close()
    with pytest.raises(Closed, match="this conversation is closed"):
        first.query("SELECT 1")
    pool.close()
    pool.close()
    with pytest.raises(Closed, match="this pool is closed"):
        second.query("SELECT 1")


def test_a_database_that_cannot_be_reached(place: Place, make_pool: Make) -> None:
    with pytest.raises(ServerError, match="cannot be reached"):
        make_pool(place, dsn=place.database.server.dsn("no_such_database", "nl_conversation"))
