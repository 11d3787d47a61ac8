"""The sample shop has the shape that the demo, the spec and the other tests count on."""

from __future__ import annotations

import datetime
from pathlib import Path

import psycopg
import pytest

from rlsgen.demo.shop import APPLICATION, CONVERSATION, CONVERSATIONS, OWNER, QUESTIONS, create_roles, create_shop
from rlsgen.spec.load import load_spec
from tests.support.postgres import Connection, Database, Databases, Roles, Server

POLICIES = Path(__file__).parents[2] / "policies.yaml"
TABLES = (
    "SELECT c.relname::text FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace"
    " AND c.relkind = ANY (%s) AND NOT c.relispartition ORDER BY 1"
)


def names(connection: Connection, *kinds: str) -> list[str]:
    return [name for (name,) in connection.execute(TABLES, [list(kinds)])]


def test_the_spec_names_every_table_and_view_and_no_other(shop: Database) -> None:
    spec = load_spec(POLICIES)
    owner = shop.connect()
    assert sorted(table.ref.name for table in spec.tables) == names(owner, "r", "p")
    assert sorted(view.ref.name for view in spec.views) == names(owner, "v")
    assert spec.conversation == CONVERSATION
    assert spec.unrestricted == (OWNER, APPLICATION)
    for conversation in CONVERSATIONS:
        assert list(conversation.context) == [field.name for field in spec.context]


def test_every_column_that_the_spec_names_is_there(shop: Database) -> None:
    owner = shop.connect()
    for table in load_spec(POLICIES).tables:
        columns = [*table.hide, *table.private, *(name for path in table.through for name in path.columns)]
        for column in columns:
            owner.execute(f"SELECT {column} FROM {table.ref.name} LIMIT 0")


def test_the_view_asks_with_its_owners_rights_until_rlsgen_comes(shop: Database) -> None:
    row = shop.connect().execute("SELECT reloptions FROM pg_class WHERE relname = 'monthly_revenue'").fetchone()
    assert row == (None,)


def test_there_is_nothing_of_rlsgen_in_it(shop: Database) -> None:
    row = (
        shop.connect()
        .execute(
            "SELECT (SELECT count(*) FROM pg_policy), (SELECT count(*) FROM pg_class WHERE relrowsecurity),"
            " (SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'rlsgen%'),"
            " (SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            "  AND relowner <> 'shop_owner'::regrole)"
        )
        .fetchone()
    )
    assert row == (0, 0, 0, 0)


def test_the_conversation_role_may_read_nothing_yet(shop: Database) -> None:
    conversation = shop.connect(CONVERSATION)
    for table in names(shop.connect(), "r", "p", "v"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conversation.execute(f"SELECT FROM {table}")


def test_the_application_reads_and_writes_everything(shop: Database) -> None:
    application = shop.connect(APPLICATION, autocommit=False)
    for table in names(application, "r", "p"):
        application.execute(f"SELECT * FROM {table} LIMIT 1")
        application.execute(f"DELETE FROM {table} WHERE false")
    application.execute("INSERT INTO notes (user_id, title) VALUES ('user_1', 'x')")
    application.execute("INSERT INTO organisations (name, slug) VALUES ('X', 'x')")


def test_tables_made_later_are_the_applications_too(shop: Database) -> None:
    shop.connect().execute("CREATE TABLE later (id serial)")
    shop.connect(APPLICATION).execute("INSERT INTO later DEFAULT VALUES")


def test_orders_are_spread_unevenly(shop: Database) -> None:
    counts = dict(
        shop.connect()
        .execute(
            "SELECT o.id, count(orders.id) FROM organisations o LEFT JOIN orders ON organisation_id = o.id GROUP BY 1"
        )
        .fetchall()
    )
    assert len(counts) == 40
    assert sum(counts.values()) == 12_000
    assert 0.28 < counts[1] / 12_000 < 0.32
    assert all(0.04 < counts[each] / 12_000 < 0.06 for each in (2, 3, 4, 5))
    assert all(0 < counts[each] < 100 for each in range(31, 40))
    assert counts[40] == 0


def test_there_are_tens_of_thousands_of_rows(shop: Database) -> None:
    owner = shop.connect()
    total = 0
    for table in names(owner, "r", "p"):
        row = owner.execute(f"SELECT count(*) FROM {table}").fetchone()
        assert row is not None
        assert row[0] > 0, table
        total += row[0]
    assert 50_000 < total < 100_000


@pytest.mark.parametrize(
    "contradiction",
    [
        "SELECT FROM orders o JOIN users u ON u.id = o.user_id WHERE u.organisation_id <> o.organisation_id",
        "SELECT FROM order_items i JOIN orders o ON o.id = i.order_id JOIN products p ON p.id = i.product_id"
        " WHERE p.organisation_id <> o.organisation_id",
        "SELECT FROM orders o WHERE total IS DISTINCT FROM"
        " (SELECT sum(quantity * unit_price) FROM order_items WHERE order_id = o.id)",
        "SELECT FROM order_items GROUP BY order_id, product_id HAVING count(*) > 1",
        "SELECT FROM users u WHERE last_order_at IS DISTINCT FROM"
        " (SELECT max(created_at) FROM orders WHERE user_id = u.id)",
        "SELECT FROM users u JOIN teams t ON t.id = u.team_id WHERE t.organisation_id <> u.organisation_id",
        "SELECT FROM projects p JOIN teams t ON t.id = p.team_id WHERE t.organisation_id <> p.organisation_id",
        "SELECT FROM events e JOIN users u ON u.id = e.user_id WHERE u.organisation_id <> e.organisation_id",
        "SELECT FROM orders a JOIN orders b ON b.id = a.id + 1 WHERE b.created_at < a.created_at",
        "SELECT FROM orders WHERE created_at > now()",
    ],
)
def test_the_rows_do_not_contradict_each_other(shop: Database, contradiction: str) -> None:
    assert shop.connect().execute(contradiction.encode()).rowcount == 0


@pytest.mark.parametrize(
    "interesting",
    [
        "SELECT FROM users WHERE last_order_at IS NULL",
        "SELECT FROM projects WHERE team_id IS NULL",
        "SELECT FROM templates WHERE organisation_id IS NULL",
        "SELECT FROM templates WHERE organisation_id = 1",
        "SELECT FROM notes WHERE user_id = 'user_1'",
        "SELECT FROM orders WHERE status = 'cancelled'",
        "SELECT FROM pg_partitioned_table p JOIN pg_class c ON c.oid = partrelid WHERE c.relispartition",
    ],
)
def test_the_rows_that_policies_stumble_over_are_there(shop: Database, interesting: str) -> None:
    assert shop.connect().execute(interesting.encode()).rowcount > 0


def test_this_month_and_the_next_have_partitions(shop: Database) -> None:
    owner = shop.connect()
    for months in (-5, 0, 1):
        owner.execute(
            "INSERT INTO events (organisation_id, occurred_at, user_id, kind, path, duration_ms)"
            " VALUES (1, now() + make_interval(months => %s), 'user_1', 'view', '/', 1)",
            [months],
        )


def test_every_tenant_key_leads_an_index(shop: Database) -> None:
    """But for the partitions, whose indexes are their parents'."""
    without = shop.connect().execute(
        "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'organisation_id'"
        " WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace AND NOT EXISTS"
        " (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indkey[0] = a.attnum AND i.indisvalid)"
    )
    assert without.fetchall() == []


def test_every_foreign_key_is_validated(shop: Database) -> None:
    row = (
        shop.connect()
        .execute(
            "SELECT count(*), bool_and(convalidated) FROM pg_constraint"
            " WHERE contype = 'f' AND conparentid = 0 AND connamespace = 'public'::regnamespace"
        )
        .fetchone()
    )
    assert row == (16, True)


def contents(connection: Connection) -> dict[str, str]:
    found = {}
    for table in names(connection, "r", "p"):
        row = connection.execute(f"SELECT md5(string_agg(t::text, e'\\n' ORDER BY t::text)) FROM {table} t").fetchone()
        assert row is not None
        found[table] = row[0]
    return found


def test_the_rows_are_the_same_every_time(database_factory: Databases) -> None:
    """Whatever the session's time zone is; unless midnight (UTC) passes between the two, when it is tried again."""
    while True:
        today = datetime.datetime.now(datetime.UTC).date()
        made = []
        for zone in ("UTC", "America/St_Johns"):
            owner = database_factory().connect(options=f"-c TimeZone={zone}")
            create_shop(owner)
            owner.execute("SET TimeZone = 'UTC'")
            made.append(contents(owner))
        if datetime.datetime.now(datetime.UTC).date() == today:
            break
    assert made[0] == made[1]


@pytest.mark.parametrize(
    ("columns", "table", "fingerprint"),
    [
        ("id, user_id, country_code, total", "orders", "2a17662090fed0d346bf205154e5c501"),
        ("user_id, title, body, pinned", "notes", "0e87a3de3f6f7cf75afc4388d41dca7e"),
    ],
)
def test_what_is_not_a_date_never_changes(shop: Database, columns: str, table: str, fingerprint: str) -> None:
    """On no server version and no day, so that documentation can show it."""
    rows = f"SELECT md5(string_agg(concat_ws(',', {columns}), ' ' ORDER BY id)) FROM {table}"
    assert shop.connect().execute(rows.encode()).fetchone() == (fingerprint,)


def test_the_application_can_answer_every_question(shop: Database) -> None:
    application = shop.connect(APPLICATION)
    for question in QUESTIONS:
        assert application.execute(question.sql).fetchall(), question.text


def test_the_two_conversations_have_something_to_talk_about(shop: Database) -> None:
    owner = shop.connect()
    for conversation in CONVERSATIONS:
        row = owner.execute(
            "SELECT o.name, t.organisation_id, u.organisation_id,"
            " (SELECT count(*) FROM notes WHERE user_id = u.id),"
            " (SELECT count(*) FROM projects WHERE team_id = t.id AND status = 'active'),"
            " (SELECT count(*) FROM orders WHERE organisation_id = o.id"
            "  AND created_at >= date_trunc('month', now()) - interval '1 month'"
            "  AND created_at < date_trunc('month', now()))"
            " FROM organisations o, teams t, users u"
            " WHERE o.id = %(organisationId)s AND t.id = %(teamId)s AND u.id = %(userId)s",
            conversation.context,
        ).fetchone()
        assert row is not None
        organisation = conversation.context["organisationId"]
        assert row[:3] == (conversation.organisation, organisation, organisation)
        assert all(row[3:])


def test_roles_are_made_once_and_mended(server: Server) -> None:
    with server.administer() as administrator:
        before = administrator.execute("SELECT oid FROM pg_roles WHERE rolname = %s", [APPLICATION]).fetchone()
        administrator.execute("ALTER ROLE shop_app NOBYPASSRLS")
        create_roles(administrator)
        after = administrator.execute("SELECT oid FROM pg_roles WHERE rolname = %s", [APPLICATION]).fetchone()
        attributes = administrator.execute(
            "SELECT rolname::text, rolcanlogin, rolbypassrls,"
            " rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication"
            " FROM pg_roles WHERE rolname = ANY (%s) ORDER BY 1",
            [[OWNER, APPLICATION, CONVERSATION]],
        ).fetchall()
    assert before == after
    assert attributes == [
        (CONVERSATION, True, False, False),
        (APPLICATION, True, True, False),
        (OWNER, True, False, False),
    ]


def test_only_an_administrator_makes_roles(shop: Database, role_factory: Roles) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        create_roles(shop.connect(role_factory()))
