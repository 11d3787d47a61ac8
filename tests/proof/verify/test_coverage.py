"""What is not covered is said, and what can be planted is covered."""

from __future__ import annotations

import json

from rlsgen.proof.verify import Options
from rlsgen.spec.load import parse_spec
from tests.proof.lint.harness import DOCUMENT, spec_with
from tests.proof.verify.harness import Stage, failing, leaking, table

EMPTIED = ("public.notes", "public.projects", "public.order_items", "public.templates")


def empty(stage: Stage) -> None:
    stage.owner("TRUNCATE notes, projects, order_items, templates")


def test_empty_tables_are_uncovered(stage: Stage) -> None:
    empty(stage)
    result = stage.verify(contexts=[{"organisationId": 1, "teamId": 1, "userId": "user_1"},
                                    {"organisationId": 2, "teamId": 4, "userId": "user_301"}])  # fmt: skip
    assert {str(each.table) for each in result.tables if each.status == "uncovered"} == set(EMPTIED)
    assert {each.what for each in result.uncovered} == {f"table {name}" for name in EMPTIED}
    assert not result.complete


def test_planted_rows_cover_them(stage: Stage) -> None:
    empty(stage)
    stage.unrestricted = stage.database.server.superuser
    tenants = [{"organisationId": 1, "teamId": 1, "userId": "user_1"},
               {"organisationId": 2, "teamId": 4, "userId": "user_301"}]  # fmt: skip
    result = stage.verify(Options(plant=True), contexts=tenants)
    assert result.complete, result.uncovered
    assert all(table(result, name).planted for name in EMPTIED)
    with stage.database.connect() as owner:
        assert owner.execute("SELECT count(*) FROM notes").fetchone() == (0,)


def test_planted_rows_find_a_leak(stage: Stage) -> None:
    empty(stage)
    stage.unrestricted = stage.database.server.superuser
    stage.owner(
        "ALTER POLICY rlsgen_only_select ON projects USING (true);"
        " ALTER POLICY rlsgen_allow_select ON projects USING (true)"
    )
    tenants = [{"organisationId": 1, "teamId": 1, "userId": "user_1"},
               {"organisationId": 2, "teamId": 4, "userId": "user_301"}]  # fmt: skip
    assert leaking(stage.verify(Options(plant=True), contexts=tenants)) == {"public.projects"}


def test_who_may_not_become_the_conversation_role_plants_nothing(stage: Stage) -> None:
    empty(stage)
    result = stage.verify(Options(plant=True))
    note = table(result, "public.order_items").notes[0]
    assert note.status == "uncovered"
    assert "SET ROLE" in note.message


def test_a_table_that_everybody_sees_all_of_proves_nothing(stage: Stage) -> None:
    stage.owner("UPDATE templates SET organisation_id = NULL, name = name || id")
    templates = table(stage.verify(), "public.templates")
    assert templates.status == "uncovered"
    assert templates.rows


def test_tenants_outside_of_the_sample_are_found_for_a_table(stage: Stage) -> None:
    stage.owner("UPDATE teams SET organisation_id = 19 + id % 2")
    teams = table(stage.verify(Options(tenants=1)), "public.teams")
    assert teams.status == "isolated"
    assert {19, 20} <= {each["organisationId"] for each in teams.tenants}


def test_a_field_without_values_is_made_up(stage: Stage) -> None:
    """No token can be made without it; what only it decides about is uncovered."""
    stage.owner("TRUNCATE notes")
    result = stage.verify()
    assert {each.what for each in result.uncovered} == {"table public.notes"}


def test_values_that_are_not_loggable_are_not_shown(stage: Stage) -> None:
    with open(stage.spec.file, encoding="utf-8") as file:
        text = file.read().replace("userId:         {type: text,", "userId:         {type: text, loggable: false,")
    stage.spec = parse_spec(text, "policies.yaml")
    stage.owner("ALTER TABLE notes DISABLE ROW LEVEL SECURITY")
    result = stage.verify()
    assert "user_" not in json.dumps(result.to_json())
    assert "#1" in json.dumps(result.to_json())
    assert "public.notes" in leaking(result)


def test_existing_policies_may_show_fewer_rows(stage: Stage) -> None:
    with open(stage.spec.file, encoding="utf-8") as file:
        text = file.read().replace("  products: {}\n", "  products: {existing: keep}\n")
    stage.spec = parse_spec(text, "policies.yaml")
    stage.owner("CREATE POLICY theirs ON products AS RESTRICTIVE FOR SELECT USING (NOT discontinued)")
    result = stage.verify()
    assert not leaking(result)
    assert not failing(result)
    assert "existing: keep" in table(result, "public.products").notes[0].message


def test_a_spec_that_hides_everything_is_not_held_true_unseen(stage: Stage) -> None:
    hidden = dict.fromkeys(DOCUMENT["tables"], "hidden")
    stage.spec = spec_with({"tables": hidden, "views": {"monthly_revenue": "hidden"}, "default_filter": None})
    assert [each.what for each in stage.verify().uncovered] == ["tenants"]
    result = stage.verify(contexts=[{"organisationId": 1, "teamId": 1, "userId": "user_1"}])
    assert "public.orders" in leaking(result)  # which the database still shows
