"""An error that a filter raises at somebody's row must not quote it to everybody."""

from __future__ import annotations

import pytest

from rlsgen.runtime.failures import Case, explain
from rlsgen.runtime.guard import Guard
from rlsgen.runtime.session import Diagnosis, Failed
from rlsgen.spec.load import parse_spec
from tests.guard.conftest import provision
from tests.guard.shop import Answer, Shop
from tests.support.postgres import Database

SPEC = """
version: 1
context: {org: integer}
roles: {conversation: nl_conversation, unrestricted: [shop_owner, shop_app]}
tables: {a: "split_part(code, '-', 1)::integer = userContext.org", b: "org = userContext.org"}
"""
TABLES = """
CREATE TABLE a (id integer PRIMARY KEY, code text, word text);
CREATE TABLE b (id integer PRIMARY KEY, org integer, word text);
INSERT INTO a VALUES (1, '1', 'mine'), (2, 'secret of theirs', 'theirs');
INSERT INTO b VALUES (1, 1, 'mine'), (2, 2, 'theirs');
"""


@pytest.fixture
def failing(database: Database) -> Shop:
    database.connect().execute(TABLES.encode())
    spec = parse_spec(SPEC, "policies.yaml")
    schema, key = provision(database, spec)
    return Shop(database, spec, schema, key, Guard(spec, schema), Guard(spec, schema, twins=False))


def test_a_filters_cast(failing: Shop) -> None:
    answer = _answer(failing, "SELECT * FROM a")
    assert "secret of theirs" in answer.message  # what Postgres says
    assert _said(failing, answer) == "a value cannot be read as what it is compared with or cast to"
    assert "secret" in _said(failing, answer, position=8)  # what stands in the text itself may be said


def test_where_filters_only_compare_postgres_says_what_is_wrong(guarded: Shop) -> None:
    with guarded.talking() as talk:
        answer = talk.checked(guarded.guard.check("SELECT name::integer FROM organisations"))
    assert _said(guarded, answer).startswith('invalid input syntax for type integer: "')


def _answer(shop: Shop, text: str) -> Answer:
    with shop.talking({"org": 1}) as talk:
        return talk.checked(shop.guard.check(text))


def _said(shop: Shop, answer: Answer, position: int | None = None) -> str:
    message = answer.message.removeprefix("ERROR:  ").splitlines()[0]
    case = Case("SELECT", None, shop.schema, None, 0.0, False)
    error = explain(Failed("text", Diagnosis(answer.state, message, position, "", "")), case)
    assert answer.state == "22P02"
    return error.message
