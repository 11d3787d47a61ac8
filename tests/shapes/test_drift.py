"""Whatever somebody changes by hand is seen by plan, closed by apply, and gone from the next plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest
import yaml
from psycopg import errors

from rlsgen.errors import SpecError
from tests.shapes.conftest import clone
from tests.shapes.harness import HERE, TEXT, Case, assert_isolated, assert_nothing_to_do, changed, rows
from tests.shapes.truth import CONTEXTS, TRUTH
from tests.support.postgres import Databases


@dataclass(frozen=True)
class Drift:
    """What is done by hand, what the plan then names, and the tables to look at afterwards."""

    sql: str
    named: str
    tables: Sequence[str] = ("p_orders",)
    leaks: bool = False  # without a repair the conversation would see too much: shown before apply

    def __str__(self) -> str:
        return self.sql


DRIFTS = [Drift(**each) for each in yaml.safe_load((HERE / "drifts.yaml").read_text(encoding="utf-8"))]
PROBLEMS = yaml.safe_load((HERE / "problems.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def kept() -> list[Case]:
    """The database that the drifts share, as long as each puts it right."""
    return []


@pytest.fixture
def drifting(kept: list[Case], module_databases: Databases, provisioned_template: str) -> Iterator[Case]:
    """A provisioned database; after a failure, the next test gets a new one."""
    case = kept.pop() if kept else clone(module_databases, provisioned_template)
    case.settled = False
    yield case
    if case.settled:
        kept.append(case)


@pytest.mark.parametrize("drift", DRIFTS, ids=str)
def test_a_change_by_hand_is_seen_and_repaired(drifting: Case, drift: Drift) -> None:
    drifting.key  # noqa: B018  (made while there is nothing wrong)
    with drifting.admin.transaction():
        drifting.admin.execute(drift.sql.replace("{database}", f'"{drifting.database.name}"').encode())
    if drift.leaks:
        with pytest.raises(AssertionError):
            assert_isolated(drifting, drift.tables, refused=False)
    assert drift.named in drifting.plan().to_text()
    drifting.apply()
    assert_nothing_to_do(drifting)
    assert_isolated(drifting, drift.tables, CONTEXTS[:2])
    drifting.settled = True


@pytest.mark.parametrize("edit", [{}, {"force": True}, {"seal": False}, {"force": True, "seal": False}], ids=str)
def test_everything_at_once_is_repaired_whatever_the_spec_says(own: Case, edit: dict[str, object]) -> None:
    own.apply(changed(lambda document: document.update(edit)))
    assert_isolated(own, contexts=CONTEXTS[:1])
    done = []
    for drift in DRIFTS:
        try:
            with own.admin.transaction():
                own.admin.execute(drift.sql.replace("{database}", f'"{own.database.name}"').encode())
            done.append(drift)
        except errors.Error:
            pass  # what it changes has been dropped or changed by one before
    assert len(done) > 0.8 * len(DRIFTS)
    with pytest.raises(AssertionError):
        assert_isolated(own, contexts=CONTEXTS[:1])
    own.apply()
    assert_nothing_to_do(own)
    assert_isolated(own, contexts=CONTEXTS[:2])


def test_after_all_that_everything_is_right(drifting: Case) -> None:
    assert_nothing_to_do(drifting)
    assert_isolated(drifting)


@pytest.mark.parametrize("problem", PROBLEMS, ids=[each["sql"] for each in PROBLEMS])
def test_what_apply_must_not_decide_is_a_problem(drifting: Case, problem: dict[str, str]) -> None:
    server = drifting.database.server
    try:
        with server.administer(drifting.database.name) as superuser:
            superuser.execute(problem["sql"].encode())
        with pytest.raises(SpecError) as refusal:
            drifting.apply()
        assert problem["said"] in str(refusal.value)
    finally:
        with server.administer(drifting.database.name) as superuser:
            superuser.execute(problem["undo"].encode())
    assert_nothing_to_do(drifting)
    drifting.settled = True


def test_a_renamed_table_follows_its_new_name_and_destroy_still_closes_it(own: Case) -> None:
    own.admin.execute("ALTER TABLE p_orders RENAME TO sales; ALTER TABLE w_items RENAME TO lines")
    renamed = changed(text=TEXT.replace("p_orders", "sales").replace("w_items", "lines"))
    assert "public.sales" in own.plan(renamed).to_text()
    own.apply(renamed)
    assert_nothing_to_do(own)
    for context in CONTEXTS[:3]:
        with own.conversation(context) as talker:
            seen = rows(talker, "SELECT id FROM sales")
            assert seen == rows(own.admin, "SELECT id FROM sales WHERE organisation_id = %(organisationId)s", context)
            rest = [table for table in TRUTH if "p_orders" not in TRUTH[table][1] and "w_items" not in TRUTH[table][1]]
    assert_isolated(own, rest, refused=False)
    own.destroy()
    assert rows(own.admin, "SELECT relname FROM pg_class WHERE relrowsecurity") == [("x_kept",), ("x_replaced",)]
    assert rows(own.admin, "SELECT attrelid::regclass::text FROM pg_attribute, aclexplode(attacl) a"
                           " WHERE a.grantee = 'nl_conversation'::regrole") == []  # fmt: skip


def test_a_table_that_is_dropped_and_made_again_is_protected_again(own: Case) -> None:
    own.admin.execute("""
        CREATE TABLE copy AS SELECT * FROM w_notes; DROP TABLE w_notes;
        CREATE TABLE w_notes (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id text NOT NULL, body text);
        INSERT INTO w_notes OVERRIDING SYSTEM VALUE SELECT * FROM copy; DROP TABLE copy""")
    assert "policy rlsgen_only_select on public.w_notes" in own.plan().to_text()
    own.apply()
    assert_nothing_to_do(own)
    assert_isolated(own, ["w_notes"])
