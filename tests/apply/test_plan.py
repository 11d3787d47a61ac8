"""The plan as data: its JSON, its SQL through psql, saved and applied; and every step's reverse undoes it."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlsgen.catalog.model import Catalog
from rlsgen.catalog.read import read_catalog
from rlsgen.demo.shop import CONVERSATION
from rlsgen.errors import ApplyFailed, PlanChanged
from rlsgen.identifiers import Sql, fill
from rlsgen.provision.apply import apply, make_plan
from rlsgen.provision.plan import Plan
from rlsgen.spec.model import Spec
from tests.apply.support import (
    ALLOWED,
    BY_ORGANISATION,
    QUICK,
    ROOT,
    Probe,
    company,
    document,
    left,
    program_environment,
    provision,
    run,
    same_content,
    schema_of,
    sql,
)
from tests.support.postgres import Connection, Database, Databases

CHANGED: dict[str, Any] = {
    "context": {"userId": {"type": "text"}, "organisationId": {"type": "bigint"}},
    "orders": f"{BY_ORGANISATION} AND team_id > 0",
    "secrets": {"columns": {"hide": ["secret"]}},
    "events": "hidden",
    "folders": {"filter": BY_ORGANISATION},
    "views": {"order_totals": "hidden"},
}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """The company's spec and the changed one, as files."""
    found = {"company": tmp_path / "company.yaml", "changed": tmp_path / "changed.yaml"}
    found["company"].write_text(yaml.safe_dump(document(), sort_keys=False))
    found["changed"].write_text(yaml.safe_dump(document(**CHANGED), sort_keys=False))
    return found


# Reverse


def state(connection: Connection) -> Catalog:
    """What the catalog says, without oids and the order of grants: what is made again has others."""
    found = read_catalog(connection, CONVERSATION)
    relations = {name: replace(relation, oid=0) for name, relation in found.relations.items()}
    functions = tuple(replace(each, oid=0, grants=tuple(sorted(each.grants, key=str))) for each in found.functions)
    return replace(found, relations=relations, functions=functions)


# A reverse cannot bring back the ledger's rows (their own steps write them) nor statistics, which ANALYZE makes.
IRREVERSIBLE = ("alter ledger entry of", "drop ledger entry of", "alter stored statistics of")


def reverse_everything(connection: Connection, plan: Plan) -> int:
    """Do each step, undo it and do it again; the number of steps that can be undone."""
    undone = 0
    connection.execute(fill("SET search_path = {}", plan.search_path).encode())
    for transaction in plan.transactions:
        for step in transaction.steps:
            before = state(connection)
            connection.execute(step.sql.encode())
            if step.reverse:
                assert state(connection) != before or step.sql == "SELECT", f"{step.action} {step.object} did nothing"
                connection.execute(step.reverse.encode())
                assert_same(state(connection), before, f"{step.action} {step.object}")
                connection.execute(step.sql.encode())
                undone += 1
            else:
                assert f"{step.action} {step.object}".startswith(IRREVERSIBLE)
            if step.record:
                connection.execute(step.record.encode())
        for statement in transaction.closing:
            connection.execute(statement.encode())
    connection.execute("RESET search_path")
    return undone


def assert_same(after: Catalog, before: Catalog, what: str) -> None:
    for name, relation in before.relations.items():
        assert after.relations[name] == relation, (what, name)
    for part in ("schemas", "functions", "database_grants", "dependencies", "provision", "default_privileges"):
        assert getattr(after, part) == getattr(before, part), (what, part)
    assert after == before, what


def test_reverse(site: Database) -> None:
    connection = site.connect()
    assert reverse_everything(connection, make_plan(connection, company())) > 60
    assert left(site) == []
    changed = company(**CHANGED)
    assert reverse_everything(connection, make_plan(connection, changed)) > 30
    assert left(site, changed) == []


def test_reverse_of_revocations(site: Database, administrator: Connection) -> None:
    provision(site)
    administrator.execute(
        "GRANT SELECT, INSERT ON orders TO nl_conversation; GRANT UPDATE (name) ON organisations TO nl_conversation;"
        "GRANT ALL ON SCHEMA public TO nl_conversation; GRANT CREATE ON SCHEMA public TO PUBLIC;"
        "GRANT SELECT ON events TO PUBLIC; GRANT SELECT ON secrets TO nl_conversation;"
        "GRANT EXECUTE ON FUNCTION rlsgen.user_id() TO PUBLIC, shop_app"
    )
    connection = site.connect()
    assert reverse_everything(connection, make_plan(connection, company())) > 6
    assert left(site) == []


def test_reverse_of_what_others_made(site: Database) -> None:
    """Policies of others that are replaced, and forced row security."""
    connection = site.connect()
    policy = "CREATE POLICY {} ON notes AS RESTRICTIVE FOR UPDATE TO shop_app, PUBLIC USING ({}) WITH CHECK (true)"
    connection.execute(sql(policy, "theirs; --", Sql("body <> 'a''b' OR id > 3")))
    connection.execute(b"ALTER TABLE notes ENABLE ROW LEVEL SECURITY; ALTER TABLE orders FORCE ROW LEVEL SECURITY")
    spec = company(notes={"filter": "user_id = userContext.userId", "existing": "replace"}, force=True)
    reverse_everything(connection, make_plan(connection, spec))
    assert left(site, spec) == []
    spec = company(notes={"filter": "user_id = userContext.userId", "existing": "replace"})
    reverse_everything(connection, make_plan(connection, spec))
    assert left(site, spec) == []


# JSON, SQL, files


def test_json(site: Database, files: dict[str, Path]) -> None:
    done = run("plan", "--spec", str(files["company"]), "--format", "json", dsn=site.dsn())
    assert done.returncode == 3, done.stderr
    shown = json.loads(done.stdout)
    plan = make_plan(site.connect(), company())
    assert shown["fingerprint"] == plan.fingerprint
    assert [change["sql"] for change in shown["changes"]] == [step.sql for step in plan.steps]
    for change, step in zip(shown["changes"], plan.steps, strict=True):
        assert (change["action"], change["object"], change["reverse"]) == (step.action, step.object, step.reverse)
        assert [each["hazard"] for each in change["hazards"]] == [each.hazard for each in step.hazards]
    hazards = {hazard["hazard"] for change in shown["changes"] for hazard in change["hazards"]}
    assert hazards == {"PUBLIC_REVOKE", "PLANNER_STATISTICS", "DUMP"}
    provision(site)
    done = run("plan", "--spec", str(files["company"]), "--format", "json", dsn=site.dsn())
    assert (done.returncode, json.loads(done.stdout)["changes"]) == (0, [])


def test_the_fingerprint_is_that_of_the_statements(site: Database) -> None:
    connection = site.connect()
    one, again = make_plan(connection, company()), make_plan(connection, company())
    assert one.fingerprint == again.fingerprint
    assert make_plan(connection, company(orders=f"{BY_ORGANISATION} AND team_id > 0")).fingerprint != one.fingerprint
    first, *others = one.transactions
    assert Plan((*others, first), one.search_path).fingerprint != one.fingerprint
    merged = replace(first, steps=(*first.steps, *others[0].steps))
    assert Plan((merged, *others[1:]), one.search_path).fingerprint != one.fingerprint


def through_psql(site: Database, script: str) -> None:
    psql = str(site.server.program("psql"))
    done = subprocess.run(
        [psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", site.dsn()], input=script, capture_output=True, text=True,
        check=False, timeout=60, cwd=ROOT, env=program_environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_sql_through_psql_does_what_apply_does(
    site: Database, database_factory: Databases, company_template: str, files: dict[str, Path]
) -> None:
    other = database_factory(template=company_template)
    for name, spec in (("company", company()), ("changed", company(**CHANGED))):
        done = run("plan", "--spec", str(files[name]), "--format", "sql", dsn=site.dsn())
        assert done.returncode == 3, done.stderr
        through_psql(site, done.stdout)
        assert left(site, spec) == []
        provision(other, spec)
        assert schema_of(site) == schema_of(other)
        # The ledger calls privileges of PUBLIC by a hash of what they are on, the database's name among it.
        ledger = "SELECT kind, schema_name, relation_name, object_name, source, live FROM rlsgen.object"
        same_content(site, other, f"{ledger} WHERE kind <> 'public' ORDER BY 1, 2, 3, 4")
        same_content(
            site, other, "SELECT format, spec_hash, fingerprint, system_identifier, seal FROM rlsgen.provision"
        )


def test_a_saved_plan(site: Database, probe: Probe, files: dict[str, Path], tmp_path: Path) -> None:
    saved, spec = tmp_path / "plan.json", str(files["company"])
    allow = [f"--allow={each}" for each in ALLOWED]
    assert run("plan", "--spec", spec, "--out", str(saved), dsn=site.dsn()).returncode == 3
    # The spec has changed, or the database: refused, and nothing is done.
    before = schema_of(site)
    other = run("apply", str(saved), "--spec", str(files["changed"]), *allow, dsn=site.dsn())
    assert other.returncode == 1
    assert "has changed since this plan was made" in other.stderr
    assert schema_of(site) == before
    connection = site.connect()
    connection.execute("GRANT SELECT ON notes TO nl_conversation")
    before = schema_of(site)
    refused = run("apply", str(saved), "--spec", spec, *allow, dsn=site.dsn())
    assert refused.returncode == 1
    assert "has changed since this plan was made" in refused.stderr
    assert schema_of(site) == before
    connection.execute("REVOKE SELECT ON notes FROM nl_conversation")
    done = run("apply", str(saved), "--spec", spec, *allow, dsn=site.dsn())
    assert done.returncode == 0, done.stderr
    probe.assert_finished(company())
    # Applied once, it is no longer the plan.
    assert run("apply", str(saved), "--spec", spec, *allow, dsn=site.dsn()).returncode == 1


def test_a_table_that_was_replaced_in_between(site: Database) -> None:
    """The fingerprint is computed anew under the lock: what was reviewed is what is done."""
    spec: Spec = company()
    with site.connect() as connection:
        expected = make_plan(connection, spec).fingerprint
        connection.execute("ALTER TABLE notes RENAME COLUMN body TO contents")
        with pytest.raises(PlanChanged):
            apply(connection, spec, allow=ALLOWED, expected=expected)
        assert connection.execute("SELECT to_regnamespace('rlsgen')").fetchone() == (None,)
        connection.execute("ALTER TABLE notes RENAME COLUMN contents TO body")
        apply(connection, spec, allow=ALLOWED, expected=expected)


@pytest.mark.parametrize("single", [False, True])
def test_single_transaction(site: Database, probe: Probe, single: bool) -> None:
    """All or nothing, where the other way leaves what was done."""
    owner = site.connect(autocommit=False)
    owner.execute("SELECT 1 FROM notes")
    with pytest.raises(ApplyFailed):
        provision(site, patience=QUICK, single_transaction=single)
    made = site.connect().execute("SELECT to_regnamespace('rlsgen') IS NOT NULL").fetchone()
    assert made == (not single,)
    owner.rollback()
    provision(site, single_transaction=single)
    probe.assert_finished(company())
