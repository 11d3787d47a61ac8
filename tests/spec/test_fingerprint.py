"""The fingerprint: what makes one database another to a runtime, and what does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from rlsgen.errors import RlsgenError
from rlsgen.spec.fingerprint import FieldMark, Fingerprint, common_fields, compatible
from rlsgen.spec.model import Spec
from tests.spec.support import parse

BODY = """\
default_filter: organisation_id = userContext.orgId
limits: {per: orgId, rows: 10}
tables:
  orders: {}
  users: {filter: id = userContext.orgId, prompt: people, columns: {hide: [a], private: [b]}}
  items: {through: order_id -> orders(id)}
  notes: {filter: user_id = userContext.userId, allow: [select, insert]}
  countries: {access: shared, why: all the same}
  keys: hidden
views:
  revenue: invoker
"""
HEAD = """\
version: 1
context:
  orgId: {type: integer, minimum: 1}
  userId: {type: text}
  teamId: {type: bigint, required: false}
roles: {conversation: talker, unrestricted: [owner, app]}
"""


def spec(body: str = BODY, head: str = HEAD) -> Spec:
    return parse(body, head)


def differences(runtime: Spec, database: Spec) -> list[str]:
    carried = Fingerprint.parse(Fingerprint.of(database).text)
    return [each.message for each in compatible(runtime, carried)]


def test_it_survives_its_text() -> None:
    made = Fingerprint.of(spec())
    assert Fingerprint.parse(made.text) == made
    assert made.text == Fingerprint.of(spec()).text
    assert made.text.isascii()
    assert "'" not in made.text, "it stands in a literal of SQL, and is cut out of it"
    assert "\\" not in made.text
    assert list(json.loads(made.text)) == ["version", "roles", "access", "fields"]


ACCESS = "the database was provisioned with other tables, views or filters than those of p.yaml"
FIELD = "the context field {} has another type or other constraints in the database than in p.yaml"
ROLES = "the database was provisioned for other roles than p.yaml names"


@pytest.mark.parametrize(("old", "new"), [
    ("prompt: people", "prompt: persons"),
    ("why: all the same", "why: shared"),
    ("rows: 10", "rows: 20"),
    ("{per: orgId, rows: 10}", "{}"),
    ("[owner, app]", "[app, owner]"),
    ("  orders: {}\n", ""),  # and again at the end
    ("organisation_id = userContext.orgId", "'organisation_id = userContext.orgId'"),
    ("{type: text}", "{type: text, loggable: false}"),
])  # fmt: skip
def test_what_makes_no_difference(old: str, new: str) -> None:
    whole = HEAD + BODY
    assert old in whole
    changed = whole.replace(old, new)
    if not new:
        changed = changed.replace("  keys: hidden\n", "  keys: hidden\n" + old)
    other = spec(
        changed.removeprefix(HEAD) if changed.startswith(HEAD) else changed, HEAD if changed.startswith(HEAD) else ""
    )
    assert differences(other, spec()) == differences(spec(), other) == []
    assert Fingerprint.of(other) == Fingerprint.of(spec())


@pytest.mark.parametrize(("old", "new", "message"), [
    ("conversation: talker", "conversation: other", ROLES),
    ("[owner, app]", "[owner]", ROLES),
    ("organisation_id = userContext.orgId", "organisation_id > userContext.orgId", ACCESS),
    ("id = userContext.orgId, prompt", "id <> userContext.orgId, prompt", ACCESS),
    ("hide: [a]", "hide: [a, c]", ACCESS),
    ("private: [b]", "private: []", ACCESS),
    ("order_id -> orders(id)", "order_no -> orders(id)", ACCESS),
    ("allow: [select, insert]", "allow: [select, update]", ACCESS),
    ("keys: hidden", "keys: {}", ACCESS),
    ("  keys: hidden\n", "", ACCESS),
    ("revenue: invoker", "revenue: hidden", ACCESS),
    ("tables:", "force: true\ntables:", ACCESS),
    ("tables:", "seal: off\ntables:", ACCESS),
    ("tables:", "schemas: [other]\ntables:", ACCESS),
    ("filter: user_id", "existing: replace, filter: user_id", ACCESS),
    ("filter: user_id", "check: user_id < userContext.userId, filter: user_id", ACCESS),
    ("minimum: 1", "minimum: 0", FIELD.format("orgId")),
    ("{type: bigint,", "{type: integer,", FIELD.format("teamId")),
])  # fmt: skip
def test_what_makes_one(old: str, new: str, message: str) -> None:
    assert (HEAD + BODY).count(old) == 1
    other = spec(BODY.replace(old, new), HEAD.replace(old, new))
    assert differences(other, spec()) == differences(spec(), other) == [message]


def without(name: str) -> Callable[[Spec], Spec]:
    return lambda made: replace(made, context=tuple(field for field in made.context if field.name != name))


def test_an_optional_field_more_is_none_in_either_direction() -> None:
    more, less = spec(), without("teamId")(spec())
    assert differences(more, less) == differences(less, more) == []
    assert [field.name for field in common_fields(more, Fingerprint.of(less))] == ["orgId", "userId"]
    assert [field.name for field in common_fields(less, Fingerprint.of(more))] == ["orgId", "userId"]


def test_an_optional_field_that_a_filter_uses_is_one() -> None:
    uses = spec(BODY.replace("keys: hidden", "keys: team_id = userContext.teamId"))
    assert differences(uses, without("teamId")(spec())) == [ACCESS]


def test_a_required_field_more_is_one_in_both_directions() -> None:
    more, less = spec(), without("userId")(spec())
    assert differences(more, less) == ["the context field userId is required by p.yaml, and unknown to the database"]
    assert differences(less, more) == ["the context field userId is required by the database, and unknown to p.yaml"]


def test_a_field_that_only_the_database_requires_is_one() -> None:
    strict = spec(head=HEAD.replace(", required: false", ""))
    assert differences(spec(), strict) == [
        "the context field teamId is required by the database, and optional in p.yaml"
    ]
    assert differences(strict, spec()) == [], "a runtime that always sends it does no harm"


@pytest.mark.parametrize("text", [
    "", "x", "[]", "{}", '"x"', "1", "null", '{"version": 1, "roles": "a", "access": "b"}',
    '{"version": 1, "roles": "a", "access": "b", "fields": []}',
    '{"version": 1, "roles": "a", "access": "b", "fields": {"a": []}}',
    '{"version": 1, "roles": "a", "access": "b", "fields": {"a": 1}}',
])  # fmt: skip
def test_what_is_no_fingerprint(text: str) -> None:
    with pytest.raises(RlsgenError, match="no fingerprint"):
        Fingerprint.parse(text)


def test_a_later_version_says_so() -> None:
    later: dict[str, Any] = {"version": 2, "roles": "", "access": "", "fields": {}}
    with pytest.raises(RlsgenError, match="fingerprint has version 2, and 1 is known"):
        Fingerprint.parse(json.dumps(later))


def test_marks_are_values() -> None:
    required, optional = (Fingerprint("a", "b", {"x": FieldMark("c", required)}) for required in (True, False))
    assert required.digest != optional.digest
