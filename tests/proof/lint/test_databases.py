"""Lint of whole databases: silent on unbroken ones, never where a plan is not empty, and at a loss for no spec."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from psycopg import errors

from rlsgen.catalog.connect import open_connection
from rlsgen.catalog.model import Catalog
from rlsgen.catalog.read import read_catalog
from rlsgen.errors import ServerError
from rlsgen.proof.lint import examine, lint
from rlsgen.provision.apply import make_plan
from rlsgen.provision.diff import compare
from rlsgen.provision.keys import create_key
from rlsgen.provision.plan import Step
from rlsgen.spec.model import Spec
from tests.proof.lint.harness import SHOP, Broken, close_database, of_rule, seen, spec_with
from tests.shapes.harness import TEXT
from tests.shapes.test_drift import DRIFTS
from tests.support.postgres import Databases, Roles

HERE = Path(__file__).parent
SHAPES: Mapping[str, Any] = yaml.safe_load(TEXT)
ACCEPTED: Mapping[str, Any] = yaml.safe_load((HERE / "shapes_lint.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def shapes(database_factory: Databases, provisioned_template: str) -> Broken:
    """The schema with every shape, provisioned."""
    database = database_factory(template=provisioned_template)
    close_database(database)
    with open_connection(database.dsn()) as owner:
        create_key(owner)
    broken = Broken(database, SHAPES)
    broken.adopt({"lint": ACCEPTED})
    return broken


def test_the_sample_shop_is_silent(shop_ready: Broken) -> None:
    result = shop_ready.lint()
    assert result.findings == ()
    assert {finding.rule for finding, _ in result.ignored} <= {"server-version"}


def test_the_schema_with_every_shape_is_silent(shapes: Broken) -> None:
    result = shapes.lint()
    assert result.findings == ()
    used = {(finding.rule, finding.object) for finding, _ in result.ignored}
    assert len(used) > 60


def test_lint_is_silent_only_where_the_plan_is_empty(shapes: Broken) -> None:
    """One change by hand after another, each beside all that came before; then all of it repaired."""
    done, rules = 0, set()
    for drift in DRIFTS:
        try:
            shapes.run(drift.sql.replace("{database}", "<db>"))
        except errors.Error:
            continue  # what it changes has been dropped or changed by one before
        with open_connection(shapes.database.dsn()) as owner:
            catalog = read_catalog(owner, shapes.spec.conversation)  # once for both: it is what takes long
            result = examine(owner, shapes.spec, catalog=catalog)
        explained = {step.sql for finding in result.findings for step in finding.steps}
        unexplained = [step.object for step in _steps(shapes.spec, catalog) if step.sql not in explained]
        assert not unexplained, drift
        rules |= {finding.rule for finding in result.findings}
        done += 1
    assert done > 0.8 * len(DRIFTS)
    assert len(rules) > 20
    shapes.apply()
    assert seen(shapes.lint()) == {("search-path", "function public.f_definer()")}  # reached by nobody any more


def _steps(spec: Spec, catalog: Catalog) -> list[Step]:
    """The steps of a plan; not those of privileges, since a plan also closes tables for a moment, and opens them."""
    return [step for step in compare(spec, catalog).plan.steps if step.action not in ("grant", "revoke")]


def test_an_unprovisioned_database(plain_shop: Callable[[], Broken]) -> None:
    broken = plain_shop()
    database = f"database {broken.database.name}"
    assert seen(broken.lint()) == {("not-provisioned", database), ("create-privilege", database)}


def test_a_half_provisioned_database(plain_shop: Callable[[], Broken]) -> None:
    """An apply that was stopped after each of its first transactions: a clear answer every time."""
    broken = plain_shop()
    with open_connection(broken.database.dsn()) as owner:
        plan = make_plan(owner, SHOP)
        for transaction in plan.transactions[:6]:
            with owner.transaction():
                owner.execute(f"SET LOCAL search_path = {plan.search_path}".encode())
                for statement in transaction.statements:
                    owner.execute(statement.encode())
            result = broken.lint()
            assert len(of_rule(result, "not-provisioned")) == 1
            rules = {finding.rule for finding in result.findings}
            assert rules <= {"not-provisioned", "create-privilege", "grant-missing", "private-statistics"}, rules
        assert "public.notes" in of_rule(result, "not-provisioned")[0].message


def test_a_role_that_may_not_look(shop_ready: Broken, role_factory: Roles) -> None:
    watcher = role_factory("LOGIN")
    with pytest.raises(ServerError, match=r"rlsgen\.object exists, but .* may not read it"):
        shop_ready.lint(user=watcher)
    shop_ready.run(
        f"GRANT USAGE ON SCHEMA rlsgen TO {watcher}; GRANT SELECT ON ALL TABLES IN SCHEMA rlsgen TO {watcher}"
    )
    result = shop_ready.lint(user=watcher)
    assert {finding.rule for finding in result.findings} == {"foundation", "unseen"}
    shop_ready.run("ALTER TABLE orders DISABLE ROW LEVEL SECURITY; GRANT SELECT ON products TO PUBLIC")
    found = seen(shop_ready.lint(user=watcher))
    assert found >= {("row-security-off", "public.orders"), ("public-privilege", "public.products")}
    shop_ready.run(f"DROP OWNED BY {watcher}", administrator=True)


def test_a_spec_for_another_world(shop_ready: Broken) -> None:
    """Whatever the spec says, lint ends with findings."""
    strange: list[dict[str, Any]] = [
        {"roles": {"conversation": "nobody_here", "unrestricted": ["nor_here"]}},
        {"schemas": ["nowhere"]},
        {"tables": {"nothing": {}, "orders": {"through": "x -> nothing(y)"}}},
        {"tables": {"orders": "id IN (SELECT id FROM orders)"}},
        {"tables": {"orders": "id IN (SELECT order_id FROM order_items)"}},
        {"tables": {"teams": {"through": "id -> users(team_id)"}, "users": {"through": "team_id -> teams(id)"}}},
        {"tables": {"events_2026_01": {}}},
        {"views": {"nothing": "hidden"}},
    ]
    for change in strange:
        result = shop_ready.lint(spec_with(change))
        assert of_rule(result, "spec-misfit"), change


def test_ages_and_expiries_are_of_the_moment_that_is_given(shop_ready: Broken) -> None:
    with open_connection(shop_ready.database.dsn()) as owner:
        catalog = read_catalog(owner, SHOP.conversation)
    spec = shop_ready.spec
    assert lint(spec, catalog).findings == ()
    later = lint(spec, catalog, now=datetime(2100, 1, 1, tzinfo=UTC))
    assert {finding.rule for finding in later.findings} == {"key-age"}
    ignore = [{"rule": "server-version", "why": "known", "until": "2098-12-31"}]
    expiring = spec_with({"lint": {"ignore": ignore, "key_days": 100_000}})
    catalog = replace(catalog, server_version=180006)
    assert lint(expiring, catalog, now=datetime(2098, 12, 31, 23, tzinfo=UTC)).expired == ()
    late = lint(expiring, catalog, now=datetime(2099, 1, 1, tzinfo=UTC))
    assert late.expired == expiring.lint.ignore
    assert {finding.rule for finding in late.findings} == {"server-version", "exclusion-expired"}


def test_the_worst_comes_first(shop_ready: Broken) -> None:
    shop_ready.run("DROP INDEX teams_organisation_id_idx; ALTER TABLE orders DISABLE ROW LEVEL SECURITY")
    shop_ready.run("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC", administrator=True)
    assert [finding.severity for finding in shop_ready.lint().findings] == ["error", "warning", "notice"]
