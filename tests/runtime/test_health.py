"""The self-check on a provisioned shop: quiet on a healthy one, and each thing that is broken is seen and named."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
import yaml
from psycopg import errors

from rlsgen.catalog.read import read_catalog
from rlsgen.demo.shop import APPLICATION, CONVERSATION, OWNER
from rlsgen.errors import Unhealthy
from rlsgen.identifiers import Sql, fill, identifier, literal
from rlsgen.provision.apply import apply, execute, make_plan
from rlsgen.provision.destroy import destroy_plan
from rlsgen.provision.diff import search_path
from rlsgen.runtime.health import Health, KnownHoles, health_parameters, health_query, judge
from rlsgen.runtime.versions import Hole, holes_in, known_holes, mended_in
from rlsgen.spec.fingerprint import Fingerprint
from rlsgen.spec.load import parse_spec
from rlsgen.spec.model import Spec
from tests.support.postgres import Connection, Database, Databases, Roles, Server, create_database, drop_database

POLICIES = Path(__file__).resolve().parents[2] / "policies.yaml"
ALLOWED = ("PUBLIC_REVOKE", "PLANNER_STATISTICS", "DUMP")


@pytest.fixture(scope="module")
def spec() -> Spec:
    return parse_spec(POLICIES.read_text("utf-8"), POLICIES.name)


@pytest.fixture(scope="module")
def provisioned(server: Server, shop_template: str, spec: Spec) -> Iterator[str]:
    """The name of a provisioned shop, to be cloned."""
    name = f"health_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.getpid()}"
    with server.administer() as administrator:
        create_database(administrator, name, shop_template, OWNER)
        # CREATE DATABASE copies no privileges on the database itself; the plan revokes TEMP from PUBLIC here.
    with psycopg.connect(server.dsn(name, OWNER), autocommit=True, prepare_threshold=None) as owner:
        apply(owner, spec, allow=ALLOWED)
    yield name
    with server.administer() as administrator:
        drop_database(administrator, name)


@pytest.fixture
def shop(database_factory: Databases, provisioned: str) -> Database:
    """A provisioned shop of one's own."""
    made = database_factory(template=provisioned)
    made.connect().execute(_sql("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC", made.name))
    return made


@pytest.fixture
def administrator(shop: Database) -> Connection:
    return shop.connect(shop.server.superuser)


def check(shop: Database, spec: Spec, holes: KnownHoles = "warn", user: str = CONVERSATION) -> Health:
    with shop.connect(user) as connection:
        return judge(spec, facts(connection, spec), known_holes=holes)


def facts(connection: Connection, spec: Spec) -> Any:
    row = psycopg.RawCursor(connection).execute(health_query(), health_parameters(spec)).fetchone()
    assert row is not None
    return row[0]


def messages(health: Health) -> list[str]:
    return [each.message for each in health.problems]


def _sql(template: LiteralString, *names: str) -> bytes:
    return fill(template, *(identifier(name) for name in names)).encode()


def test_a_provisioned_shop_is_healthy(shop: Database, spec: Spec) -> None:
    health = check(shop, spec)
    assert health.problems == ()
    assert health.healthy
    health.require()
    holes = holes_in(shop.connect().info.server_version)
    assert len(health.warnings) == (0 if not holes else 2 if any(not hole.grave for hole in holes) else 1)
    assert health.fingerprint == Fingerprint.of(spec)
    assert not health.standby
    version = shop.connect().info.server_version
    assert health.server_version == f"{version // 10000}.{version % 10000}"


def test_it_works_in_a_read_only_transaction_and_without_a_context(shop: Database, spec: Spec) -> None:
    connection = shop.connect(CONVERSATION, autocommit=False)
    connection.execute("SET TRANSACTION READ ONLY")
    assert judge(spec, facts(connection, spec), known_holes="warn").healthy


BREAKS: dict[str, dict[str, str]] = yaml.safe_load(Path(__file__).with_name("breaks.yaml").read_text("utf-8"))


@pytest.mark.parametrize("name", BREAKS)
def test_what_is_broken_in_the_database_is_named(
    name: str, shop: Database, spec: Spec, administrator: Connection
) -> None:
    broken = BREAKS[name]
    (administrator if broken.get("by") else shop.connect()).execute(broken["sql"].encode())
    health = check(shop, spec)
    assert broken["problem"] in messages(health)
    assert not health.healthy
    with pytest.raises(Unhealthy) as caught:
        health.require()
    assert caught.value.problems == health.problems


@pytest.mark.parametrize("privilege", ["TEMPORARY", "CREATE"])
def test_privileges_on_the_database_are_named(privilege: LiteralString, shop: Database, spec: Spec) -> None:
    shop.connect().execute(fill("GRANT {} ON DATABASE {} TO PUBLIC", Sql(privilege), identifier(shop.name)).encode())
    health = check(shop, spec)
    what = "temporary tables" if privilege == "TEMPORARY" else "schemas"
    assert messages(health) == [f"nl_conversation may create {what} in database {shop.name}"]
    shop.connect().execute(health.problems[0].hint.partition(": ")[2].encode())
    assert check(shop, spec).healthy


@pytest.fixture
def talker(
    role_factory: Roles, database_factory: Databases, shop_template: str, spec: Spec
) -> tuple[Database, str, Spec]:
    """A conversation role of one test's own, since roles are the cluster's, and a shop that is provisioned for it."""
    role = role_factory()
    own = replace(spec, conversation=role)
    made = database_factory(template=shop_template)
    with made.connect() as owner:
        apply(owner, own, allow=ALLOWED)
    return made, role, own


ROLE_BREAKS: dict[str, tuple[LiteralString, LiteralString]] = {
    "superuser": ("ALTER ROLE {role} SUPERUSER", "{role} has SUPERUSER"),
    "bypassrls": ("ALTER ROLE {role} BYPASSRLS", "{role} has BYPASSRLS"),
    "replication": ("ALTER ROLE {role} REPLICATION", "{role} has REPLICATION"),
    "createrole": ("ALTER ROLE {role} CREATEROLE", "{role} has CREATEROLE"),
    "createdb": ("ALTER ROLE {role} CREATEDB", "{role} has CREATEDB"),
    "member": ("GRANT pg_monitor TO {role}", "{role} is a member of pg_monitor"),
    "settings": ("ALTER ROLE {role} SET row_security = on", "{role} has settings of its own: row_security"),
    "settings here": (
        "ALTER ROLE {role} IN DATABASE {database} SET work_mem = '64kB'", "{role} has settings of its own: work_mem",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ROLE_BREAKS)
def test_what_is_wrong_with_the_role_is_named(name: str, talker: tuple[Database, str, Spec]) -> None:
    shop, role, spec = talker
    administrator = shop.connect(shop.server.superuser)
    assert check(shop, spec, user=role).healthy
    statement, message = ROLE_BREAKS[name]
    administrator.execute(fill(statement, role=identifier(role), database=identifier(shop.name)).encode())
    health = check(shop, spec, user=role)
    assert message.format(role=role) in messages(health)
    hint = next(each.hint for each in health.problems if each.message == message.format(role=role))
    mend = hint.partition(": ")[2].replace("(and IN DATABASE …)", "")
    if name == "settings here":
        mend = fill("ALTER ROLE {} IN DATABASE {} RESET ALL", identifier(role), identifier(shop.name))
    administrator.execute(mend.encode())
    assert check(shop, spec, user=role).healthy


def test_settings_for_another_database_do_no_harm(database: Database, talker: tuple[Database, str, Spec]) -> None:
    shop, role, spec = talker
    administrator = shop.connect(shop.server.superuser)
    administrator.execute(_sql("ALTER ROLE {} IN DATABASE {} SET work_mem = '1MB'", role, database.name))
    assert check(shop, spec, user=role).healthy


@pytest.mark.parametrize("user", [OWNER, APPLICATION])
def test_another_role_is_refused(user: str, shop: Database, spec: Spec) -> None:
    health = check(shop, spec, user=user)
    assert messages(health)[0] == f"the connection is {user}'s, and conversations are nl_conversation's"


def test_a_role_that_was_only_set_is_refused(shop: Database, spec: Spec, administrator: Connection) -> None:
    administrator.execute(_sql("SET ROLE {}", CONVERSATION))
    problems = messages(judge(spec, facts(administrator, spec), known_holes="warn"))
    superuser = shop.server.superuser
    assert problems == [f"the connection was opened by {superuser}, and acts as nl_conversation"]


def test_another_spec_is_refused(shop: Database, spec: Spec) -> None:
    assert "the database was provisioned for other roles than policies.yaml names" in messages(
        check(shop, replace(spec, unrestricted=spec.unrestricted[:1]))
    )
    fewer = replace(spec, tables=tuple(each for each in spec.tables if each.ref.name != "orders"))
    found = messages(check(shop, fewer))
    assert "the database was provisioned with other tables, views or filters than those of policies.yaml" in found
    assert "nl_conversation holds SELECT on public.orders, which the spec does not show" in found


def test_prompts_limits_and_order_are_not_compared(shop: Database, spec: Spec) -> None:
    other = replace(
        spec,
        tables=tuple(replace(each, prompt="other", why="other") for each in reversed(spec.tables)),
        limits=replace(spec.limits, rows=1),
    )
    assert check(shop, other).healthy


def test_a_database_that_was_not_provisioned_is_refused(
    server: Server, shop_template: str, spec: Spec, database_factory: Databases
) -> None:
    bare = database_factory(template=shop_template)
    assert "this database has no rlsgen.fingerprint(): it was not provisioned" in messages(check(bare, spec))


def test_a_table_that_is_gone_is_a_warning(shop: Database, spec: Spec) -> None:
    shop.connect().execute("DROP TABLE notes")
    health = check(shop, spec)
    assert health.healthy
    assert "notes is declared, and conversations cannot find it" in [each.message for each in health.warnings]


def test_row_security_of_a_shared_table_is_a_warning(shop: Database, spec: Spec) -> None:
    shop.connect().execute("ALTER TABLE countries ENABLE ROW LEVEL SECURITY")
    health = check(shop, spec)
    assert health.healthy
    message = (
        "row security of public.countries, which is shared, is switched on: conversations may see none of its rows"
    )
    assert message in [each.message for each in health.warnings]


def test_a_definer_function_for_everybody_is_a_warning(shop: Database, spec: Spec) -> None:
    shop.connect().execute(
        "CREATE FUNCTION all_orders() RETURNS bigint LANGUAGE sql SECURITY DEFINER RETURN (SELECT count(*) FROM orders)"
        ";"
        "CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN NULL; END'"
    )
    health = check(shop, spec)
    assert health.healthy
    definers = [each.message for each in health.warnings if "DEFINER" in each.message]
    assert definers == ["conversations may execute the SECURITY DEFINER function all_orders()"]


def test_a_policy_that_the_spec_keeps_is_no_problem(shop: Database, spec: Spec) -> None:
    kept = replace(
        spec,
        tables=tuple(replace(each, existing="keep") if each.ref.name == "orders" else each for each in spec.tables),
    )
    shop.connect().execute("CREATE POLICY everybody ON orders USING (true)")
    assert messages(check(shop, kept)) == [
        "the database was provisioned with other tables, views or filters than those of policies.yaml"
    ]


def test_names_are_compared_as_they_are(shop: Database, spec: Spec) -> None:
    """A column of the same name as a hidden one elsewhere, a policy name with a quote, a table that looks declared."""
    shop.connect().execute(
        """CREATE SCHEMA "pub""lic"; CREATE TABLE "pub""lic".orders (password_hash text);"""
        """GRANT USAGE ON SCHEMA "pub""lic" TO nl_conversation; GRANT SELECT ON "pub""lic".orders TO nl_conversation"""
    )
    (problem,) = check(shop, spec).problems
    assert problem.message == 'nl_conversation holds SELECT on "pub""lic".orders, which the spec does not show'


def test_drop_owned_is_seen_where_the_server_lets_it_through(shop: Database, spec: Spec) -> None:
    """Before 18.7 and 15.20 it takes the policies away, if the role has no privileges of its own: those stop it."""
    with shop.connect(CONVERSATION) as hostile, pytest.raises(errors.InsufficientPrivilege):
        hostile.execute("DROP OWNED BY CURRENT_USER")
    assert check(shop, spec).healthy
    with shop.connect() as owner:
        owner.execute(
            "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM nl_conversation;"
            "REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM nl_conversation"
        )
        known = any(hole.id == "DROP OWNED" for hole in holes_in(owner.info.server_version))
    with shop.connect(CONVERSATION) as hostile:
        hostile.execute("DROP OWNED BY CURRENT_USER")
    lacking = [each for each in messages(check(shop, spec)) if "lacks its policies" in each]
    assert bool(lacking) == known


# Known holes


def test_grave_holes_refuse_unless_told_otherwise(shop: Database, spec: Spec) -> None:
    with shop.connect(CONVERSATION) as connection:
        answer = {**facts(connection, spec), "version": 180006}
    refused = judge(spec, answer)
    (problem,) = refused.problems
    assert problem.message == (
        "PostgreSQL 18.6 has known holes in row security that a conversation may reach foreign rows through:"
        " CVE-2026-16237, CVE-2026-116311, CVE-2026-116327, CVE-2026-120154"
    )
    assert problem.hint == 'upgrade to 18.7 or later; for development there is known_holes="warn"'
    assert [each.message for each in refused.warnings] == [
        "PostgreSQL 18.6 has known holes in row security, though none of foreign rows for conversations: DROP OWNED"
    ]
    warned = judge(spec, answer, known_holes="warn")
    assert warned.healthy
    assert warned.warnings == (*refused.problems, *refused.warnings)
    assert (
        judge(spec, {**answer, "version": 180007}).problems == judge(spec, {**answer, "version": 190000}).problems == ()
    )
    assert "the server is PostgreSQL 14.24, and 15 is the oldest that can be used" in messages(
        judge(spec, {**answer, "version": 140024}, known_holes="warn")
    )


@pytest.mark.parametrize(
    ("version", "expected"),
    [(150002, True), (150003, False), (160000, False), (140008, True), (180000, False)],
)
def test_a_hole_ends_with_the_first_mended_minor(version: int, expected: bool) -> None:
    hole = next(each for each in known_holes() if each.id == "CVE-2023-2455")
    assert hole.is_in(version) is expected


def test_the_data_of_holes_is_whole() -> None:
    assert len({hole.id for hole in known_holes()}) == len(known_holes()) >= 12
    for hole in known_holes():
        assert isinstance(hole, Hole)
        assert set(hole.fixed_in) <= {15, 16, 17, 18}
        assert hole.summary
        assert hole.source
        assert not hole.is_in(max(hole.fixed_in) * 10000 + 10000)
    assert mended_in(150002) == "15.20"
    assert mended_in(180007) == "18.7"


# The fingerprint's function


def test_the_function_says_what_the_spec_says(shop: Database, spec: Spec) -> None:
    with shop.connect(CONVERSATION) as connection:
        row = connection.execute("SELECT rlsgen.fingerprint()").fetchone()
    assert row == (Fingerprint.of(spec).text,)


def test_it_is_made_last_and_replaced_last(shop: Database, spec: Spec) -> None:
    """Never does it claim what is not there yet."""
    changed = replace(spec, tables=tuple(each for each in spec.tables if each.ref.name != "notes"), undeclared="hidden")
    with shop.connect() as owner:
        plan = make_plan(owner, changed)
        names = [[step.object for step in each.steps] for each in plan.transactions]
        assert names[-1] == ["function rlsgen.fingerprint()", "fingerprint of the provision"]
        assert not any("rlsgen.fingerprint" in name for each in names[:-1] for name in each)


@pytest.mark.parametrize("statement", [
    "REVOKE EXECUTE ON FUNCTION rlsgen.fingerprint() FROM nl_conversation",
    "GRANT EXECUTE ON FUNCTION rlsgen.fingerprint() TO PUBLIC",
    "DROP FUNCTION rlsgen.fingerprint()",
    "ALTER FUNCTION rlsgen.fingerprint() RESET ALL",
    "CREATE OR REPLACE FUNCTION rlsgen.fingerprint() RETURNS text LANGUAGE sql AS $$SELECT 'x'$$",
])  # fmt: skip
def test_drift_of_the_function_is_planned_and_mended(statement: LiteralString, shop: Database, spec: Spec) -> None:
    with shop.connect() as owner:
        assert not make_plan(owner, spec).transactions
        owner.execute(statement)
        assert all("rlsgen.fingerprint()" in step.object for step in make_plan(owner, spec).steps)
        apply(owner, spec)
        assert not make_plan(owner, spec).transactions
    assert check(shop, spec).healthy


def test_an_optional_field_more_is_compatible_both_ways(
    shop: Database, spec: Spec, database_factory: Databases
) -> None:
    more = replace(spec, context=(*spec.context, replace(spec.context[1], name="regionId", snake="region_id")))
    assert check(shop, more).healthy, "the runtime is ahead of the database"
    with shop.connect() as owner:
        apply(owner, more)
    assert check(shop, more).healthy
    assert check(shop, spec).healthy, "the database is ahead of the runtime"


def test_destroy_takes_it_away(shop: Database, spec: Spec) -> None:
    with shop.connect() as owner:
        catalog = read_catalog(owner, CONVERSATION)
        execute(owner, destroy_plan(catalog, CONVERSATION, search_path(spec)))
        gone = owner.execute(fill("SELECT to_regproc({}) IS NULL", literal("rlsgen.fingerprint")).encode()).fetchone()
    assert gone == (True,)
