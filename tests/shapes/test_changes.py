"""Changes of the spec: plan shows them, apply makes them, the next plan is empty and isolation holds; and all the way back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml
from psycopg import errors

from rlsgen.errors import ServerError, SpecError
from rlsgen.spec.model import Spec
from tests.shapes.conftest import clone
from tests.shapes.harness import TEXT, Case, assert_isolated, assert_nothing_to_do, changed, rows, superuser_of, truth_of
from tests.shapes.truth import CONTEXTS, TRUTH, Context, parameters
from tests.support.postgres import Databases, Roles

Document = dict[str, Any]
NOTHING = None  # in `truth`: the conversation may not read the table


@dataclass(frozen=True)
class Change:
    """What somebody edits, what the plan then names, and what is true afterwards where it differs from truth.py."""

    name: str
    edit: Mapping[str, object]  # dotted path in the document: the new value; DELETE takes it out
    named: str
    truth: Mapping[str, str | None] = field(default_factory=dict)
    context: Mapping[str, object] = field(default_factory=dict)  # more fields

    def __str__(self) -> str:
        return self.name

    @property
    def spec(self) -> Spec:
        def apply(document: Document) -> None:
            for path, value in self.edit.items():
                *parents, last = path.split("/")
                at = document
                for step in parents:
                    at = at[step]
                if value is DELETE:
                    del at[last]
                else:
                    at[last] = value

        return changed(apply)


DELETE = object()
_ORG = "organisation_id = %(organisationId)s::integer"
_ALL = ["select", "insert", "update", "delete"]
DOCUMENT: Document = yaml.safe_load(TEXT)
_CONTEXT: Document = DOCUMENT["context"]


def _followers(parents: set[str]) -> set[str]:
    """These tables, and whatever stands on them: paths, sub-queries of filters, views."""
    found = set(parents)
    for table, value in DOCUMENT["tables"].items():
        text = str(value)
        if any(f"-> {parent}(" in text or f"FROM {parent}" in text for parent in found):
            found.add(table)
    views = {"v_orders", "v_totals", "v_already"}
    return (found | views) & set(TRUTH)



_DEFAULT = {table for table, value in DOCUMENT["tables"].items() if value == {} or value in ({"existing": "keep"}, {"existing": "replace"})}
_BY_DEFAULT = _followers(_DEFAULT | {"c_people", "h_codes"}) - {"k_three", "h_uses"}

CHANGES = [
    Change("filter", {"tables/k_integer": "organisation_id = userContext.organisationId AND number > 20"}, "policy rlsgen_only_select on public.k_integer",
           {"k_integer": f"SELECT id FROM k_integer WHERE {_ORG} AND number > 20"}),
    Change("filter's grouping", {"tables/f_attachments":
           "item_type = 'Order' AND (item_id IN (SELECT id FROM p_orders) OR item_type = 'Invoice') AND item_id IN (SELECT id FROM billing.invoices)"},
           "policy rlsgen_only_select on public.f_attachments",
           {"f_attachments": "SELECT a.id FROM f_attachments a JOIN p_orders o ON o.id = a.item_id JOIN billing.invoices i ON i.id = a.item_id"
                             " WHERE a.item_type = 'Order' AND o.organisation_id = %(organisationId)s::integer"
                             " AND i.organisation_id = %(organisationId)s::integer",
            "f_attachment_reads": "SELECT r.id FROM f_attachment_reads r JOIN f_attachments a ON a.id = r.attachment_id"
                                  " JOIN p_orders o ON o.id = a.item_id JOIN billing.invoices i ON i.id = a.item_id"
                                  " WHERE a.item_type = 'Order' AND o.organisation_id = %(organisationId)s::integer"
                                  " AND i.organisation_id = %(organisationId)s::integer"}),
    Change("default filter", {"default_filter": "organisation_id = userContext.organisationId AND userContext.region <> 'south'"},
           "policy rlsgen_only_select on public.c_people",
           {table: f"SELECT * FROM ({sql}) AS t WHERE %(region)s <> 'south'" for table, (_, sql) in TRUTH.items() if table in _BY_DEFAULT}
           | {"k_three": "SELECT k.id FROM k_three k JOIN teams t ON t.id = k.team_id WHERE (k.team_id = %(teamId)s::integer"
                         " OR k.user_id = %(userId)s) AND (k.organisation_id = %(organisationId)s::integer OR k.organisation_id IS NULL"
                         " AND t.organisation_id = %(organisationId)s::integer AND %(region)s <> 'south')"}),
    Change("check", {"tables/w_templates/check": "organisation_id = userContext.organisationId AND id > 1"}, "policy rlsgen_only_update on public.w_templates"),
    Change("scoped to hidden", {"tables/k_text": "hidden"}, "on public.k_text", {"k_text": NOTHING}),
    Change("scoped to shared", {"tables/k_text": {"access": "shared", "why": "why not"}}, "public.k_text", {"k_text": "SELECT id FROM k_text"}),
    Change("hidden to scoped", {"tables/x_queue": "id = userContext.organisationId"}, "policy rlsgen_only_select on public.x_queue"),
    Change("hidden to shared", {"tables/x_queue": {"access": "shared", "why": "why not"}}, "grant SELECT (2 columns) on public.x_queue"),
    Change("shared to hidden", {"tables/f_countries": "hidden"}, "on public.f_countries", {"f_countries": NOTHING}),
    Change("shared to scoped", {"tables/f_countries": "code = userContext.region"}, "policy rlsgen_only_select on public.f_countries",
           {"f_countries": "SELECT code FROM f_countries WHERE code = %(region)s"}),
    Change("a parent becomes hidden", {"tables/p_orders": {"access": "hidden", "filter": "organisation_id = userContext.organisationId"},
           "tables/f_attachments": "hidden", "tables/f_attachment_reads": "hidden", "views": {}},
           "function rlsgen.path_", dict.fromkeys(("p_orders", "f_attachments", "f_attachment_reads", "v_orders", "v_totals", "v_already", '"v Odd.view"'))),
    Change("a hidden parent becomes scoped", {"tables/h_secrets": "organisation_id = userContext.organisationId"}, "h_uses",
           {"h_uses": "SELECT u.id FROM h_uses u JOIN h_secrets s ON s.id = u.secret_id WHERE s.organisation_id = %(organisationId)s::integer"}),
    Change("tables removed", {"undeclared": "hidden", "tables/k_text": DELETE, "tables/w_notes": DELETE, "tables/c_people": DELETE,
           "tables/p_pings": DELETE, "tables/f_countries": DELETE, "views/v_already": DELETE},
           "table public.k_text, declared no more", dict.fromkeys(("k_text", "w_notes", "c_people", "p_pings", "f_countries", "v_already"))),
    Change("another path", {"tables/p_values": "reading_id = userContext.organisationId"}, "policy rlsgen_only_select on public.p_values",
           {"p_values": "SELECT id FROM p_values WHERE reading_id = %(organisationId)s"}),
    Change("columns", {"tables/p_orders": {"columns": {"hide": ["number"]}}, "views/v_orders": "hidden", "views/v_totals": "hidden",
           "tables/c_people/columns": {"hide": ["email"], "private": ["password_hash"]}},
           "on public.p_orders", {"v_orders": NOTHING, "v_totals": NOTHING}),
    Change("allow", {"tables/k_integer": {"allow": _ALL}, "tables/w_notes/allow": ["select"]}, "DELETE, INSERT (3 columns)"),
    Change("keep to replace", {"tables/x_kept/existing": "replace"}, "not deleted",
           {"x_kept": f"SELECT id FROM x_kept WHERE {_ORG}"}),
    Change("field added", {"context": {**_CONTEXT, "number": {"type": "bigint", "required": False}},
           "tables/k_integer": "organisation_id = userContext.organisationId AND number = userContext.number"}, "function rlsgen.number()",
           {"k_integer": f"SELECT id FROM k_integer WHERE {_ORG} AND number = 42"}, {"number": 42}),
    Change("required field added", {"context": {"added": "date", **_CONTEXT}}, "function rlsgen.added()", {}, {"added": "2026-01-01"}),
    Change("field removed", {"context": {name: value for name, value in _CONTEXT.items() if name != "region"}, "tables/k_enum": "hidden"},
           "function rlsgen.region()", {"k_enum": NOTHING}),
    Change("field's type: integer to bigint", {"context/organisationId": {"type": "bigint", "minimum": 1}}, "function rlsgen.organisation_id__2()"),
    Change("field's type: uuid to text", {"context/accountId": "text"}, "function rlsgen.account_id__2()"),
    Change("field's type: bigint[] to integer[]", {"context/projectIds": "integer[]"}, "function rlsgen.project_ids__2()"),
    Change("field's bounds", {"context/organisationId": {"type": "integer", "minimum": 1, "maximum": 99}}, "function rlsgen.set_context(token text)"),
    Change("field optional", {"context/region": {"type": "text", "required": False}}, "function rlsgen.region()"),
    Change("order of fields", {"context": dict(reversed(_CONTEXT.items()))}, "function rlsgen.set_context(token text)"),
    Change("order of tables", {"tables": dict(reversed(DOCUMENT["tables"].items()))}, ""),
    Change("unrestricted roles", {"roles/unrestricted": ["shop_owner"]}, "fingerprint"),
    Change("seal off", {"seal": False}, "function rlsgen.organisation_id()"),
    Change("force", {"force": True}, "forced row security of public.p_orders"),
]  # fmt: skip


@pytest.fixture(scope="module")
def kept() -> list[Case]:
    return []


@pytest.fixture
def changing(kept: list[Case], module_databases: Databases, provisioned_template: str) -> Iterator[Case]:
    """A provisioned database, shared as long as every test goes all the way back."""
    case = kept.pop() if kept else clone(module_databases, provisioned_template)
    yield case
    if case.spec == changed() and not case.plan().transactions:
        kept.append(case)


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_a_change_is_shown_made_and_taken_back(changing: Case, change: Change) -> None:
    first, spec = changing.spec, change.spec
    made = changing.plan(spec)
    assert change.named in made.to_text()
    assert bool(made.transactions) == bool(change.named)
    changing.apply(spec)
    assert_nothing_to_do(changing)
    for context in CONTEXTS[:2]:
        _assert_truth(changing, change, context)
    if change.name == "keep to replace":
        return  # what was replaced comes back with destroy
    changing.apply(first)
    assert_nothing_to_do(changing)
    assert_isolated(changing, contexts=CONTEXTS[:1])
    versions = r"SELECT proname FROM pg_proc WHERE pronamespace = 'rlsgen'::regnamespace AND proname LIKE '%\_\_%'"
    assert rows(changing.admin, versions) == []


def _assert_truth(case: Case, change: Change, context: Context) -> None:
    names = {each.name for each in case.spec.context}
    with case.conversation({**{name: value for name, value in context.items() if name in names}, **change.context}) as talker:
        for table, (key, _) in TRUTH.items():
            sql = change.truth.get(table, "")
            query = f"SELECT {key} FROM {table}"
            if sql is None:
                with pytest.raises(errors.InsufficientPrivilege), talker.transaction():
                    talker.execute(query.encode())
            elif sql:
                assert rows(talker, query) == rows(superuser_of(case), sql, parameters(context)), table
            else:
                assert rows(talker, query) == truth_of(case, table, context), table


def test_force_stops_definer_views_and_functions_and_the_owner_still_works(own: Case) -> None:
    """Under force a definer function of the owner shows a conversation nothing; what it is without, is shown first."""
    own.admin.execute("""
        CREATE FUNCTION f_all() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
          BEGIN ATOMIC SELECT count(*) FROM public.p_orders; END;
        GRANT EXECUTE ON FUNCTION f_all() TO nl_conversation; GRANT SELECT ON v_everything TO nl_conversation""")
    with own.conversation(CONTEXTS[0]) as talker:
        assert talker.execute("SELECT f_all()").fetchone() == (12,)
        assert talker.execute("SELECT count(*) FROM v_everything").fetchone() == (12,)
    forced = changed(lambda document: document.update(force=True))
    warned = [each for each in own.plan(forced).hazards if each.hazard == "ACCESS_LOSS"]
    assert [("shop_owner" in each.message, "x_kept" in each.message) for each in warned] == [(True, True)]
    own.apply(forced)
    own.admin.execute("GRANT EXECUTE ON FUNCTION f_all() TO nl_conversation; GRANT SELECT ON v_everything TO nl_conversation")
    with own.conversation(CONTEXTS[0]) as talker:
        assert talker.execute("SELECT f_all()").fetchone() == (0,)
        assert talker.execute("SELECT count(*) FROM v_everything").fetchone() == (0,)
    for table in TRUTH:
        count = f"SELECT count(*) FROM {table}"
        # A restrictive policy of somebody else's that is kept now binds the owner too: the plan said so.
        expected = [(6,)] if table == "x_kept" else rows(superuser_of(own), count)
        assert rows(own.admin, count) == expected, table
    own.admin.execute("INSERT INTO p_orders VALUES (900, 3, 900); UPDATE p_orders SET number = -1 WHERE id = 900; DELETE FROM p_orders WHERE id = 900")


def test_with_the_seal_off_an_application_sets_the_context_itself(own: Case) -> None:
    own.apply(changed(lambda document: document.update(seal=False)))
    assert_nothing_to_do(own)
    assert any("seal is off" in advice.message for advice in own.plan().advice)
    assert_isolated(own, contexts=CONTEXTS[:2])
    with own.talker.transaction(force_rollback=True):
        own.talker.execute("SET LOCAL app.organisation_id = '1'")
        assert rows(own.talker, "SELECT id FROM p_items") == truth_of(own, "p_items", CONTEXTS[0])
    with pytest.raises(errors.InsufficientPrivilege, match="no tenant context"):
        own.talker.execute("SELECT count(*) FROM p_items")


def test_another_conversation_role_needs_a_destroy_first(own: Case, role_factory: Roles) -> None:
    """Nobody would revoke what the former role holds, and with row security gone it would read everything."""
    role = role_factory()
    other = changed(lambda document: document["roles"].update(conversation=role))
    with pytest.raises(SpecError, match="nl_conversation") as refusal:
        own.plan(other)
    assert "destroy" in refusal.value.problems[0].hint
    own.spec = other
    with pytest.raises(ServerError, match="nl_conversation"):
        own.destroy()
    own.spec = changed()
    own.destroy()
    own.apply(other)
    assert_nothing_to_do(own)
