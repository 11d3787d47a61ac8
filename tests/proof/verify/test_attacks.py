"""The catalogue as data, one's own attacks, and that what nobody expected counts as a leak."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlsgen.catalog.connect import open_connection
from rlsgen.errors import SpecError
from rlsgen.proof.attacks.catalogue import load_attacks, parse_attacks
from rlsgen.proof.attacks.places import PLACES, named
from rlsgen.provision.apply import apply
from rlsgen.provision.plan import Hazard
from rlsgen.spec.load import parse_spec
from tests.proof.verify.harness import CATALOGUE, Stage, attacks, leaking

HEAD = "version: 1\nattacks:\n"


def test_the_catalogue_is_of_some_size() -> None:
    assert len(CATALOGUE) >= 190
    assert {each.threat for each in CATALOGUE} == {"A", "B", "C", "D"}
    assert {name for each in CATALOGUE for name in named(each.sql)} <= PLACES.keys()


@pytest.mark.parametrize(
    ("text", "problem", "place"),
    [
        ("attacks: {}", "lacks the key version", "1:1"),
        ("version: 2\nattacks: {}", "version: input should be 1", "1:10"),
        (HEAD + "  one: {title: x}", "attacks.one needs sql or token, and not both", "3:3"),
        (HEAD + "  one: {title: x, sql: SELECT 1, token: {raw: a}}", "sql or token", "3:3"),
        (HEAD + "  one: {title: x, sql: SELECT <tabel>}", "<tabel> is no place", "3:24"),
        (HEAD + "  one: {title: x, sqll: SELECT 1}", "unknown key 'sqll'", "3:19"),
        (HEAD + "  one: {sql: SELECT 1}", "lacks the key title", "3:8"),
        (HEAD + "  one: {title: x, sql: SELECT 1, leak_if: always}", "attacks.one.leak_if", "3:43"),
        (HEAD + "  one: {title: x, sql: SELECT 1, blocked_by: [denied]}", "attacks.one.blocked_by.0", "3:47"),
        (HEAD + "  one: {title: x, token: {singed: none}}", "unknown key 'singed'", "3:27"),
        (HEAD + "  'One Two': {title: x, sql: SELECT 1}", "One Two", "3:3"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_place(text: str, problem: str, place: str) -> None:
    with pytest.raises(SpecError) as error:
        parse_attacks(text, "ours.yaml")
    assert problem in str(error.value)
    assert f"ours.yaml:{place}:" in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read"):
        load_attacks(tmp_path / "none.yaml")


def test_attacks_of_ones_own(shop_shared: Stage) -> None:
    own = parse_attacks(
        HEAD
        + """
  theirs: {title: rows of another, sql: "SELECT count(*) FROM <table> WHERE <foreign>"}
  mine: {title: one's own row is called a leak here, sql: "SELECT count(*) FROM <table> WHERE <own>"}
  mine-rows: {title: the same, leak_if: rows, rings: [1], sql: "SELECT 1 FROM <table> WHERE <own>"}
  unknown: {title: an error that nobody expected, rings: [1], sql: SELECT 1 / 0}
  expected: {title: an error that is expected, rings: [1], blocked_by: ["22012"], sql: SELECT 1 / 0}
  success: {title: what must fail does not, rings: [1], leak_if: success, sql: SELECT 1}
  passes: {title: the guard lets it through, leak_if: allowed, sql: "SELECT 1 FROM <table>"}
  later: {title: needs a newer server, since: 99, rings: [1], sql: SELECT 1}
  writes: {title: needs --writes, writes: true, rings: [1], sql: SELECT 1}
  valid: {title: a token that is valid, token: {}}
  lost: {title: the connection ends, rings: [1], sql: "SELECT pg_terminate_backend(pg_backend_pid())"}
""",
        "ours.yaml",
    )
    result = shop_shared.verify(attacks=own)
    assert leaking(result) == {
        "mine/1", "mine/2", "mine-rows/1", "unknown/1", "success/1", "passes/2", "valid/1", "lost/1"
    }  # fmt: skip
    assert {each.id for each in result.attacks if each.status == "skipped"} == {"later", "writes"}


def test_a_guard_that_is_not_there_is_not_counted_as_blocking(stage: Stage) -> None:
    stage.owner("ALTER TABLE teams DISABLE ROW LEVEL SECURITY")
    result = stage.verify(attacks=attacks("explain", "foreign-row"))
    assert {each.status for each in result.attacks if each.ring == 2} == {"skipped"}
    assert all("the runtime refuses" in each.detail for each in result.attacks if each.ring == 2)


def test_without_two_tenants_attacks_are_skipped(stage: Stage) -> None:
    stage.owner("TRUNCATE organisations, teams, users, products, orders, order_items, projects, notes, events CASCADE")
    result = stage.verify(attacks=attacks("foreign-row"))
    assert {each.status for each in result.attacks} == {"skipped"}
    assert any(each.what.startswith("attacks ") for each in result.uncovered)


def test_without_the_seal_forging_works(stage: Stage) -> None:
    """What `seal: off` gives up, and that these attacks can succeed."""
    with open(stage.spec.file, encoding="utf-8") as file:
        stage.spec = parse_spec(file.read() + "\nseal: off\n", "policies.yaml")
    with open_connection(stage.database.dsn()) as owner:
        apply(owner, stage.spec, allow=tuple(Hazard))
    result = stage.verify(attacks=attacks(ring=1))
    leaks = leaking(result)
    assert len([each for each in leaks if each.startswith("forge-") and each.endswith("/1")]) >= 18
    assert not [each for each in leaks if each.startswith("public.")], "nobody forges while tables are compared"
