"""rlsgen describe: the schema as conversations may see it, on stdout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlsgen.demo.shop import CONVERSATION
from tests.cli.runner import SPEC, Rlsgen
from tests.support.postgres import Database, Databases


@pytest.fixture
def describing(rlsgen: Rlsgen, provisioned: Database) -> Rlsgen:
    return rlsgen.having(RLSGEN_CONVERSATION_DSN=provisioned.dsn(CONVERSATION), RLSGEN_SPEC=str(SPEC))


def test_markdown(describing: Rlsgen) -> None:
    done = describing("describe")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\n## orders\n- id bigint primary key\n" in done.stdout
    assert "A user is a customer if last_order_at is not null." in done.stdout
    assert "api_keys" not in done.stdout
    assert "password_hash" not in done.stdout
    assert "Filter:" not in done.stdout


def test_json(describing: Rlsgen) -> None:
    done = describing("describe", "--format", "json", "--table", "notes", "--filters")
    assert (done.returncode, done.stderr) == (0, "")
    (notes,) = json.loads(done.stdout)["tables"]
    assert (notes["name"], notes["filter"]) == ("notes", "user_id = userContext.userId")
    assert notes["allow"] == ["select", "insert", "update", "delete"]
    assert notes["columns"][1] == {
        "name": "user_id", "type": "text", "nullable": False, "labels": [], "writable": ["insert", "update"],
    }  # fmt: skip


def test_for_one_conversation(describing: Rlsgen) -> None:
    given = ["-c", "organisationId=1", "-c", "userId=ann"]
    lacking = describing("describe", "--table", "projects", *given)
    assert "This conversation has no teamId" in lacking.stdout
    whole = describing("describe", "--table", "projects", *given, "--context", "teamId=7")
    assert "This conversation has no" not in whole.stdout
    document = describing("describe", "--context-json", '{"organisationId": 1, "userId": "ann"}')
    assert document.stdout == describing("describe", *given).stdout
    refused = describing("describe", "-c", "organisationId=0", "-c", "userId=ann")
    assert (refused.returncode, refused.stdout) == (1, "")


def test_tables_that_are_not_there(describing: Rlsgen) -> None:
    for name in ("api_keys", "nowhere", "pg_catalog.pg_class"):
        done = describing("describe", "--table", name)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"rlsgen: there is no table {name} for conversations\n"
    assert "did you mean orders?" in describing("describe", "--table", "order").stderr


def test_only_as_the_conversation_role(describing: Rlsgen, provisioned: Database) -> None:
    done = describing("describe", "--conversation-dsn", provisioned.dsn())
    assert (done.returncode, done.stdout) == (1, "")
    assert "this is a connection of shop_owner; connect as nl_conversation" in done.stderr


def test_before_apply(rlsgen: Rlsgen, shop: Database) -> None:
    done = rlsgen("describe", "--spec", str(SPEC), "--conversation-dsn", shop.dsn(CONVERSATION))
    assert (done.returncode, done.stdout) == (1, "")
    assert "has the spec been applied?" in done.stderr


def test_on_a_terminal_names_cannot_steer_it(rlsgen: Rlsgen, database_factory: Databases, tmp_path: Path) -> None:
    database = database_factory()
    name = "bell\x07\x1b[31m"
    with database.connect() as owner:
        owner.execute(f'CREATE TABLE t (organisation_id integer, "{name}" text)')
    spec = tmp_path / "policies.yaml"
    spec.write_text(
        "version: 1\ncontext: {organisationId: {type: integer}}\nroles: {conversation: nl_conversation, "
        "unrestricted: [shop_owner]}\nschemas: [public]\ntables: {t: organisation_id = userContext.organisationId}\n"
    )
    on = rlsgen.having(RLSGEN_DSN=database.dsn(), RLSGEN_CONVERSATION_DSN=database.dsn(CONVERSATION))
    applied = on("apply", "--allow", "PUBLIC_REVOKE")
    assert applied.returncode == 0, applied.stderr
    code, shown = on.on_terminal("describe")
    assert code == 0
    assert 'U&"bell\\+000007\\+00001B[31m"' in shown
    assert "\x07" not in shown
    assert "\x1b[31m" not in shown
