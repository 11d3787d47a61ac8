"""Tokens are minted from contexts that fit, and from no others; keys do not show what they hold."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import jwt
import pytest

from rlsgen.errors import InvalidContext, KeyProblem
from rlsgen.runtime.token import MAX_LIFETIME_SECONDS, SigningKey, canonical_context, mint
from rlsgen.spec.model import ContextField
from tests.context.stage import CONTEXT, SPEC, context_field

KEY = SigningKey("k-1_x", "0b8cb0d3-2ab9-4b8a-98ab-5d9a8a6b7c1e", bytes(range(32)))


def test_a_token_says_what_it_must_and_no_more() -> None:
    token = mint(KEY, SPEC.context, CONTEXT, now=1_000_000, lifetime_seconds=60)
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT", "kid": "k-1_x"}
    options: Any = {"verify_exp": False}
    said = jwt.decode(token, KEY.secret, ["HS256"], options=options, audience=KEY.audience)
    assert re.fullmatch("[0-9a-f]{16}", said.pop("jti"))  # no two tokens are the same
    assert said == {"aud": KEY.audience, "iat": 1_000_000, "exp": 1_000_060, "context": dict(CONTEXT)}


def test_a_key_is_one_string() -> None:
    text = KEY.reveal()
    assert text == "rlsgen1.k-1_x.0b8cb0d3-2ab9-4b8a-98ab-5d9a8a6b7c1e.AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
    assert SigningKey.parse(f" {text}\n") == KEY


def test_a_key_does_not_show_its_secret() -> None:
    for shown in (repr(KEY), str(KEY), f"{KEY}", repr([KEY])):
        assert "AAEC" not in shown
        assert r"\x01" not in shown
        assert "k-1_x" in shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rlsgen1",
        "rlsgen2." + KEY.reveal().partition(".")[2],
        KEY.reveal() + "A",
        KEY.reveal()[:-1],
        KEY.reveal().replace("k-1_x", "k.1"),
        KEY.reveal().replace("k-1_x", ""),
        KEY.reveal().replace("0b8c", "0B8C"),
        KEY.reveal()[:-3] + "+/=",
        KEY.reveal()[:-2] + "é8",
    ],
)
def test_malformed_keys(text: str) -> None:
    with pytest.raises(KeyProblem, match="malformed") as raised:
        SigningKey.parse(text)
    assert "AAEC" not in f"{raised.value} {raised.value.hint}"
    assert raised.value.__cause__ is None


@pytest.mark.parametrize("lifetime", [0, -1, MAX_LIFETIME_SECONDS + 1])
def test_lifetimes_are_bounded(lifetime: int) -> None:
    with pytest.raises(ValueError, match="lifetime_seconds"):
        mint(KEY, SPEC.context, CONTEXT, lifetime_seconds=lifetime)


def test_a_large_context() -> None:
    fields = [context_field("ids", "uuid", array=True, max_items=10_000)]
    with pytest.raises(InvalidContext, match="too large"):
        mint(KEY, fields, {"ids": [uuid.UUID(int=0)] * 2_000})


def test_missing_and_unknown_fields_are_named() -> None:
    with pytest.raises(InvalidContext, match="the context lacks organisationId") as raised:
        canonical_context(SPEC.context, {"userId": "u"})
    assert raised.value.field == "organisationId"
    with pytest.raises(InvalidContext, match="lacks organisationId"):
        canonical_context(SPEC.context, {"organisationId": None, "userId": "u"})
    with pytest.raises(InvalidContext, match="no context field 'organizationId'") as raised:
        canonical_context(SPEC.context, {**CONTEXT, "organizationId": 2})
    assert (raised.value.field, raised.value.hint) == ("organizationId", "did you mean organisationId?")
    with pytest.raises(InvalidContext, match="no context field 'role'") as raised:
        canonical_context(SPEC.context, {**CONTEXT, "role": None})
    assert raised.value.hint == "the fields are: organisationId, teamId, userId"


EAST = timezone(timedelta(hours=5, minutes=45))
GOOD: list[tuple[ContextField, object, object]] = [
    (context_field("it", "integer"), 2**31 - 1, 2**31 - 1),
    (context_field("it", "integer", minimum=1, maximum=3), 3, 3),
    (context_field("it", "bigint"), 2**53, 2**53),
    (context_field("it", "bigint"), 2**53 + 1, "9007199254740993"),
    (context_field("it", "bigint"), -(2**63), "-9223372036854775808"),
    (context_field("it", "uuid"), uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (context_field("it", "uuid"), "0B8CB0D3-2AB9-4B8A-98AB-5D9A8A6B7C1E", "0b8cb0d3-2ab9-4b8a-98ab-5d9a8a6b7c1e"),
    (context_field("it", "text", pattern="a|b+"), "bbb", "bbb"),
    (context_field("it", "text"), "😀" * 1024, "😀" * 1024),
    (context_field("it", "boolean"), False, False),
    (context_field("it", "date"), date(2024, 2, 29), "2024-02-29"),
    (context_field("it", "date"), "2024-02-29", "2024-02-29"),
    (context_field("it", "timestamptz"), datetime(1, 2, 3, tzinfo=UTC), "0001-02-03T00:00:00+00:00"),
    (context_field("it", "timestamptz"), datetime(2024, 1, 1, 5, 45, tzinfo=EAST), "2024-01-01T00:00:00+00:00"),
    (context_field("it", "timestamptz"), "2024-01-01T02:00:00.5+02:00", "2024-01-01T00:00:00.500000+00:00"),
    (context_field("it", "timestamptz"), "2024-01-01T00:00:00Z", "2024-01-01T00:00:00+00:00"),
    (context_field("it", "integer", array=True), (1, 2), [1, 2]),
    (context_field("it", "text", array=True), [], []),
]


@pytest.mark.parametrize(("declared", "value", "json"), GOOD)
def test_values_that_fit(declared: ContextField, value: object, json: object) -> None:
    assert canonical_context([declared], {"it": value}) == {"it": json}


BAD: list[tuple[ContextField, object, str]] = [
    (context_field("it", "integer"), True, "must be integer, not bool"),
    (context_field("it", "integer"), "1", "must be integer, not str"),
    (context_field("it", "integer"), 1.0, "must be integer, not float"),
    (context_field("it", "integer"), 2**31, "must be from -2147483648 to 2147483647"),
    (context_field("it", "integer", minimum=1), 0, "must be from 1 to 2147483647"),
    (context_field("it", "bigint"), 2**63, "must be from"),
    (context_field("it", "uuid"), "0b8cb0d32ab94b8a98ab5d9a8a6b7c1e", "must be a uuid"),
    (context_field("it", "uuid"), 1, "must be a uuid"),
    (context_field("it", "text"), "", "must not be empty"),
    (context_field("it", "text"), 1, "must be text, not int"),
    (context_field("it", "text"), "x" * 1025, "has 1,025 characters, and 1,024 are allowed"),
    (context_field("it", "text", max_length=3), "xxxx", "has 4 characters, and 3 are allowed"),
    (context_field("it", "text"), "a\x85", "control characters"),
    (context_field("it", "text"), "a\n", "control characters"),
    (context_field("it", "text"), "\ud800", "lone surrogates"),
    (context_field("it", "text", pattern="[a-z]+"), "abc1", r"must match \[a-z\]\+"),
    (context_field("it", "text", pattern="a|b"), "ab", "must match"),
    (context_field("it", "boolean"), 1, "must be true or false, not int"),
    (context_field("it", "date"), datetime(2024, 1, 1, tzinfo=UTC), "must be a date"),
    (context_field("it", "date"), "2023-02-29", "must be a date"),
    (context_field("it", "date"), "20240101", "must be a date"),
    (context_field("it", "timestamptz"), datetime(2024, 1, 1), "with its offset"),
    (context_field("it", "timestamptz"), "2024-01-01T00:00:00", "with its offset"),
    (context_field("it", "timestamptz"), "2024-02-30T00:00:00Z", "with its offset"),
    (context_field("it", "timestamptz"), "9999-12-31T23:00:00-05:00", "with its offset"),
    (context_field("it", "timestamptz"), "2024-01-01T24:00:00Z", "with its offset"),
    (context_field("it", "integer", array=True), 1, "must be a list of integer, not int"),
    (context_field("it", "text", array=True), "abc", "must be a list of text, not str"),
    (context_field("it", "integer", array=True), [1, None], r"it\[1\] must be integer, not NoneType"),
    (context_field("it", "integer", array=True), [[1]], r"it\[0\] must be integer, not list"),
    (context_field("it", "integer", array=True, max_items=1), [1, 2], "has 2 items, and 1 are allowed"),
    (context_field("it", "integer", array=True), [0] * 1001, "has 1,001 items, and 1,000 are allowed"),
]


@pytest.mark.parametrize(("declared", "value", "message"), BAD)
def test_values_that_do_not_fit(declared: ContextField, value: object, message: str) -> None:
    with pytest.raises(InvalidContext, match=message) as raised:
        canonical_context([declared], {"it": value})
    assert raised.value.field == "it"
