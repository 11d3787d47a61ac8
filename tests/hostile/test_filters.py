"""Filters that Postgres enforces to the letter and that give others' rows away all the same: refused, and shown why."""

from __future__ import annotations

import psycopg
import pytest

from rlsgen.errors import SpecError
from rlsgen.provision import judge
from tests.hostile.support import Sandbox, hostile_spec, send
from tests.support.postgres import Database

TABLES = """
    CREATE TABLE days (d date, v text);
    INSERT INTO days VALUES ('2026-01-01', 'own'), ('2025-12-31', 'CANARY');
    CREATE TABLE times (t timestamp, v text);
    INSERT INTO times VALUES ('2026-01-01 00:00', 'own'), ('2026-01-01 05:00', 'CANARY');
    CREATE TABLE moments (tz timestamptz, v text);
    INSERT INTO moments VALUES ('2026-01-01 00:00+00', 'own'), ('2026-01-01 05:00+00', 'CANARY');
    CREATE TABLE documents (payload jsonb, code text, v text);
    INSERT INTO documents VALUES ('{"org": 1}', '1', 'own'), ('{"org": "CANARY"}', 'CANARY', 'CANARY');
"""
SPEC = """
version: 1
context:
  organisationId: {type: integer}
  cutoff: {type: timestamptz, required: false}
  day: {type: date, required: false}
roles: {conversation: nl_conversation, unrestricted: [shop_owner, shop_app]}
schemas: [public]
undeclared: hidden
tables:
  TABLE: >-
    FILTER
"""
CONTEXT = {"organisationId": 1, "cutoff": "2026-01-01T00:00:00+00:00", "day": "2026-01-01"}
REFUSED = [
    ("days", "d = userContext.cutoff", "TimeZone", ("<x>24",)),
    ("times", "t <= userContext.cutoff", "TimeZone", ("Etc/GMT-14",)),
    ("moments", "tz >= userContext.day", "TimeZone", ()),
    ("moments", "tz = userContext.day", "TimeZone", ("Etc/GMT+5",)),
    (
        "moments",
        "userContext.organisationId = 1 AND (tz IN (userContext.day, userContext.day) OR false)",
        "TimeZone",
        ("Etc/GMT+5",),
    ),
    ("documents", "(payload ->> 'org')::integer = userContext.organisationId", "shows that text", ("UTC",)),
    ("documents", "CASE WHEN code::integer = 1 THEN userContext.organisationId = 1 END", "shows that text", ("UTC",)),
    ("documents", "code::json ->> 'org' = userContext.organisationId::text", "shows that text", ("UTC",)),
    ("documents", "payload::integer = 1 AND userContext.organisationId = 1", "shows that text", ()),
]
ACCEPTED = [
    ("days", "d = userContext.day"),
    ("times", "t AT TIME ZONE 'UTC' <= userContext.cutoff"),
    ("times", "t = userContext.day"),
    ("moments", "tz <= userContext.cutoff"),
    ("documents", "payload ->> 'org' = userContext.organisationId::text"),
    ("documents", "code = userContext.organisationId::text"),
    ("documents", "(payload -> 'org')::text = userContext.organisationId::text"),
]


def sandbox_with(database: Database, table: str, text: str) -> Sandbox:
    spec = hostile_spec(SPEC.replace("TABLE", table).replace("FILTER", text))
    sandbox = Sandbox.unprovisioned(database, spec)
    sandbox.owner(TABLES)
    return sandbox


def told(sandbox: Sandbox, table: str, zone: str) -> str:
    with psycopg.connect(sandbox.database.dsn(sandbox.spec.conversation), autocommit=True) as connection:
        sandbox.begin(connection, CONTEXT)
        return send(connection, f"SET TimeZone = '{zone}'; SELECT v FROM {table}").text


@pytest.mark.parametrize(("table", "text", "why", "zones"), REFUSED)
def test_refused_and_without_that_it_leaks(
    database: Database, monkeypatch: pytest.MonkeyPatch, table: str, text: str, why: str, zones: tuple[str, ...]
) -> None:
    sandbox = sandbox_with(database, table, text)
    with pytest.raises(SpecError, match=why) as refused:
        sandbox.apply()
    position = refused.value.problems[0].position
    assert position is not None
    assert (position.line, position.file) == (12, "policies.yaml")
    if zones:
        monkeypatch.setattr(judge, "soundness_problems", lambda *_: iter(()))
        sandbox.apply()
        sandbox.make_key()
        assert any("CANARY" in told(sandbox, table, zone) for zone in zones)


@pytest.mark.parametrize(("table", "text"), ACCEPTED)
def test_what_may_stand_there_instead(database: Database, table: str, text: str) -> None:
    sandbox = sandbox_with(database, table, text)
    sandbox.apply()
    sandbox.make_key()
    for zone in ("UTC", "Etc/GMT+12", "Etc/GMT-14", "<x>24"):
        said = told(sandbox, table, zone)
        assert said == "own", zone


PATHS = """
    CREATE TABLE slots (d date, organisation_id integer, v text);
    CREATE TABLE bookings (t timestamptz, note text, v text);
"""
PATH_SPEC = (
    SPEC.partition("  TABLE")[0]
    + """
  slots: organisation_id = userContext.organisationId
  bookings: {through: PATH -> slots(d)}
"""
)


@pytest.mark.parametrize("column", ["t", "note"])
def test_a_path_that_settings_decide_about_is_refused(database: Database, column: str) -> None:
    sandbox = Sandbox.unprovisioned(database, hostile_spec(PATH_SPEC.replace("PATH", column)))
    sandbox.owner(PATHS)
    with pytest.raises(SpecError, match="depends on settings that a conversation can change"):
        sandbox.apply()


def test_and_it_would_be_decided_by_them(database: Database) -> None:
    owner = database.connect()
    owner.execute("SET TimeZone = 'UTC'")
    first = owner.execute(
        "SELECT '2026-01-01'::date = '2026-01-01 05:00+00'::timestamptz, '2026-01-02'::date::text"
    ).fetchone()
    owner.execute("SET TimeZone = 'Etc/GMT+5'; SET DateStyle = 'SQL, DMY'")
    then = owner.execute(
        "SELECT '2026-01-01'::date = '2026-01-01 05:00+00'::timestamptz, '2026-01-02'::date::text"
    ).fetchone()
    assert (first, then) == ((False, "2026-01-02"), (True, "02/01/2026"))
