"""What other roles could do before, they do after, or the plan named the hazard; and the hazards are real."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import errors

from rlsgen.demo.shop import APPLICATION, OWNER
from rlsgen.errors import HazardRefused
from rlsgen.identifiers import Sql
from rlsgen.provision.apply import apply, make_plan
from rlsgen.spec.model import Spec
from tests.apply.support import ALLOWED, RELATIONS, company, document, dump, left, provision, run, sql
from tests.support.postgres import Connection, Database, Databases, Roles

TABLES = tuple(relation for relation in RELATIONS if relation != "order_totals")
SUBJECT = ("COPY_FROM", "DUMP", "PLANNER_STATISTICS")
QUERIES = (
    "SELECT * FROM orders WHERE organisation_id = 2",
    "SELECT * FROM orders WHERE note ~ '^note 1'",  # no leakproof operator
    "SELECT * FROM orders o JOIN order_items i ON i.order_id = o.id WHERE o.note ~~* '%1'",
    "SELECT * FROM events WHERE at > '2025-01-01'",
    "SELECT count(*) FROM folders WHERE name LIKE 'folder%' AND organisation_id < 3",
)
BESIDES: LiteralString = """
CREATE VIEW "their view" AS SELECT organisation_id, count(*) AS n FROM order_items GROUP BY 1;
CREATE VIEW invoker_view WITH (security_invoker) AS SELECT * FROM notes;
CREATE MATERIALIZED VIEW totals AS SELECT organisation_id, count(*) AS n FROM orders GROUP BY 1;
CREATE FUNCTION n_secrets() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'SELECT count(*) FROM public.orders';
REVOKE EXECUTE ON FUNCTION n_secrets() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION n_secrets() TO shop_app;
GRANT SELECT ON "their view", invoker_view, totals TO shop_app;
"""


@pytest.fixture
def their(site: Database) -> Database:
    """The company, with views and functions of its application."""
    site.connect().execute(BESIDES)
    return site


@pytest.fixture
def untouched(database_factory: Databases, company_template: str) -> Database:
    """The same once more, never provisioned: estimates depend on what was written, so neither is used twice."""
    database = database_factory(template=company_template)
    database.connect().execute(BESIDES)
    return database


def spec_of(**changes: Any) -> Spec:
    return company(**{"totals": "hidden", **changes})


@dataclass(frozen=True, slots=True)
class Deeds:
    """What came of everything that a role tried: answers, and counts of rows written."""

    done: dict[str, object]

    @classmethod
    def of(cls, database: Database, role: str, *, owner: bool = False) -> Deeds:
        with database.connect(role) as connection:
            done: dict[str, object] = {}
            for name in ("order_totals", "their view", "invoker_view", "totals", *TABLES):
                done[f"read {name}"] = sorted(connection.execute(sql("SELECT t::text FROM {} t", name)).fetchall())
            done["function"] = connection.execute("SELECT n_secrets()").fetchone()
            for query in QUERIES:
                done[f"plan {query}"] = estimates(connection, query)
            for table in TABLES:
                done[f"write {table}"] = written(connection, table)
                done[f"copy {table}"] = copied(connection, table)
            if owner:
                done["refresh"] = connection.execute("REFRESH MATERIALIZED VIEW totals").statusmessage
        return cls(done)


def estimates(connection: Connection, query: str) -> list[tuple[str, float]]:
    """The planner's estimates of rows, node by node."""
    row = connection.execute(f"EXPLAIN (FORMAT JSON) {query}".encode()).fetchone()
    assert row is not None
    return list(nodes(row[0][0]["Plan"]))


def nodes(plan: dict[str, Any]) -> Iterator[tuple[str, float]]:
    yield plan["Node Type"], plan["Plan Rows"]
    for below in plan.get("Plans", []):
        yield from nodes(below)


def written(connection: Connection, table: str) -> list[int]:
    """Rows updated, deleted and inserted again; rolled back."""
    with connection.transaction(force_rollback=True):
        connection.execute(sql("CREATE TEMPORARY TABLE kept ON COMMIT DROP AS TABLE {}", table))
        counts = [connection.execute(sql("UPDATE {} SET organisation_id = organisation_id", table)).rowcount]
        if table not in ("orders", "folders"):  # others refer to these
            counts.append(connection.execute(sql("DELETE FROM {}", table)).rowcount)
            counts.append(connection.execute(sql("INSERT INTO {} TABLE kept", table)).rowcount)
        return counts


def copied(connection: Connection, table: str) -> tuple[int, int]:
    """Bytes that COPY TO gave, and rows that COPY FROM took; rolled back."""
    with connection.transaction(force_rollback=True), connection.cursor() as cursor:
        with cursor.copy(sql("COPY (TABLE {}) TO STDOUT", table)) as out:
            text = b"".join(bytes(piece) for piece in out)
        if table not in ("orders", "folders"):
            cursor.execute(sql("DELETE FROM {}", table))
            with cursor.copy(sql("COPY {} FROM STDIN", table)) as into:
                into.write(text)
            return len(text), cursor.rowcount
        return len(text), 0


@pytest.mark.parametrize("role", [OWNER, APPLICATION])
def test_exempt_roles_notice_nothing(their: Database, untouched: Database, role: str) -> None:
    if role == APPLICATION:
        for database in (their, untouched):
            database.connect().execute(sql("GRANT TEMPORARY ON DATABASE {} TO {}", database.name, role))
    plan = provision(their, spec_of())
    assert {str(warned.hazard) for warned in plan.hazards} <= set(ALLOWED)
    assert_alike(Deeds.of(untouched, role, owner=role == OWNER), Deeds.of(their, role, owner=role == OWNER))
    # The dump of the application leaves out what is rlsgen's own, whose keys it must not read.
    for options in (("--schema=public",), ("--schema=public", "--data-only", "--table=orders")):
        done = dump(their, *options, user=role)
        assert done.returncode == 0, done.stderr
        assert "buyer1@3.example" in done.stdout
    assert dump(their).returncode == 0


def test_a_member_of_the_owner_notices_nothing(
    their: Database, untouched: Database, role_factory: Roles, administrator: Connection
) -> None:
    member = role_factory("LOGIN INHERIT")
    administrator.execute(sql("GRANT {} TO {}", OWNER, member))
    plan = provision(their, spec_of())
    assert member not in plan.hazard_text()
    assert_alike(Deeds.of(untouched, member, owner=True), Deeds.of(their, member, owner=True))
    assert dump(their, user=member).returncode == 0


def assert_alike(before: Deeds, after: Deeds) -> None:
    assert {name: (was, after.done[name]) for name, was in before.done.items() if after.done[name] != was} == {}


def subject(administrator: Connection, role: str) -> None:
    """Let a role do what the application does, without BYPASSRLS."""
    administrator.execute(sql("GRANT ALL ON ALL TABLES IN SCHEMA public TO {}", role))
    administrator.execute(sql("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {}", role))
    administrator.execute(sql("GRANT EXECUTE ON FUNCTION n_secrets() TO {}", role))


def with_role(*roles: str, **changes: Any) -> Spec:
    head = {"conversation": "nl_conversation", "unrestricted": [OWNER, APPLICATION, *roles]}
    return spec_of(roles=head, **changes)


@pytest.mark.parametrize("group", [False, True])
def test_a_subject_role(their: Database, role_factory: Roles, administrator: Connection, group: bool) -> None:
    """Named itself, or a member of the group that is named."""
    login = named = role_factory("LOGIN")
    if group:
        named = role_factory("NOLOGIN")
        administrator.execute(sql("GRANT {} TO {}", named, login))
    subject(administrator, named)
    administrator.execute(sql("GRANT TEMPORARY ON DATABASE {} TO {}", their.name, named))
    spec = with_role(named)
    before = Deeds.of(their, login).done
    assert dump(their, "--schema=public", user=login).returncode == 0

    plan = make_plan(their.connect(), spec)
    for hazard in SUBJECT:
        assert any(each.hazard == hazard and login in each.message for each in plan.hazards), hazard
    assert f"ALTER ROLE {login} BYPASSRLS" in plan.hazard_text()
    for hazard in SUBJECT:
        with pytest.raises(HazardRefused) as caught:
            apply(their.connect(), spec, allow={*ALLOWED, *SUBJECT} - {hazard})
        assert caught.value.hazards == (hazard,)
    assert left(their, spec) == [f"{step.action} {step.object}" for step in plan.steps]
    assert dump(their, "--schema=public", user=login).returncode == 0
    provision(their, spec, (*ALLOWED, *SUBJECT))

    # It reads and writes as before.
    connection = their.connect(login)
    for name in TABLES:
        assert sorted(connection.execute(sql("SELECT t::text FROM {} t", name)).fetchall()) == before[f"read {name}"]
        assert written(connection, name) == before[f"write {name}"]
    # And each hazard is real.
    assert estimates(connection, QUERIES[1]) != before[f"plan {QUERIES[1]}"]
    with pytest.raises(errors.FeatureNotSupported, match="COPY FROM not supported with row-level security"):
        copied(connection, "notes")
    failed = dump(their, "--schema=public", user=login)
    assert failed.returncode != 0
    assert "row-level security" in failed.stderr


def test_a_role_that_is_unrestricted_no_more(their: Database, role_factory: Roles, administrator: Connection) -> None:
    """Row security is on already; taking the role out of the list hides all rows from it."""
    login = role_factory("LOGIN")
    subject(administrator, login)
    provision(their, with_role(login), (*ALLOWED, *SUBJECT))
    spec = spec_of()
    plan = make_plan(their.connect(), spec)
    lost = [each.message for each in plan.hazards if each.hazard == "ACCESS_LOSS"]
    assert f"role {login} would see no rows of public.orders" in lost
    with pytest.raises(HazardRefused):
        provision(their, spec)
    provision(their, spec, (*ALLOWED, "ACCESS_LOSS"))
    assert their.connect(login).execute("SELECT count(*) FROM orders").fetchone() == (0,)


def test_force(their: Database) -> None:
    """For the owner too: the hazards name it, and are real; conversations see no more through its definer functions."""
    spec = spec_of(force=True)
    plan = make_plan(their.connect(), spec)
    for hazard in SUBJECT:
        assert any(each.hazard == hazard and OWNER in each.message for each in plan.hazards), hazard
    with pytest.raises(HazardRefused):
        provision(their, spec)
    before = Deeds.of(their, OWNER).done
    provision(their, spec, (*ALLOWED, *SUBJECT))
    connection = their.connect()
    for name in TABLES:
        assert sorted(connection.execute(sql("SELECT t::text FROM {} t", name)).fetchall()) == before[f"read {name}"]
        assert written(connection, name) == before[f"write {name}"]
    assert connection.execute("SELECT n_secrets()").fetchone() == (24,)
    with pytest.raises(errors.FeatureNotSupported):
        copied(connection, "notes")
    assert dump(their, "--schema=public").returncode != 0
    assert left(their, spec) == []


# Roles that nobody thought of


def losses(site: Database, spec: Spec | None = None) -> str:
    return "\n".join(
        each.message for each in make_plan(site.connect(), spec or company()).hazards if each.hazard == "ACCESS_LOSS"
    )


def test_a_reader_by_grant(site: Database, role_factory: Roles, administrator: Connection, tmp_path: Any) -> None:
    reader, writer, other = role_factory("LOGIN"), role_factory("LOGIN"), role_factory("LOGIN")
    administrator.execute(sql("GRANT SELECT (id, note) ON orders TO {}", reader))
    administrator.execute(sql("GRANT INSERT ON notes TO {}", writer))
    found = losses(site)
    assert f"role {reader} would see no rows of public.orders" in found
    assert f"role {writer} would see no rows of public.notes" in found
    assert other not in found
    file = tmp_path / "policies.yaml"
    file.write_text(json.dumps(document()))
    done = run("apply", "--spec", str(file), *(f"--allow={each}" for each in ALLOWED), dsn=site.dsn())
    assert done.returncode == 4
    assert "ACCESS_LOSS" in done.stderr
    assert reader in done.stderr
    assert site.connect().execute("SELECT to_regnamespace('rlsgen')").fetchone() == (None,)
    # It is real.
    provision(site, allow=(*ALLOWED, "ACCESS_LOSS"))
    assert site.connect(reader).execute("SELECT id FROM orders").fetchall() == []


def test_a_reader_through_its_own_objects(site: Database, role_factory: Roles, administrator: Connection) -> None:
    """A view, a materialized view and a definer function see what their owner sees: nothing, from then on."""
    viewer, keeper, definer = (role_factory("LOGIN") for _ in range(3))
    for role in (viewer, keeper, definer):
        administrator.execute(sql("CREATE SCHEMA {0} AUTHORIZATION {0}", role))
        administrator.execute(sql("GRANT SELECT ON orders TO {}", role))
        administrator.execute(sql("GRANT USAGE ON SCHEMA {} TO {}", role, APPLICATION))
    site.connect(viewer).execute(sql("CREATE VIEW {}.seen AS SELECT id FROM public.orders", viewer))
    site.connect(keeper).execute(sql("CREATE MATERIALIZED VIEW {}.kept AS SELECT id FROM public.orders", keeper))
    create = "CREATE FUNCTION {}.told() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS {}"
    site.connect(definer).execute(sql(create, definer, Sql("'SELECT count(*) FROM public.orders'")))
    found = losses(site)
    assert f"role {viewer} would see no rows of public.orders, also through view {viewer}.seen" in found
    assert f"role {keeper} would see no rows of public.orders, also through view {keeper}.kept" in found
    assert f"role {definer} would see no rows of public.orders, also through its SECURITY DEFINER functions" in found
    assert f"({definer}.told" in found
    provision(site, allow=(*ALLOWED, "ACCESS_LOSS"))
    refreshed = site.connect(keeper)
    refreshed.execute(sql("REFRESH MATERIALIZED VIEW {}.kept", keeper))
    assert refreshed.execute(sql("SELECT count(*) FROM {}.kept", keeper)).fetchone() == (0,)
    assert site.connect(definer).execute(sql("SELECT {}.told()", definer)).fetchone() == (0,)
    assert site.connect(viewer).execute(sql("SELECT count(*) FROM {}.seen", viewer)).fetchone() == (0,)


def test_a_reader_of_everything(site: Database, role_factory: Roles, administrator: Connection) -> None:
    reader, exempt = role_factory("LOGIN"), role_factory("LOGIN BYPASSRLS")
    administrator.execute(sql("GRANT pg_read_all_data TO {}", reader))
    administrator.execute(sql("GRANT pg_read_all_data TO {}", exempt))
    found = losses(site)
    assert f"role {reader} would see no rows of public.folders" in found
    assert exempt not in found
    provision(site, allow=(*ALLOWED, "ACCESS_LOSS"))
    assert site.connect(reader).execute("SELECT count(*) FROM folders").fetchone() == (0,)
    assert site.connect(exempt).execute("SELECT count(*) FROM folders").fetchone() == (12,)
    assert dump(site, user=exempt).returncode == 0


def test_a_view_that_becomes_invoker(site: Database, role_factory: Roles, administrator: Connection) -> None:
    """Whoever reads it with its owner's rights and may not read what is below is named, BYPASSRLS or not."""
    plain, exempt, writer, member = (role_factory(each) for each in ("LOGIN", "LOGIN BYPASSRLS", "LOGIN", "LOGIN"))
    administrator.execute(sql("GRANT {} TO {}", APPLICATION, member))
    for role in (plain, exempt, writer, member):
        administrator.execute(sql("GRANT SELECT ON order_totals TO {}", role))
    administrator.execute(sql("GRANT INSERT ON orders TO {}", writer))
    found = losses(site)
    for role in (plain, exempt, writer):
        assert f"role {role} reads view public.order_totals and would need SELECT on public.orders" in found
    assert f"role {member} reads view" not in found
    provision(site, allow=(*ALLOWED, "ACCESS_LOSS"))
    for role in (plain, exempt):
        with pytest.raises(errors.InsufficientPrivilege, match="permission denied for table orders"):
            site.connect(role).execute("TABLE order_totals")


def test_publications_and_subscriptions(site: Database, role_factory: Roles, administrator: Connection) -> None:
    """A publication goes on; a subscription whose owner is no owner of the table applies nothing, and is named."""
    subscriber = role_factory("LOGIN")
    administrator.execute("CREATE PUBLICATION p FOR TABLE orders, events")
    published = administrator.execute("SELECT * FROM pg_publication_tables ORDER BY 1, 2, 3").fetchall()
    administrator.execute(
        "CREATE SUBSCRIPTION s CONNECTION 'dbname=nowhere' PUBLICATION p"
        " WITH (connect = false, slot_name = NONE, enabled = false, create_slot = false)"
    )
    try:
        administrator.execute(
            "INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate)"
            " SELECT oid, 'orders'::regclass, 'r' FROM pg_subscription WHERE subname = 's'"
        )
        administrator.execute("UPDATE pg_subscription SET subowner = %s::regrole WHERE subname = 's'", [subscriber])
        assert f"role {subscriber} would see no rows of public.orders, also through subscription s" in losses(site)
        provision(site, allow=(*ALLOWED, "ACCESS_LOSS"))
        assert administrator.execute("SELECT * FROM pg_publication_tables ORDER BY 1, 2, 3").fetchall() == published
    finally:
        administrator.execute("DROP SUBSCRIPTION s")


def test_the_comparison_can_fail(their: Database, administrator: Connection) -> None:
    """Row security that applies to the owner is seen in reads, writes, plans and copies."""
    before = Deeds.of(their, OWNER).done
    administrator.execute("ALTER TABLE notes ENABLE ROW LEVEL SECURITY; ALTER TABLE notes FORCE ROW LEVEL SECURITY")
    connection = their.connect()
    assert connection.execute("SELECT t::text FROM notes t").fetchall() != before["read notes"]
    assert written(connection, "notes") != before["write notes"]
    with pytest.raises(psycopg.Error):
        copied(connection, "notes")
