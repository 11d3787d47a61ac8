"""A context that changes: accessors of other types under other names, retired ones, and `seal: off`."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from rlsgen.provision.functions import Accessor, accessor_versions, context_functions
from tests.context.stage import ABSENT, CONTEXT, ORGANISATION, SPEC, TEAM, USER, Stage, context_field, spec_of, visible

MakeStage = Callable[..., Stage]


def names(existing: dict[str, str], *fields: object) -> list[str]:
    spec = spec_of(*fields)  # type: ignore[arg-type]
    return [each.function for each in accessor_versions(spec, existing)]


def test_new_accessors_have_the_fields_names() -> None:
    assert names({}, ORGANISATION, TEAM, USER) == ["organisation_id", "team_id", "user_id"]
    assert names({"set_context": "void"}, ORGANISATION) == ["organisation_id"]


@pytest.mark.parametrize(
    ("existing", "version"),
    [
        ({"organisation_id": "integer"}, "organisation_id"),
        ({"organisation_id": "text"}, "organisation_id__2"),
        ({"organisation_id": "text", "organisation_id__2": "integer"}, "organisation_id__2"),
        ({"organisation_id": "text", "organisation_id__2": "uuid"}, "organisation_id__3"),
        ({"organisation_id": "integer", "organisation_id__2": "integer"}, "organisation_id"),
        ({"organisation_id__3": "integer", "organisation_id__11": "integer"}, "organisation_id__3"),
        ({"organisation_id__2": "text"}, "organisation_id"),
        ({"organisation_id": "integer[]"}, "organisation_id__2"),
        ({"organisation_id_2": "integer", "organisation_id__x": "integer"}, "organisation_id"),
    ],
)
def test_versions(existing: dict[str, str], version: str) -> None:
    assert names(existing, ORGANISATION) == [version]


def test_types_as_format_type_shows_them() -> None:
    at, days = context_field("at", "timestamptz"), context_field("days", "timestamptz", array=True)
    existing = {"at": "timestamp with time zone", "days": "timestamp with time zone[]"}
    assert names(existing, at, days) == ["at", "days"]
    assert names({"at": "timestamp with time zone[]"}, at) == ["at__2"]


def test_what_postgres_reports_is_what_is_asked_for(make_stage: MakeStage) -> None:
    """Names, arguments and result types round-trip through the catalog, for every type."""
    kinds = ("integer", "bigint", "uuid", "text", "boolean", "date", "timestamptz")
    fields = [context_field(f"f{kind}{array}", kind, array=array) for kind in kinds for array in (True, False)]  # type: ignore[arg-type]
    stage = make_stage(spec=spec_of(*fields))
    rows = stage.owner().execute(
        "SELECT p.proname, format_type(p.prorettype, NULL), pg_get_function_identity_arguments(p.oid),"
        " p.prosecdef, p.proconfig FROM pg_proc AS p WHERE p.pronamespace = 'rlsgen'::regnamespace"
    ).fetchall()  # fmt: skip
    existing = {name: result for name, result, *_ in rows}
    versions = accessor_versions(stage.spec, existing)
    assert [each.function for each in versions] == [field.snake for field in fields]
    desired = {(each.name.name, each.arguments) for each in context_functions(stage.spec, versions)}
    assert desired == {(name, arguments) for name, _, arguments, *_ in rows}
    assert all(definer and config == ["search_path=pg_catalog, pg_temp"] for *_, definer, config in rows)


def test_a_field_changes_its_type(make_stage: MakeStage) -> None:
    """Policies go on with the retired accessor until they are replaced; both read the same setting under one seal."""
    stage = make_stage()
    wider = context_field("organisationId", "bigint", "organisation_id", minimum=1)
    stage.spec = spec_of(wider, TEAM, USER)
    accessors = accessor_versions(stage.spec, {"organisation_id": "integer", "team_id": "integer", "user_id": "text"})
    assert [each.function for each in accessors] == ["organisation_id__2", "team_id", "user_id"]
    stage.functions(stage.owner(), accessors, [Accessor("organisation_id", "integer", wider)])
    connection = stage.sealed({**CONTEXT, "organisationId": 2})
    assert visible(connection) == [2]
    row = connection.execute(
        "SELECT rlsgen.organisation_id__2(), pg_typeof(rlsgen.organisation_id__2())::text,"
        " pg_typeof(rlsgen.organisation_id())::text"
    ).fetchone()
    assert row == (2, "bigint", "integer")
    connection.execute("ROLLBACK")
    connection.execute("BEGIN")
    connection.execute("SELECT rlsgen.set_context(%s)", [stage.token({**CONTEXT, "organisationId": 2**40})])
    with pytest.raises(psycopg.errors.NumericValueOutOfRange):
        visible(connection)


def test_a_field_leaves(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.spec = spec_of(TEAM, USER)
    stage.functions(stage.owner(), (), [Accessor("organisation_id", "integer", None)])
    connection = stage.sealed({"teamId": 7, "userId": "user_1"})
    assert connection.execute("SELECT rlsgen.team_id()").fetchone() == (7,)
    connection.execute("SELECT set_config('app.organisation_id', '1', true)")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match=ABSENT):
        visible(connection)


def test_the_seal_can_be_off(naive: Stage) -> None:
    """Then the settings are trusted; what is required must still be there."""
    connection = naive.conversation()
    for unset in ("RESET app.organisation_id", "SET app.organisation_id = ''"):
        connection.execute(unset.encode())
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=ABSENT):
            visible(connection)
    assert connection.execute("SELECT rlsgen.team_id()").fetchone() == (None,)
    connection.execute("SET app.organisation_id = '2'")
    assert visible(connection) == [2]
    connection.execute("SET app.organisation_id = '2; SELECT 1'")
    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        visible(connection)
    assert not naive.accepts("x.y.z")
    assert visible(naive.sealed()) == [1]


def test_turning_the_seal_off_and_on(make_stage: MakeStage) -> None:
    """The same functions, replaced in place under their policies."""
    stage = make_stage()
    connection = stage.conversation()
    for seal, rows in ((False, [3]), (True, ABSENT)):
        stage.spec = spec_of(*SPEC.context, seal=seal)
        stage.functions(stage.owner())
        connection.execute("SET app.organisation_id = 3")
        try:
            seen: object = visible(connection)
        except psycopg.errors.InsufficientPrivilege as error:
            seen = error.diag.message_primary
        assert seen == rows


def test_settings_as_applications_write_them(make_stage: MakeStage) -> None:
    fields = [
        context_field("ids", "integer", array=True),
        context_field("day", "date"),
        context_field("yes", "boolean"),
        context_field("names", "text", array=True),
    ]
    stage = make_stage(spec=spec_of(*fields, seal=False))
    connection = stage.sealed({"ids": [1, 2], "day": "2024-02-29", "yes": True, "names": ["a b", 'c"d']})
    settings = [f"current_setting('app.{field.snake}')" for field in fields]
    row = connection.execute(f"SELECT {', '.join(settings)}".encode()).fetchone()
    assert row == ("{1,2}", "2024-02-29", "true", '{"a b","c\\"d"}')
    connection.execute("SET LOCAL app.ids = '{3,4}'")
    assert connection.execute("SELECT rlsgen.ids(), rlsgen.names()").fetchone() == ([3, 4], ["a b", 'c"d'])
