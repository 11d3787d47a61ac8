"""Changes of the spec: shown by plan, made by apply, then nothing is left to do and isolation holds; and all back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml
from psycopg import errors

from rlsgen.errors import ServerError, SpecError
from rlsgen.spec.model import Spec
from tests.shapes.conftest import clone
from tests.shapes.harness import (
    HERE,
    TEXT,
    Case,
    assert_isolated,
    assert_nothing_to_do,
    changed,
    rows,
    superuser_of,
    truth_of,
)
from tests.shapes.truth import CONTEXTS, TRUTH, Context, parameters
from tests.support.postgres import Databases, Roles

Document = dict[str, Any]
DOCUMENT: Document = yaml.safe_load(TEXT)


@dataclass(frozen=True)
class Change:
    """One of changes.yaml; paths into the document have slashes."""

    name: str
    named: str  # in the plan; empty where nothing is to be done
    edit: Mapping[str, object] = field(default_factory=dict)
    remove: Sequence[str] = ()
    reverse: Sequence[str] = ()
    narrowed: str = ""
    truth: Mapping[str, str | None] = field(default_factory=dict)
    context: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name

    @property
    def spec(self) -> Spec:
        return changed(self._apply)

    def _apply(self, document: Document) -> None:
        for path, value in self.edit.items():
            at, last = _place(document, path)
            at[last] = value
        for path in self.remove:
            at, last = _place(document, path)
            del at[last]
        for key in self.reverse:
            document[key] = dict(reversed(document[key].items()))

    def true(self, table: str) -> str | None:
        """The query that gives what is true now; None where nothing may be read."""
        if table in self.truth:
            return self.truth[table]
        sql = TRUTH[table][1]
        return f"SELECT * FROM ({sql}) AS t WHERE {self.narrowed}" if self.narrowed and table in BY_DEFAULT else sql


def _place(document: Document, path: str) -> tuple[Document, str]:
    *parents, last = path.split("/")
    for step in parents:
        document = document[step]
    return document, last


def _by_default() -> set[str]:
    """The tables of the default filter, and whatever stands on them: paths, sub-queries of filters, views."""
    found = {table for table, value in DOCUMENT["tables"].items() if not {"filter", "through", "access"} & set(value)}
    found = {table for table in found if not isinstance(DOCUMENT["tables"][table], str)}
    for table, value in DOCUMENT["tables"].items():
        if any(f"-> {parent}(" in str(value) or f"FROM {parent}" in str(value) for parent in found):
            found.add(table)
    return (found | {"v_orders", "v_totals", "v_already"}) & set(TRUTH)


BY_DEFAULT = _by_default()
CHANGES = [Change(**each) for each in yaml.safe_load((HERE / "changes.yaml").read_text(encoding="utf-8"))]


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
    with case.conversation(
        {**{name: value for name, value in context.items() if name in names}, **change.context}
    ) as talker:
        for table, (key, _) in TRUTH.items():
            query, sql = f"SELECT {key} FROM {table}", change.true(table)
            if sql is None:
                with pytest.raises(errors.InsufficientPrivilege), talker.transaction():
                    talker.execute(query.encode())
            else:
                assert rows(talker, query) == rows(superuser_of(case), sql, parameters(context)), table


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
    own.admin.execute(
        "GRANT EXECUTE ON FUNCTION f_all() TO nl_conversation; GRANT SELECT ON v_everything TO nl_conversation"
    )
    with own.conversation(CONTEXTS[0]) as talker:
        assert talker.execute("SELECT f_all()").fetchone() == (0,)
        assert talker.execute("SELECT count(*) FROM v_everything").fetchone() == (0,)
    for table in TRUTH:
        count = f"SELECT count(*) FROM {table}"
        # A restrictive policy of somebody else's that is kept now binds the owner too: the plan said so.
        expected = [(6,)] if table == "x_kept" else rows(superuser_of(own), count)
        assert rows(own.admin, count) == expected, table
    own.admin.execute(
        "INSERT INTO p_orders VALUES (900, 3, 900); UPDATE p_orders SET number = -1 WHERE id = 900;"
        " DELETE FROM p_orders WHERE id = 900"
    )


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
