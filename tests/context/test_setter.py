"""set_context takes good tokens and refuses bad ones with one error; without its check, each of them gets through."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import psycopg
import pytest

from rlsgen.runtime.token import MAX_LIFETIME_SECONDS, MAX_TOKEN_BYTES
from tests.context.stage import (
    CONTEXT,
    ORGANISATION,
    Mutation,
    Stage,
    context_field,
    encoded,
    replacing,
    sign,
    spec_of,
    visible,
)

Forgery = Callable[[Stage], str | None]
MakeStage = Callable[..., Stage]


def test_a_good_token_opens_its_own_rows(stage: Stage) -> None:
    connection = stage.sealed()
    assert visible(connection) == [1]
    values = connection.execute("SELECT rlsgen.organisation_id(), rlsgen.team_id(), rlsgen.user_id()").fetchone()
    assert values == (1, 7, "user_1")


def test_what_other_libraries_mint_is_taken(stage: Stage) -> None:
    now = int(time.time())
    everything = stage.payload(iat=now, nbf=now, jti="a", iss="login.example.com")
    assert stage.accepts(jwt.encode(everything, stage.key.secret, "HS256", {"kid": stage.key.kid}))
    assert stage.accepts(stage.forge(everything, {"kid": stage.key.kid, "alg": "HS256"}))
    spread = json.dumps(everything, indent=4, ensure_ascii=False)
    assert stage.accepts(stage.forge(spread, f'\n{{ "alg" : "HS256",\t"kid" : "{stage.key.kid}" }} '))
    assert stage.accepts(stage.forge(stage.payload(exp=now - 5))), "the skew that is promised"


def test_absent_optional_fields_replace_what_the_session_has(stage: Stage) -> None:
    connection = stage.conversation()
    connection.execute("SET app.team_id = '7'")
    for team in ({}, {"teamId": None}):
        with connection.transaction():
            payload = stage.payload({"organisationId": 1, "userId": "u"} | team)
            connection.execute("SELECT rlsgen.set_context(%s)", [stage.forge(payload)])
            row = connection.execute("SELECT rlsgen.team_id(), current_setting('app.team_id')").fetchone()
        assert row == (None, "")


def flipped(token: str, part: int, place: int) -> str:
    """A token with one character of a part changed."""
    parts = token.split(".")
    old = parts[part][place]
    parts[part] = parts[part][:place] + ("A" if old != "A" else "B") + parts[part][place:][1:]
    return ".".join(parts)


def respelled(token: str) -> str:
    """The same token, its signature's last character replaced by another that decodes to the same bytes."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = alphabet[alphabet.index(token[-1]) ^ 1]
    again = token[:-1] + other
    signature = token.rpartition(".")[2]
    assert base64.urlsafe_b64decode(signature + "=") == base64.urlsafe_b64decode(signature[:-1] + other + "=")
    return again


def oversized(stage: Stage) -> str:
    return stage.forge(stage.payload(jti="x" * MAX_TOKEN_BYTES))


def without_key(header: dict[str, object]) -> Forgery:
    return lambda stage: sign(b"", json.dumps({"kid": stage.key.kid} | header), json.dumps(stage.payload()))


def header(**members: object) -> Forgery:
    def forge(stage: Stage) -> str:
        known = {"alg": "HS256", "typ": "JWT", "kid": stage.key.kid} | members
        return stage.forge(stage.payload(), {name: value for name, value in known.items() if value is not ...})

    return forge


def claims(**members: object) -> Forgery:
    return lambda stage: stage.forge(stage.payload(**members))


def moment(name: str, seconds: int) -> Forgery:
    return lambda stage: stage.forge(stage.payload(**{name: int(time.time()) + seconds}))


def raw_claim(name: str, text: str) -> Forgery:
    """A claim written exactly so, which json.dumps would not."""
    return lambda stage: stage.forge(json.dumps(stage.payload(**{name: "?"})).replace('"?"', text))


def values(**members: object) -> Forgery:
    context = {name: value for name, value in (dict(CONTEXT) | members).items() if value is not ...}
    return lambda stage: stage.forge(stage.payload(context))


def raw_context(text: str) -> Forgery:
    return lambda stage: stage.forge(json.dumps(stage.payload("?")).replace('"?"', text))


def doubled(part: str, first: str) -> Forgery:
    """A name that stands twice in one object: what libraries read differently."""

    def forge(stage: Stage) -> str:
        head = json.dumps({"alg": "HS256", "kid": stage.key.kid})
        payload = json.dumps(stage.payload())
        if part == "header":
            return stage.forge(payload, "{" + first + ", " + head[1:])
        if part == "payload":
            return stage.forge("{" + first + ", " + payload[1:], head)
        return stage.forge(payload.replace('"context": {', '"context": {' + first + ", "), head)

    return forge


SIGNATURE = replacing("= sha256(convert_to(parts[3], 'UTF8'))", "IS NOT NULL")
SPELLING = replacing(
    "= sha256(convert_to(parts[3], 'UTF8'))",
    "IS NOT NULL AND sha256(k.outer_pad || sha256(k.inner_pad || convert_to(parts[1] || '.' || parts[2], 'UTF8')))"
    " = decode(replace(replace(parts[3], '-', '+'), '_', '/') || '=', 'base64')",
)
EXPIRY = replacing("BETWEEN -10 AND 910", "IS NOT NULL")


def both(*mutations: Mutation) -> Mutation:
    def mutate(sql: str) -> str:
        for each in mutations:
            sql = each(sql)
        return sql

    return mutate


LOOSE_EXPIRY = both(
    replacing("AND c.exp::text = c.exp::text::bigint::text", ""),
    replacing("c.exp::text::bigint - c.now BETWEEN -10 AND 910", "coalesce((c.exp #>> '{}')::numeric > c.now, true)"),
)
KEYS = "num_nonnulls(c.iat, c.nbf, c.jti, c.iss)"
FEWER = replacing(f"= 3 + {KEYS}", f"BETWEEN 2 AND 3 + {KEYS}")

# What is tried, and the check without which it works.
PROTECTED: dict[str, tuple[Forgery, Mutation]] = {
    "payload changed": (lambda s: flipped(s.token(), 2, 0), SIGNATURE),
    "no signature": (lambda s: s.token().rpartition(".")[0] + ".", SIGNATURE),
    "signed with an empty key": (without_key({"alg": "HS256"}), SIGNATURE),
    "signature respelled": (lambda s: respelled(s.token()), SPELLING),
    "megabytes": (oversized, replacing("octet_length(token) <= 65536", "true")),
    "a fourth part": (lambda s: s.token() + ".x", replacing("cardinality(parts) = 3", "true")),
    "alg none": (header(alg="none"), replacing("c.alg::text = '\"HS256\"'", "true")),
    "alg of another length": (header(alg="HS512"), replacing("c.alg::text = '\"HS256\"'", "true")),
    "alg in lower case": (header(alg="hs256"), replacing("c.alg::text = ", "upper(c.alg::text) = ")),
    "alg missing": (
        header(alg=...),
        both(replacing("c.alg::text = '\"HS256\"'", "true"), replacing("n.header = 2 +", "n.header BETWEEN 1 AND 2 +")),
    ),
    "another typ": (header(typ="JWE"), replacing("c.typ::text = '\"JWT\"'", "true")),
    "crit": (header(crit=["exp"]), replacing("n.header = 2 +", "n.header > 0 OR 2 <")),
    "b64": (header(b64=False), replacing("n.header = 2 +", "n.header > 0 OR 2 <")),
    "alg twice": (doubled("header", '"alg": "none"'), replacing("n.header = 2 +", "n.header > 0 OR 2 <")),
    "another audience": (
        claims(aud="00000000-0000-4000-8000-000000000000"),
        replacing("c.aud::text = '\"' || audience || '\"'", "true"),
    ),
    "no audience": (
        claims(aud=..., iss="x"),
        both(replacing("c.aud::text = '\"' || audience || '\"'", "true"), FEWER),
    ),
    "several audiences": (
        lambda s: s.forge(s.payload(aud=[s.key.audience, "b"])),
        replacing("c.aud::text = '\"' || audience || '\"'", "position(audience IN c.aud::text) > 0"),
    ),
    "expired": (moment("exp", -11), EXPIRY),
    "expired long ago": (moment("exp", -10**9), EXPIRY),
    "too far in the future": (moment("exp", MAX_LIFETIME_SECONDS + 30), EXPIRY),
    "exp missing": (claims(exp=..., iss="x"), both(LOOSE_EXPIRY, FEWER)),
    "exp is null": (claims(exp=None), LOOSE_EXPIRY),
    "exp is text": (lambda s: s.forge(s.payload(exp=str(int(time.time()) + 30))), LOOSE_EXPIRY),
    "exp is infinite": (claims(exp="Infinity"), LOOSE_EXPIRY),
    "exp is a float": (lambda s: s.forge(s.payload(exp=time.time() + 30.5)), LOOSE_EXPIRY),
    "exp has an exponent": (raw_claim("exp", "9e99"), LOOSE_EXPIRY),
    "exp overflows": (raw_claim("exp", "9" * 400), LOOSE_EXPIRY),
    "not yet": (moment("nbf", 20), replacing("c.nbf::text::bigint BETWEEN 0 AND c.now + 10", "true")),
    "issued in the future": (moment("iat", 20), replacing("c.iat::text::bigint BETWEEN 0 AND c.now + 10", "true")),
    "issued before time": (moment("iat", -(10**10)), replacing("c.iat::text::bigint BETWEEN 0 AND c.now + 10", "true")),
    "jti is a number": (claims(jti=1), replacing("json_typeof(c.jti) = 'string'", "true")),
    "iss is a list": (claims(iss=["x"]), replacing("json_typeof(c.iss) = 'string'", "true")),
    "another claim": (claims(role="admin"), replacing(f"n.payload = 3 + {KEYS}", "true")),
    "sub": (claims(sub="user_1"), replacing(f"n.payload = 3 + {KEYS}", "true")),
    "exp twice": (doubled("payload", '"exp": 1'), replacing(f"n.payload = 3 + {KEYS}", "true")),
    "exp twice, once escaped": (doubled("payload", '"\\u0065xp": 1'), replacing(f"n.payload = 3 + {KEYS}", "true")),
    "context twice": (doubled("payload", '"context": {}'), replacing(f"n.payload = 3 + {KEYS}", "true")),
    "a field twice": (
        doubled("context", '"organisationId": 2'), replacing("n.context = num_nonnulls", "n.context >= num_nonnulls")
    ),
    "an unknown field": (values(admin=True), replacing("n.context = num_nonnulls", "n.context >= num_nonnulls")),
    "a field in other capitals": (
        values(OrganisationId=2), replacing("n.context = num_nonnulls", "n.context >= num_nonnulls")
    ),
    "a pattern matched at the start": (values(userId="user 1"), replacing("{1,128})$'", "{1,128})'")),
    "a pattern matched at the end": (values(userId="ü user"), replacing("'^(?:", "'(?:")),
    "below the minimum": (values(organisationId=0), replacing("BETWEEN 1 AND 2147483647", "IS NOT NULL")),
    "longer than allowed": (values(userId="x" * 101), replacing("char_length(t.text_3) <= 100", "true")),
    "a control character": (
        values(userId="a\u0085b"),
        both(
            replacing("t.text_3 COLLATE \"C\" !~  E'[\\\\u0001-\\\\u001f\\\\u007f-\\\\u009f]'", "true"),
            replacing("t.text_3 COLLATE \"C\" ~ '^(?:[A-Za-z0-9_.@|-]{1,128})$'", "true"),
        ),
    ),
    "empty text": (
        values(userId=""),
        both(replacing("t.text_3 <> ''", "true"), replacing("{1,128})$'", "{0,128})$'")),
    ),
    "a number as text": (values(organisationId="1"), replacing("json_typeof(i.item_1) IN ('number')", "true")),
    "a whole float": (
        raw_context('{"organisationId": 1.0, "userId": "u"}'),
        replacing("t.text_1 = (t.text_1::bigint)::text AND t.text_1::bigint", "t.text_1::numeric"),
    ),
    "text is a number": (values(userId=12), replacing("json_typeof(i.item_3) = 'string'", "true")),
}  # fmt: skip


@pytest.mark.parametrize("name", PROTECTED)
def test_refused_because_of_one_check(workbench: Stage, name: str) -> None:
    forgery, mutation = PROTECTED[name]
    assert not workbench.accepts(forgery(workbench))
    with workbench.changed(mutation):
        assert workbench.accepts(forgery(workbench)), "without its check it must get through"
        assert workbench.accepts(workbench.token())


ALSO_REFUSED: dict[str, Forgery] = {
    "NULL": lambda _: None,
    "nothing": lambda _: "",
    "dots": lambda _: "..",
    "not base64": lambda s: "!!!." + s.token().partition(".")[2],
    "not UTF-8": lambda s: encoded(b"{\xff}") + "." + s.token().partition(".")[2],
    "leading space": lambda s: " " + s.token(),
    "trailing newline": lambda s: s.token() + "\n",
    "padding": lambda s: s.token() + "=",
    "newline inside": lambda s: s.token().replace(".", ".\n", 1),
    "Bearer": lambda s: "Bearer " + s.token(),
    "unknown kid": header(kid="unknown"),
    "kid is a number": header(kid=1),
    "kid is an injection": header(kid="' OR true --"),
    "kid missing": header(kid=...),
    "kid is null": header(kid=None),
    "the header is an array": lambda s: s.forge(s.payload(), "[]"),
    "the header is null": lambda s: s.forge(s.payload(), "null"),
    "the header is empty": lambda s: s.forge(s.payload(), ""),
    "jwk": header(jwk={"kty": "oct", "k": "AA"}),
    "the payload is an array": lambda s: s.forge("[]"),
    "the payload is null": lambda s: s.forge("null"),
    "the payload is text": lambda s: s.forge('"x"'),
    "the payload is no JSON": lambda s: s.forge("{"),
    "deep nesting": lambda s: s.forge("[" * 40_000),
    "a NUL in a name": lambda s: s.forge('{"\\u0000": 1}'),
    "an empty object": lambda s: s.forge("{}"),
    "exp is negative": claims(exp=-1),
    "exp is minus zero": raw_claim("exp", "-0"),
    "exp is true": claims(exp=True),
    "exp is a list": claims(exp=[9999999999]),
    "exp is an object": claims(exp={}),
    "nbf is text": claims(nbf="1"),
    "nbf is null": claims(nbf=None),
    "iat is a float": claims(iat=1.5),
    "no context": claims(context=..., iss="x"),
    "context is null": raw_context("null"),
    "context is a list": raw_context("[1]"),
    "context is text": raw_context('"organisationId"'),
    "context is empty": raw_context("{}"),
    "a required field missing": values(organisationId=...),
    "a required field null": values(organisationId=None),
    "a field is true": values(organisationId=True),
    "a field is a list": values(organisationId=[1]),
    "a field is an object": values(organisationId={"$gt": 0}),
    "a float": values(organisationId=1.5),
    "an exponent": raw_context('{"organisationId": 1e0, "userId": "u"}'),
    "a leading zero": raw_context('{"organisationId": 01, "userId": "u"}'),
    "hexadecimal": values(organisationId=" 0x2 "),
    "an underscore": values(organisationId="1_000"),
    "overflow": values(organisationId=2**31),
    "overflow of bigint": values(organisationId=2**63),
    "a huge number": raw_context('{"organisationId": ' + "9" * 5000 + ', "userId": "u"}'),
    "an optional field of the wrong type": values(teamId="7"),
    "an optional field that overflows": values(teamId=-(2**31) - 1),
    "a newline": values(userId="a\n"),
    "a NUL": values(userId="a\x00"),
    "a lone surrogate": raw_context('{"organisationId": 1, "userId": "\\ud800"}'),
}


@pytest.mark.parametrize("name", ALSO_REFUSED)
def test_refused(stage: Stage, name: str) -> None:
    assert not stage.accepts(ALSO_REFUSED[name](stage))


def test_every_refusal_looks_the_same(stage: Stage) -> None:
    seen = set()
    for forgery in [*ALSO_REFUSED.values(), *(forgery for forgery, _ in PROTECTED.values())]:
        connection = stage.conversation()
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as raised:
            connection.execute("SELECT rlsgen.set_context(%s)", [forgery(stage)])
        diagnosis = raised.value.diag
        seen.add(
            (diagnosis.message_primary, diagnosis.message_detail, diagnosis.message_hint, diagnosis.context,
             diagnosis.source_line, diagnosis.internal_query, diagnosis.statement_position)
        )  # fmt: skip
        connection.close()
    assert len(seen) == 1, seen


def test_a_token_that_expires_in_an_old_transaction(make_stage: MakeStage) -> None:
    """`exp` is held against the clock. Held against now(), a transaction that waits keeps tokens alive."""
    no_skew = replacing("BETWEEN -10 AND 910", "BETWEEN 0 AND 910")
    outcomes = []
    by_beginning = replacing("extract(epoch FROM clock_timestamp()) AS now", "extract(epoch FROM now()) AS now")
    for mutation in (no_skew, both(no_skew, by_beginning)):
        stage = make_stage(mutation)
        connection = stage.conversation()
        connection.execute("BEGIN")
        (begun,) = connection.execute("SELECT floor(extract(epoch FROM now()))::bigint").fetchone() or (0,)
        token = stage.forge(stage.payload(exp=begun + 1))
        while connection.execute("SELECT extract(epoch FROM clock_timestamp()) < %s", [begun + 1]).fetchone() == (
            True,
        ):
            pass
        try:
            connection.execute("SELECT rlsgen.set_context(%s)", [token])
            outcomes.append("taken")
        except psycopg.errors.InsufficientPrivilege:
            outcomes.append("refused")
    assert outcomes == ["refused", "taken"]


def test_hostile_values_stay_values(make_stage: MakeStage) -> None:
    text = context_field("text", "text", max_length=4000)
    stage = make_stage(spec=spec_of(ORGANISATION, text, context_field("list", "text", array=True, required=False)))
    for hostile in (
        "'; DROP TABLE orders; --",
        '{"a": 1}',
        "{NULL}",
        "NULL",
        "\\",
        '","',
        "$rlsgen$",
        "%s",
        "ü€😀\u2028",
        " ",
    ):
        connection = stage.sealed({"organisationId": 1, "text": hostile, "list": [hostile, "NULL", hostile]})
        row = connection.execute("SELECT rlsgen.text(), rlsgen.list(), rlsgen.organisation_id()").fetchone()
        assert row == (hostile, [hostile, "NULL", hostile], 1)
        connection.close()


ARRAY_REFUSED: dict[str, Any] = {
    "no array": 1,
    "an object": {},
    "too many": [1] * 4,
    "nested": [[1]],
    "a null": [1, None],
    "another type": [1, "2"],
    "a float": [1.5],
    "out of range": [0],
    "Postgres' own spelling": "{1,2}",
}


def test_arrays_refused(make_stage: MakeStage) -> None:
    ids = context_field("ids", "integer", array=True, required=False, max_items=3, minimum=1)
    stage = make_stage(spec=spec_of(ids))
    for name, value in ARRAY_REFUSED.items():
        assert not stage.accepts(stage.forge(stage.payload({"ids": value}))), name
    for good in ([], [1, 2, 3], None):
        assert stage.accepts(stage.forge(stage.payload({"ids": good})))
    assert stage.accepts(stage.forge(stage.payload({})))


FORMS: dict[str, tuple[list[object], list[object]]] = {
    "bigint": (
        [0, -(2**63), str(2**63 - 1), "-7"],
        [2**63, "01", "+1", "-0", "1.0", "", " 1", "0x1", True, 1.5, "1_0"],
    ),
    "uuid": (
        ["0b8cb0d3-2ab9-4b8a-98ab-5d9a8a6b7c1e"],
        ["0B8CB0D3-2AB9-4B8A-98AB-5D9A8A6B7C1E", "0b8cb0d32ab94b8a98ab5d9a8a6b7c1e", "", 1,
         "{0b8cb0d3-2ab9-4b8a-98ab-5d9a8a6b7c1e}"],
    ),
    "boolean": ([True, False], ["true", 1, 0, "", "t"]),
    "date": (
        ["2024-02-29", "0001-01-01", "9999-12-31"],
        ["2023-02-29", "0000-01-01", "24-01-01", "2024-1-1", "20240101", "infinity", "today", "01/02/2024",
         "2024-01-01 BC", "", 1],
    ),
    "timestamptz": (
        ["2024-02-29T23:59:59Z", "2024-01-01T00:00:00.123456+02:00", "2024-01-01T00:00:00.1-15:59"],
        ["2024-01-01T00:00:00", "2024-01-01", "2024-01-01T24:00:00Z", "2024-01-01T00:00:60Z", "2024-01-01 00:00:00Z",
         "2024-01-01t00:00:00z", "2024-01-01T00:00:00.1234567Z", "2024-02-30T00:00:00Z", "now", "infinity",
         "2024-01-01T00:00:00+16:00", "2024-01-01T00:00:00 UTC", "", 1],
    ),
    "text": (["x", "ü" * 1024, "a b"], ["", "x" * 1025, "a\tb", "\x7f", 1, True]),
}  # fmt: skip


@pytest.mark.parametrize("base", FORMS)
def test_forms(make_stage: MakeStage, base: Any) -> None:
    stage = make_stage(spec=spec_of(context_field("it", base), context_field("them", base, array=True)))
    good, bad = FORMS[base]
    for value in good:
        assert stage.accepts(stage.forge(stage.payload({"it": value, "them": [value, value]}))), value
    for value in bad:
        assert not stage.accepts(stage.forge(stage.payload({"it": value, "them": []}))), value
        assert not stage.accepts(stage.forge(stage.payload({"it": good[0], "them": [good[0], value]}))), value


def test_a_context_without_fields_still_needs_a_token(make_stage: MakeStage) -> None:
    stage = make_stage(spec=spec_of(context_field("maybe", "text", required=False)))
    connection = stage.conversation()
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="no tenant context"):
        connection.execute("SELECT rlsgen.maybe()")
    with connection.transaction():
        connection.execute("SELECT rlsgen.set_context(%s)", [stage.token({})])
        assert connection.execute("SELECT rlsgen.maybe()").fetchone() == (None,)


def test_a_missing_seal_key_fails_closed(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.owner().execute("DELETE FROM rlsgen_private.seal_key")
    assert not stage.accepts(stage.token())
    connection = stage.conversation()
    connection.execute("SELECT set_config('app.organisation_id', '1', false)")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="no tenant context"):
        visible(connection)


def test_two_databases_do_not_take_each_others_tokens(make_stage: MakeStage) -> None:
    one, other = make_stage(), make_stage()
    assert not one.accepts(other.token())


def test_the_documented_example_mints_a_token(stage: Stage) -> None:
    """docs/sealed-context.md has one for those without a JWT library."""
    page = (Path(__file__).parents[2] / "docs" / "sealed-context.md").read_text(encoding="utf-8")
    made = subprocess.run(
        [sys.executable, "-c", page.partition("```python\n")[2].partition("```")[0]],
        env={**os.environ, "RLSGEN_SIGNING_KEY": stage.key.reveal()},
        capture_output=True,
        text=True,
        check=True,
    )
    assert stage.accepts(made.stdout.strip())
