"""What rlsgen itself trusts: its schemas, its ledger, its tokens. Each is put into a liar's hands here."""

from __future__ import annotations

import json
from collections.abc import Callable

import psycopg
import pytest

from rlsgen.catalog.connect import open_connection
from rlsgen.catalog.read import read_catalog
from rlsgen.errors import PlanChanged, RlsgenError, ServerError, SpecError
from rlsgen.identifiers import fill, identifier, literal
from rlsgen.provision.apply import apply
from rlsgen.provision.destroy import destroy_plan
from rlsgen.provision.diff import search_path
from rlsgen.provision.keys import create_key
from rlsgen.provision.plan import Plan
from tests.hostile.support import EVERYTHING, Sandbox, hostile_spec
from tests.support.postgres import Database, Databases, Roles

_EVIL = "; ALTER ROLE shop_app SUPERUSER; CREATE TABLE public.pwned ()"


def destruction(sandbox: Sandbox, user: str | None = None) -> Plan:
    with open_connection(sandbox.database.dsn(user)) as connection:
        catalog = read_catalog(connection, sandbox.spec.conversation)
        return destroy_plan(catalog, sandbox.spec.conversation, search_path(sandbox.spec))


@pytest.mark.parametrize(
    ("kind", "name", "before"),
    [
        ("replaced", "theirs", {"create": f'CREATE POLICY "theirs" ON "public"."products" USING (true){_EVIL}'}),
        ("replaced", "theirs", {"create": 'CREATE POLICY "theirs" ON "public"."users" USING (true)'}),
        ("replaced", "theirs", {"create": 'CREATE POLICY "others" ON "public"."products" USING (true)'}),
        ("replaced", "theirs", {"create": "DROP TABLE products"}),
        ("replaced", "theirs", {"create": "no SQL"}),
        ("public", "x", {"reverse": f"GRANT SELECT ON products TO PUBLIC{_EVIL}"}),
        ("public", "x", {"reverse": "GRANT shop_owner TO nl_conversation"}),
        ("public", "x", {"reverse": "CREATE TABLE public.pwned ()"}),
        ("grants", "", {"privileges": [[f"SELECT ON products TO PUBLIC{_EVIL}; GRANT SELECT", ""]]}),
        ("grants", "", {"privileges": [["ALL", ""]]}),
        ("grants", "", {"privileges": "SELECT"}),
    ],
)
def test_a_tampered_row_runs_nothing(sandbox: Sandbox, kind: str, name: str, before: dict[str, object]) -> None:
    relation = ("rlsgen", "rlsgen") if kind == "public" else ("public", "products")
    row = [literal(text) for text in (kind, *relation, name, json.dumps(before))]
    sandbox.owner(fill("INSERT INTO rlsgen.object VALUES ({}, {}, {}, {}, '', '', {}) ON CONFLICT (kind, schema_name,"
                       " relation_name, object_name) DO UPDATE SET before = excluded.before", *row))  # fmt: skip
    with pytest.raises(ServerError, match=r"the ledger's row about"):
        destruction(sandbox)


def test_an_honest_ledger_is_believed(sandbox: Sandbox) -> None:
    assert "as it was" in destruction(sandbox).to_text()


class TestPremises:
    """Whoever owns schema rlsgen decides what runs there."""

    def test_a_schema_that_was_there_before(self, plain: Callable[[], Database], role_factory: Roles) -> None:
        database, squatter = plain(), role_factory()
        owner = database.connect()
        owner.execute(
            fill("GRANT CREATE ON DATABASE {} TO {}", identifier(database.name), identifier(squatter)).encode()
        )
        with psycopg.connect(database.dsn(squatter), autocommit=True) as theirs:
            theirs.execute(
                "CREATE SCHEMA rlsgen; GRANT ALL ON SCHEMA rlsgen TO PUBLIC; CREATE TABLE rlsgen.object (kind text,"
                " schema_name text, relation_name text, object_name text, source text, live text, before jsonb,"
                " PRIMARY KEY (kind, schema_name, relation_name, object_name)); GRANT ALL ON rlsgen.object TO PUBLIC"
            )
        for user in (None, database.server.superuser):
            with (
                open_connection(database.dsn(user)) as connection,
                pytest.raises(SpecError, match="would run what that role"),
            ):
                apply(connection, hostile_spec(), allow=EVERYTHING)

    @pytest.mark.parametrize("theft", [
        "ALTER SCHEMA rlsgen_private OWNER TO {}", "ALTER TABLE rlsgen.object OWNER TO {}",
        "ALTER FUNCTION rlsgen.organisation_id() OWNER TO {}",
    ])  # fmt: skip
    def test_something_of_it_in_other_hands(self, sandbox: Sandbox, role_factory: Roles, theft: str) -> None:
        thief = role_factory()
        grant = "GRANT CREATE ON SCHEMA rlsgen, rlsgen_private TO {}; "
        sandbox.administrator((grant + theft).replace("{}", identifier(thief)))
        with pytest.raises(RlsgenError, match=r"would run what that role put there|may not read it"):
            sandbox.plan()
        with pytest.raises(RlsgenError):
            destruction(sandbox)

    def test_an_administrator_does_not_run_an_owners_functions(self, sandbox: Sandbox) -> None:
        superuser = sandbox.database.server.superuser
        with pytest.raises(SpecError, match="belongs to shop_owner"):
            sandbox.apply(user=superuser)
        with pytest.raises(SpecError, match="belongs to shop_owner"):
            destruction(sandbox, superuser)

    def test_an_administrator_may_begin_and_go_on(self, plain: Callable[[], Database]) -> None:
        database = plain()
        for _ in range(2):
            with open_connection(database.dsn(database.server.superuser)) as connection:
                outcome = apply(connection, hostile_spec(), allow=EVERYTHING)
        assert not outcome.plan.transactions


class TestTokens:
    def test_a_token_is_for_one_database(self, sandbox: Sandbox, plain: Callable[[], Database]) -> None:
        other = Sandbox(plain(), sandbox.spec, sandbox.key)
        other.apply()
        with open_connection(other.database.dsn()) as owner:
            key = create_key(owner)
        with psycopg.connect(other.database.dsn(sandbox.spec.conversation), autocommit=True) as conversation:
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="context token refused"):
                other.begin(conversation)
            conversation.execute("ROLLBACK")
            other.key = key
            other.begin(conversation)

    def test_a_key_of_the_other_with_this_ones_audience(self, sandbox: Sandbox, plain: Callable[[], Database]) -> None:
        other = Sandbox(plain(), sandbox.spec, sandbox.key)
        other.apply()
        with open_connection(other.database.dsn()) as owner:
            foreign = create_key(owner)
        for kid, audience in ((foreign.kid, sandbox.key.audience), (sandbox.key.kid, sandbox.key.audience)):
            sandbox.key = type(foreign)(kid, audience, foreign.secret)
            with (
                psycopg.connect(sandbox.database.dsn(sandbox.spec.conversation), autocommit=True) as conversation,
                pytest.raises(psycopg.errors.InsufficientPrivilege, match="context token refused"),
            ):
                sandbox.begin(conversation)

    def test_a_clone_shares_the_keys_until_they_are_retired(
        self, sandbox: Sandbox, database_factory: Databases
    ) -> None:
        """What CREATE DATABASE … TEMPLATE or a dump copies: told here, so that nobody believes otherwise."""
        sandbox.database.close()
        sandbox._observer = None
        clone = Sandbox(database_factory(template=sandbox.database.name), sandbox.spec, sandbox.key)
        assert clone.attack("SELECT name FROM products").reply.rows
        with open_connection(clone.database.dsn()) as owner:
            new = create_key(owner)
            owner.execute("UPDATE rlsgen_private.signing_key SET retired_at = now() WHERE kid <> %s", [new.kid])
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="context token refused"):
            clone.attack("SELECT name FROM products")


def test_a_saved_plan_of_another_state_is_refused(sandbox: Sandbox) -> None:
    sandbox.owner("ALTER TABLE products DISABLE ROW LEVEL SECURITY")
    old = sandbox.plan()
    sandbox.owner("GRANT SELECT ON vaults TO nl_conversation")
    with open_connection(sandbox.database.dsn()) as owner, pytest.raises(PlanChanged):
        apply(owner, sandbox.spec, allow=EVERYTHING, expected=old.fingerprint)
    assert sandbox.attack("SELECT name FROM products").leaks, "nothing was done"
