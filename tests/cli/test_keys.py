"""rlsgen keys and token: a key is shown once, works, is rotated and retired, and stands in no message."""

from __future__ import annotations

import json

import psycopg
import pytest

from rlsgen.demo.shop import CONVERSATION
from tests.cli.runner import SPEC, Rlsgen
from tests.support.postgres import Database

CONTEXT = ("-c", "organisationId=1", "-c", "userId=user_1")
KEY = "rlsgen1.abc.00000000-0000-0000-0000-000000000000." + "A" * 43


def opened(database: Database, token: str) -> int:
    """How many organisations a conversation with this token sees: one."""
    conversation = database.connect(CONVERSATION)
    with conversation.transaction():
        conversation.execute("SELECT rlsgen.set_context(%s)", [token])
        row = conversation.execute("SELECT count(*), min(id) FROM organisations").fetchone()
    assert row is not None
    assert row[0] == 1
    return int(row[1])


def test_from_a_key_to_rows(on_provisioned: Rlsgen, provisioned: Database) -> None:
    made = on_provisioned("keys", "create")
    assert made.returncode == 0
    key = made.stdout.strip()
    assert made.stdout == f"{key}\n"  # so that $(rlsgen keys create) is the key
    assert key not in made.stderr
    signing = on_provisioned.having(RLSGEN_SIGNING_KEY=key)
    token = signing("token", *CONTEXT)
    assert (token.returncode, token.stderr) == (0, "")
    assert opened(provisioned, token.stdout.strip()) == 1
    assert opened(provisioned, signing("token", "-c", "organisationId=2", *CONTEXT[2:]).stdout.strip()) == 2


def test_rotation(on_provisioned: Rlsgen, provisioned: Database) -> None:
    first, second = (
        json.loads(on_provisioned("keys", verb, "--format", "json").stdout) for verb in ("create", "rotate")
    )
    tokens = [on_provisioned.having(RLSGEN_SIGNING_KEY=key["signing_key"])("token", *CONTEXT).stdout.strip()
              for key in (first, second)]  # fmt: skip
    assert [opened(provisioned, token) for token in tokens] == [1, 1]

    retired = on_provisioned("keys", "retire", first["kid"], "--format", "json")
    assert (retired.returncode, json.loads(retired.stdout)) == (0, {"retired": first["kid"]})
    assert opened(provisioned, tokens[1]) == 1
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="context token refused"):
        opened(provisioned, tokens[0])

    listed = json.loads(on_provisioned("keys", "list", "--format", "json").stdout)["keys"]
    states = {each["kid"]: each["state"] for each in listed}
    assert (states[first["kid"]], states[second["kid"]]) == ("retired", "valid")
    assert set(listed[0]) == {"kid", "created", "age_days", "state", "copied"}
    plain = on_provisioned("keys", "list")
    assert f"{second['kid']}\tvalid\t" in plain.stdout
    for key in (first, second):
        secret = key["signing_key"].rpartition(".")[2]
        assert secret not in plain.stdout + json.dumps(listed)
    shown = on_provisioned.on_terminal("keys", "list")
    assert shown[0] == 0
    assert "Signing keys" in shown[1]
    assert second["kid"] in shown[1]


def test_the_last_key_stays_unless_forced(on_shop: Rlsgen) -> None:
    assert on_shop("apply", "--allow", "PUBLIC_REVOKE,planner_statistics").returncode == 0
    assert on_shop("keys", "list").stdout == "There are no keys: make one with rlsgen keys create.\n"
    kid = json.loads(on_shop("keys", "create", "--format", "json").stdout)["kid"]
    refused = on_shop("keys", "retire", kid)
    assert refused.returncode == 1
    assert "last valid signing key" in refused.stderr
    unknown = on_shop("keys", "retire", "nobody")
    assert unknown.returncode == 1
    assert f"valid keys: {kid}" in unknown.stderr
    assert on_shop("keys", "retire", kid, "--force").stdout == f"Key {kid} is retired.\n"


def test_a_database_without_rlsgen_has_no_keys(on_shop: Rlsgen) -> None:
    for command in ("create", "list", "rotate"):
        done = on_shop("keys", command)
        assert done.returncode == 1
        assert "rlsgen apply" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "lacks organisationId"),
        (["-c", "organisationId=1"], "lacks userId"),
        (["-c", "organisationId"], "--context organisationId: no value"),
        (["-c", "organizationId=1"], "--context organizationId: no such field"),
        (["-c", "organisationId=1", "-c", "organisationid=2"], "given twice"),
        (["-c", "organisationId=one", "-c", "userId=u"], "this is no integer"),
        (["-c", "organisationId=1.5", "-c", "userId=u"], "organisationId must be integer"),
        (["-c", "organisationId=0", "-c", "userId=u"], "organisationId must be from 1"),
        (["-c", "organisationId=1", "-c", "userId=a b"], "userId must match"),
    ],
)
def test_a_context_that_does_not_fit(rlsgen: Rlsgen, arguments: list[str], said: str) -> None:
    done = rlsgen.having(RLSGEN_SIGNING_KEY=KEY)("token", "--spec", str(SPEC), *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_arrays_and_other_types_in_a_context(rlsgen: Rlsgen) -> None:
    spec = rlsgen.directory / "spec.yaml"
    spec.write_text(
        "version: 1\n"
        "context: {ids: {type: 'integer[]'}, big: {type: bigint}, on: {type: boolean}, day: {type: date}}\n"
        "roles: {conversation: c, unrestricted: []}\nschemas: [public]\ntables: {t: id = ANY(userContext.ids)}\n"
    )
    entries = ["ids=[1,2]", "big=9007199254740993", "on=true", "day=2026-01-31"]
    arguments = [part for entry in entries for part in ("-c", entry)]
    done = rlsgen.having(RLSGEN_SIGNING_KEY=KEY)("token", "--spec", "spec.yaml", *arguments)
    assert done.returncode == 0, done.stderr


def test_a_malformed_key_is_not_repeated(rlsgen: Rlsgen) -> None:
    secret = "s3cr3t" * 8
    done = rlsgen.having(RLSGEN_SIGNING_KEY=f"rlsgen1.abc.{secret}")("token", "--spec", str(SPEC), *CONTEXT)
    assert done.returncode == 1
    assert "malformed" in done.stderr
    assert secret not in done.stdout + done.stderr
