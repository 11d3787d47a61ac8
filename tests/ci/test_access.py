"""What a change of the spec means for access: each kind of change, and changes that mean nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlsgen.ci.access import compare
from rlsgen.ci.changes import Access, Direction
from rlsgen.identifiers import Name
from rlsgen.spec.load import parse_spec
from rlsgen.spec.model import AllowedFunction, ContextField, Spec, TableSpec, Through, ViewSpec
from tests.cli.runner import SPEC

CASES = yaml.safe_load((Path(__file__).parent / "changes.yaml").read_text())
TEXT = SPEC.read_text()


def told(access: Access) -> list[str]:
    """`widened orders rows`: what is not unchanged."""
    names = [(each, each.object.removeprefix("public.")) for each in access.changes]
    return sorted(f"{each.direction} {name} {each.aspect}" for each, name in names if each.direction != "unchanged")


def changed(replace: dict[str, str], text: str = TEXT) -> str:
    for before, after in replace.items():
        assert before in text
        text = text.replace(before, after)
    return text


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["it"])
def test_a_change(case: dict[str, Any]) -> None:
    before, replace = changed(dict(case.get("given", {}))), dict(case["replace"])
    after = changed(replace, before)
    access = compare(parse_spec(before, "before.yaml"), parse_spec(after, "after.yaml"), base="before.yaml")
    assert told(access) == sorted(case["told"])
    assert access.opens == any(each.startswith(("widened", "changed")) for each in case["told"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["it"])
def test_the_way_back_is_the_other_way(case: dict[str, Any]) -> None:
    before = changed(dict(case.get("given", {})))
    after = changed(dict(case["replace"]), before)
    back = compare(parse_spec(after, "after.yaml"), parse_spec(before, "before.yaml"))
    other = {"widened": "narrowed", "narrowed": "widened", "changed": "changed"}
    words = [each.split(" ", 1) for each in case["told"]]
    assert told(back) == sorted(f"{other[direction]} {rest}" for direction, rest in words)


REFORMATTED = """
version: 1
# another order, other quotes, anchors, comments
views: {monthly_revenue: {access: invoker}}
seal: on
roles: {unrestricted: ["shop_app", 'shop_owner'], conversation: "nl_conversation"}
context:
  userId: {pattern: '[A-Za-z0-9_.@-]{1,128}', type: text}
  teamId: {required: no, type: "integer"}
  organisationId: {minimum: 1, type: integer}
tables:
  public.api_keys: {access: hidden}
  'countries': {access: shared, why: they are the same for all}
  '"templates"':
    allow: [update, select]
    check: &own "ORGANISATION_ID = usercontext.organisationid"
    filter: "organisation_id = userContext.organisationId /* ours */ OR (templates.organisation_id IS NULL)"
  notes: {filter: WHERE (user_id = "userContext"."userId");, allow: [delete, update, insert, select]}
  projects: (team_id = userContext.teamId) AND public.projects.organisation_id = userContext.organisationId
  order_items: {through: ['"order_id" -> public.orders("id")']}
  users: {filter: *own, prompt: people, columns: {private: [email], hide: [password_hash]}}
  events: *own
  orders: *own
  products: *own
  teams: *own
  Organisations: ((id)) = userContext.organisationId
lint: {key_days: 30}
"""


def test_a_spec_that_is_only_written_differently_is_unchanged() -> None:
    access = compare(parse_spec(TEXT, "before.yaml"), parse_spec(REFORMATTED, "after.yaml"))
    assert told(access) == []
    assert not access.opens
    assert access.count(Direction.unchanged) == 12
    assert told(compare(parse_spec(REFORMATTED, "after.yaml"), parse_spec(TEXT, "before.yaml"))) == []


def test_a_new_spec_is_all_new() -> None:
    access = compare(None, parse_spec(TEXT, "after.yaml"))
    assert {each.direction for each in access.changes} == {Direction.widened}
    assert {"public.orders", "public.monthly_revenue", "every table"} < {each.object for each in access.changes}


def test_another_conversation_role_is_two_roles() -> None:
    after = changed({"conversation: nl_conversation": "conversation: nl_new"})
    access = compare(parse_spec(TEXT, "before.yaml"), parse_spec(after, "after.yaml"))
    directions = {(each.role, each.direction) for each in access.changes}
    assert directions == {("nl_conversation", Direction.narrowed), ("nl_new", Direction.widened)}


def test_a_hidden_column_that_is_gone_opens_nothing() -> None:
    after = changed({"hide: [password_hash]": "hide: []"})
    specs = parse_spec(TEXT, "before.yaml"), parse_spec(after, "after.yaml")
    names = {str(name): name for name in [Name("public", "users")]}
    with_it, without = ["id", "password_hash"], ["id"]
    assert compare(*specs, {names["public.users"]: with_it}).opens
    assert not compare(*specs, {names["public.users"]: without}).opens


def test_names_lead_where_the_database_has_them() -> None:
    two = changed({"schemas: [public]": "schemas: [public, billing]"})
    before, after = (
        two,
        changed({"  orders: {}": "  billing.orders: {}", "-> orders(id)": "-> billing.orders(id)"}, two),
    )
    specs = parse_spec(before, "before.yaml"), parse_spec(after, "after.yaml")
    assert told(compare(*specs, {Name("billing", "orders"): []})) == []
    assert compare(*specs, {Name("public", "orders"): [], Name("billing", "orders"): []}).opens


JUDGED = {
    Spec: "context conversation unrestricted schemas force seal tables views functions",
    TableSpec: "ref access filter check through allow hide private existing",
    ViewSpec: "ref access hide",
    ContextField: "name base array required minimum maximum pattern max_length max_items",
    Through: "columns parent parent_columns",
    AllowedFunction: "schema name",
}
NO_ACCESS = "file position positions column_positions undeclared limits lint prompt why snake loggable operator"


@pytest.mark.parametrize("part", JUDGED, ids=lambda part: part.__name__)
def test_every_part_of_a_spec_is_judged(part: type) -> None:
    """Or gives nobody a row. Whoever adds to the spec decides here what it means."""
    names = {each.name for each in dataclasses.fields(part)}
    assert names - set(NO_ACCESS.split()) == set(JUDGED[part].split())
