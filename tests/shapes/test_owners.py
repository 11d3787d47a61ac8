"""Tables of several owners: provisioned by a member of all of them, refused clearly for everybody else."""

from __future__ import annotations

import pytest

from rlsgen.errors import SpecError
from rlsgen.identifiers import fill, identifier
from rlsgen.spec.load import parse_spec
from tests.shapes.harness import Case, assert_nothing_to_do, dump, rows
from tests.support.postgres import Database, Roles

SPEC = """
version: 1
context: {{organisationId: integer}}
roles: {{conversation: nl_conversation, unrestricted: [{0}, {1}, {2}]}}
schemas: [sales, stock]
default_filter: organisation_id = userContext.organisationId
tables:
  orders: {{}}
  items: {{through: order_id -> orders(id), allow: [select, insert]}}
  vault: {{access: hidden, filter: organisation_id = userContext.organisationId}}
  uses: {{through: vault_id -> vault(id)}}
  nodes: {{filter: organisation_id = userContext.organisationId, through: parent_id -> nodes(id)}}
views: {{totals: invoker}}
"""


@pytest.fixture
def owners(role_factory: Roles, database: Database) -> tuple[str, str, str]:
    """Two roles with a schema each, and one that is a member of both."""
    sales, stock, both = role_factory(), role_factory(), role_factory("LOGIN INHERIT")
    with database.server.administer(database.name) as superuser:
        for number, (schema, owner) in enumerate((("sales", sales), ("stock", stock))):
            other = (sales, stock)[1 - number]
            made = "CREATE SCHEMA {0} AUTHORIZATION {1}; GRANT USAGE ON SCHEMA {0} TO {2}"
            superuser.execute(fill(made, identifier(schema), identifier(owner), identifier(other)).encode())
        superuser.execute(fill("GRANT {}, {} TO {}", identifier(sales), identifier(stock), identifier(both)).encode())
        superuser.execute(
            fill("GRANT CREATE ON DATABASE {} TO {}", identifier(database.name), identifier(both)).encode()
        )
    with database.connect(sales) as connection:
        connection.execute(
            fill(
                """
            CREATE TABLE sales.orders (id integer PRIMARY KEY, organisation_id integer);
            CREATE TABLE sales.vault (id integer PRIMARY KEY, organisation_id integer);
            CREATE TABLE sales.nodes (id integer PRIMARY KEY, organisation_id integer, parent_id integer);
            INSERT INTO sales.orders SELECT n, 1 + n % 2 FROM generate_series(1, 10) AS n;
            INSERT INTO sales.vault SELECT n, 1 + n % 2 FROM generate_series(1, 10) AS n;
            INSERT INTO sales.nodes SELECT n, 1 + n % 2, CASE WHEN n > 2 THEN n - 2 END
              FROM generate_series(1, 10) AS n;
            GRANT SELECT ON sales.orders TO {}""",
                identifier(stock),
            ).encode()
        )
    with database.connect(stock) as connection:
        connection.execute("""
            CREATE TABLE stock.items (id serial PRIMARY KEY, order_id integer);
            CREATE TABLE stock.uses (id integer PRIMARY KEY, vault_id integer);
            INSERT INTO stock.items (order_id) SELECT 1 + n % 10 FROM generate_series(1, 20) AS n;
            INSERT INTO stock.uses SELECT n, 1 + n % 10 FROM generate_series(1, 20) AS n;
            CREATE VIEW stock.totals AS SELECT o.organisation_id, count(*)
              FROM stock.items i JOIN sales.orders o ON o.id = i.order_id GROUP BY 1""")
    return sales, stock, both


def _case(database: Database, owners: tuple[str, str, str], who: str) -> Case:
    return Case(database, parse_spec(SPEC.format(*owners), "owners.yaml"), who)


def test_a_member_of_all_owners_provisions_and_gives_back(database: Database, owners: tuple[str, str, str]) -> None:
    case = _case(database, owners, owners[2])
    first = dump(case, "--schema-only", user=database.server.superuser)
    case.apply()
    assert_nothing_to_do(case)
    for organisation in (1, 2):
        with case.conversation({"organisationId": organisation}) as talker:
            own = [(n,) for n in range(1, 11) if 1 + n % 2 == organisation]
            assert rows(talker, "SELECT id FROM sales.orders") == sorted(own, key=repr)
            assert rows(talker, "SELECT DISTINCT order_id FROM stock.items") == sorted(own, key=repr)
            assert rows(talker, "SELECT DISTINCT vault_id FROM stock.uses") == sorted(own, key=repr)
            assert rows(talker, "SELECT id FROM sales.nodes") == sorted(own, key=repr)
            assert rows(talker, "SELECT * FROM stock.totals") == [(organisation, 10)]
            assert (
                talker.execute("INSERT INTO stock.items (order_id) VALUES (%s)", [1 + organisation % 2]).rowcount == 1
            )
    for owner in owners[:2]:
        connection = database.connect(owner)
        table = "sales.orders" if owner == owners[0] else "stock.items"
        assert connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone() in ((10,), (20,))
    case.destroy()
    assert dump(case, "--schema-only", user=database.server.superuser) == first


@pytest.mark.parametrize("number", [0, 1])
def test_one_of_the_owners_alone_is_refused_with_the_names(
    database: Database, owners: tuple[str, str, str], number: int
) -> None:
    case = _case(database, owners, owners[number])
    first = dump(case, "--schema-only", user=database.server.superuser)
    with pytest.raises(SpecError) as refusal:
        case.apply()
    said = str(refusal.value)
    theirs = ("stock.items", "stock.uses", "stock.totals") if number == 0 else ("sales.orders", "sales.nodes")
    assert all(name in said for name in theirs)
    assert f"belong to {owners[1 - number]}, and {owners[number]} is not a member of that role" in said
    assert f'GRANT "{owners[1 - number]}" TO "{owners[number]}"' in said
    assert "may not create schemas" in said
    assert dump(case, "--schema-only", user=database.server.superuser) == first
