"""`rlsgen verify` as people and CI run it: formats, exit codes, and what is in neither."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.cli.runner import SPEC, Rlsgen
from tests.proof.verify.harness import Stage


def command(directory: Path, stage: Stage) -> Rlsgen:
    return Rlsgen(directory).having(
        RLSGEN_DSN=stage.database.dsn(), RLSGEN_CONVERSATION_DSN=stage.database.dsn("nl_conversation"),
        RLSGEN_SIGNING_KEY=stage.key.reveal(), RLSGEN_SPEC=str(SPEC),
    )  # fmt: skip


@pytest.fixture
def sound(tmp_path: Path, shop_shared: Stage) -> Rlsgen:
    return command(tmp_path, shop_shared)


@pytest.fixture
def broken(tmp_path: Path, stage: Stage) -> Rlsgen:
    stage.owner("ALTER TABLE organisations DISABLE ROW LEVEL SECURITY; TRUNCATE notes")
    return command(tmp_path, stage)


def test_isolation_that_holds(sound: Rlsgen) -> None:
    done = sound("verify", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    document = json.loads(done.stdout)
    assert {"table", "status", "tenants"} <= document["tables"][0].keys()
    assert {"id", "ring", "status"} <= document["attacks"][0].keys()
    summary = document["summary"]
    assert (summary["leaks"], summary["tables"]) == (0, 13)
    assert summary["attacks"] == summary["blocked"] + summary["skipped"] == len(document["attacks"])
    assert summary["skipped"]
    assert not document["uncovered"]


def test_text_says_all_in_one_line(sound: Rlsgen) -> None:
    done = sound("verify", "--no-attacks")
    assert done.returncode == 0, done.stderr
    assert "public.orders\tscoped\tisolated\t" in done.stdout
    assert "Isolation holds." in done.stdout


def test_leaks_are_named_and_end_with_3(broken: Rlsgen) -> None:
    done = broken("verify", "--no-attacks")
    assert done.returncode == 3
    assert "error: public.organisations: a tenant sees at least" in done.stdout
    assert "[verify-leak]" in done.stdout
    assert "warning: public.notes: none of the tenants" in done.stdout
    assert "1 leaks: isolation does not hold." in done.stdout


def test_for_ci(broken: Rlsgen) -> None:
    github = broken("verify", "--no-attacks", "--format", "github")
    assert github.returncode == 3
    assert github.stdout.startswith("::error file=")
    sarif = json.loads(broken("verify", "--no-attacks", "--format", "sarif").stdout)
    assert {"verify-leak", "verify-uncovered"} <= {each["ruleId"] for each in sarif["runs"][0]["results"]}
    suite = ElementTree.fromstring(broken("verify", "--format", "junit").stdout)[0]
    failed = {case.get("name") for case in suite if len(case)}
    assert {"table public.organisations", "table public.notes", "attack foreign-row ring 1"} <= failed


def test_uncovered_ends_with_3_unless_allowed(tmp_path: Path, stage: Stage) -> None:
    stage.owner("TRUNCATE notes")
    rlsgen = command(tmp_path, stage)
    assert rlsgen("verify", "--no-attacks").returncode == 3
    assert rlsgen("verify", "--no-attacks", "--allow-uncovered").returncode == 0
    assert rlsgen("verify", "--no-attacks", "--plant").returncode == 3  # shop_owner may not become nl_conversation


def test_what_does_not_work_ends_with_1(tmp_path: Path, stage: Stage) -> None:
    stage.owner("DROP POLICY rlsgen_allow_select ON products")
    done = command(tmp_path, stage)("verify", "--no-attacks")
    assert done.returncode == 1
    assert "error: public.products: a tenant does not see" in done.stdout


def test_attacks_of_ones_own(tmp_path: Path, sound: Rlsgen) -> None:
    (tmp_path / "ours.yaml").write_text("version: 1\nattacks:\n  ours: {title: x, rings: [1], sql: SELECT 1}\n")
    done = sound("verify", "--no-attacks", "--attacks", "ours.yaml")
    assert done.returncode == 3
    assert "attack ours: x: simple protocol: it gave a value (ring 1, the raw connection)" in done.stdout
    (tmp_path / "ours.yaml").write_text("version: 1\nattacks:\n  ours: {title: x, sgl: SELECT 1}\n")
    done = sound("verify", "--attacks", "ours.yaml")
    assert done.returncode == 1
    assert "ours.yaml:3:20: unknown key 'sgl'" in done.stderr


def test_a_tenant_of_ones_own(sound: Rlsgen) -> None:
    tenant = {"organisationId": 3, "userId": "nobody"}
    done = sound("verify", "--no-attacks", "--format", "json", "--context-json", json.dumps(tenant))
    assert done.returncode == 0, done.stderr
    assert tenant in json.loads(done.stdout)["tables"][0]["tenants"]


def test_no_secret_is_shown(broken: Rlsgen, stage: Stage) -> None:
    done = broken("verify")
    secret = stage.key.reveal().rpartition(".")[2]
    assert secret not in done.stdout + done.stderr
    assert "eyJ" not in done.stdout + done.stderr  # how every token begins


def test_on_a_terminal(sound: Rlsgen) -> None:
    code, shown = sound.on_terminal("verify", "--no-attacks")
    assert code == 0
    assert "public.order_items" in shown
    assert "Isolation holds." in shown
