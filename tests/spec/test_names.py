"""Names: what the grammar says, and what Postgres itself says about the same text."""

from __future__ import annotations

import itertools

import psycopg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rlsgen.identifiers import identifier
from rlsgen.spec.model import RelationRef
from rlsgen.spec.names import parse_relation, parse_through, snake_case
from rlsgen.spec.sqltext import SqlTextError
from tests.support.postgres import Server

RELATIONS = {
    "orders": (None, "orders"),
    "User": (None, "user"),
    '"User"': (None, "User"),
    "ORDER": (None, "order"),
    "select": (None, "select"),
    "billing.invoices": ("billing", "invoices"),
    'public."a.b"': ("public", "a.b"),
    '"x y"."q""q"': ("x y", 'q"q'),
    " a . b ": ("a", "b"),
    "Straße": (None, "straße"),
    "ÄB": (None, "Äb"),
    "a$1": (None, "a$1"),
    '"--"': (None, "--"),
    '"/*"': (None, "/*"),
    "x" * 63: (None, "x" * 63),
}


@pytest.mark.parametrize(("text", "expected"), RELATIONS.items())
def test_relations(text: str, expected: tuple[str | None, str]) -> None:
    assert parse_relation(text) == RelationRef(*expected)


def test_postgres_reads_relations_alike(server: Server) -> None:
    with psycopg.connect(server.dsn()) as connection:
        for text, expected in RELATIONS.items():
            (parts,) = connection.execute("SELECT parse_ident(%s)", [text]).fetchone() or ([],)
            assert tuple(parts) == tuple(part for part in expected if part is not None)


@pytest.mark.parametrize(
    ("text", "offset", "words"),
    [
        ("", 0, "the text ends"),
        ("a.", 2, "the text ends"),
        (".a", 0, "found '.'"),
        ("a.b.c", 3, "at most two parts"),
        ("a b", 2, "unexpected 'b'"),
        ("a AS b", 2, "unexpected 'AS'"),
        ("ONLY a", 5, "unexpected 'a'"),
        ("a *", 2, "unexpected '*'"),
        ("a(b)", 1, "unexpected '('"),
        ("a TABLESAMPLE system (1)", 2, "unexpected 'TABLESAMPLE'"),
        ("a -- b", 2, "unexpected '-- b'"),
        ("a /* b */", 2, "unexpected '/* b */'"),
        ("a; DROP TABLE b", 1, "unexpected ';'"),
        ("a, b", 1, "unexpected ','"),
        ("'a'", 0, "found \"'a'\""),
        ("1a", 0, ""),
        ("$1", 0, "found '$1'"),
        ('""', 0, "zero-length"),
        ('é"', 1, "unterminated"),
        ('é.""', 2, "zero-length"),
        ('U&"a"', 0, "not supported"),
        ("U&\"a\" UESCAPE '!'", 0, "not supported"),
        ("a\x00b", 1, "NUL"),
        ("a\ud800b", 1, "surrogate"),
        ("x" * 64, 0, "64 bytes long"),
        ("a." + "é" * 32, 2, "64 bytes long"),
        ('"' + '""' * 64 + '"', 0, "64 bytes long"),
    ],
)
def test_what_is_no_relation(text: str, offset: int, words: str) -> None:
    with pytest.raises(SqlTextError) as caught:
        parse_relation(text)
    assert (caught.value.offset, words in caught.value.message) == (offset, True), caught.value.message


def test_postgres_would_have_cut_the_name(server: Server) -> None:
    """Why a long name is refused: it would quietly be another one."""
    with psycopg.connect(server.dsn()) as connection:
        assert connection.execute(f"SELECT 1 AS {identifier('x' * 64)}").description[0].name == "x" * 63  # type: ignore[index]


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=20))
@example('"')
@example("a.b")
@example('x" y')
def test_any_name_survives_its_quotes(name: str) -> None:
    if len(name.encode()) <= 63:
        assert parse_relation(identifier(name)) == RelationRef(None, name)
        assert parse_relation(f"{identifier(name)}.{identifier(name)}") == RelationRef(name, name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("order_id -> orders(id)", (("order_id",), (None, "orders"), ("id",))),
        ('(order_id, n) -> "Order"(id, n)', (("order_id", "n"), (None, "Order"), ("id", "n"))),
        ("id -> envelopes(document_meta_id)", (("id",), (None, "envelopes"), ("document_meta_id",))),
        ('"Id" -> billing."a.b"("X.y")', (("Id",), ("billing", "a.b"), ("X.y",))),
        ("Order->Order(User)", (("order",), (None, "order"), ("user",))),
        ("(a)->left(b)", (("a",), (None, "left"), ("b",))),
    ],
)
def test_through(text: str, expected: tuple[tuple[str, ...], tuple[str | None, str], tuple[str, ...]]) -> None:
    columns, parent, parent_columns = parse_through(text)
    assert (columns, (parent.schema, parent.name), parent_columns) == expected


@pytest.mark.parametrize(
    ("text", "offset", "words"),
    [
        ("", 0, "expected a column"),
        ("order_id", 8, "expected an arrow"),
        ("order_id = orders(id)", 9, "expected an arrow"),
        ("order_id ->> orders(id)", 9, "expected an arrow"),
        ("order_id -> orders", 18, "expected columns"),
        ("order_id -> orders()", 19, "expected a column"),
        ("order_id -> orders(id) x", 23, "unexpected 'x'"),
        ("order_id -> orders(id), b -> c(d)", 22, "unexpected ','"),
        ("order_id -> orders(id + 1)", 22, "expected a comma"),
        ("order_id -> a.b.c(id)", 15, "at most two parts"),
        ("(a, b) -> c(d)", 11, "same number of columns: 2 on the left, 1 on the right"),
        ("a -> c(d, e)", 6, "same number of columns: 1 on the left, 2 on the right"),
        ("a, b -> c(d, e)", 1, "expected an arrow"),
        ("é -> 'x'(id)", 5, "expected a table's name"),
        ("a -> b(c) -- d", 10, "unexpected '-- d'"),
    ],
)
def test_what_is_no_path(text: str, offset: int, words: str) -> None:
    with pytest.raises(SqlTextError) as caught:
        parse_through(text)
    assert (caught.value.offset, words in caught.value.message) == (offset, True), caught.value.message


@given(st.text(max_size=30))
def test_no_text_breaks_the_readers(text: str) -> None:
    for reader in (parse_relation, parse_through):
        try:
            reader(text)
        except SqlTextError as error:
            if not 0 <= error.offset <= len(text):
                raise AssertionError(error.offset) from error


@pytest.mark.parametrize(
    ("name", "snake"),
    [
        ("organisationId", "organisation_id"),
        ("HTTPServerId", "http_server_id"),
        ("orgID", "org_id"),
        ("a1B2", "a1_b2"),
        ("A", "a"),
        ("AB", "ab"),
        ("ABc", "a_bc"),
        ("orgIDs", "org_i_ds"),
        ("x2y", "x2y"),
    ],
)
def test_snake_case(name: str, snake: str) -> None:
    assert snake_case(name) == snake


FIELD = st.from_regex(r"[A-Za-z][A-Za-z0-9]{0,12}", fullmatch=True)


@given(FIELD)
def test_snake_case_has_no_surprises(name: str) -> None:
    snake = snake_case(name)
    assert snake == snake.lower()
    assert "__" not in snake
    assert snake.strip("_") == snake != ""
    assert snake.replace("_", "") == name.lower()  # so that names which fold apart are never one in SQL
    assert not any(one == "_" and two.isdigit() for one, two in itertools.pairwise(snake))  # room for `_2`, a version
