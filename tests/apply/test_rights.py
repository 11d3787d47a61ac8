"""As an ordinary owner: what an administrator prepared is enough, and a GRANT or REVOKE that only warned is noticed."""

from __future__ import annotations

import re
from typing import Any

import pytest

from rlsgen.demo.shop import APPLICATION, CONVERSATION, OWNER
from rlsgen.errors import ApplyFailed, SpecError
from rlsgen.provision.apply import apply, make_plan
from tests.apply.support import ALLOWED, Probe, company, left, provision, schema_of, sql
from tests.support.postgres import Connection, Database, Databases, Roles


def test_an_ordinary_owner(site: Database, probe: Probe, administrator: Connection) -> None:
    powers = "rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls OR rolreplication"
    query = f"SELECT {powers} FROM pg_roles WHERE rolname = %s"
    assert administrator.execute(query.encode(), [OWNER]).fetchone() == (False,)
    provision(site)
    probe.assert_finished(company())


def test_an_owner_of_tables_but_not_of_the_database(
    database_factory: Databases, company_template: str, role_factory: Roles
) -> None:
    """CREATE on the database is enough; what only the database's owner can close, he is told to."""
    landlord = role_factory("NOLOGIN")
    site = database_factory(template=company_template, owner=landlord)
    with pytest.raises(SpecError, match=f"{OWNER} may not create schemas in database {site.name}") as caught:
        provision(site)
    assert f'GRANT CREATE ON DATABASE "{site.name}" TO "{OWNER}"' in str(caught.value)
    with site.server.administer(site.name) as administrator:
        administrator.execute(sql("GRANT CREATE ON DATABASE {} TO {}", site.name, OWNER))
        plan = provision(site)
        told = [each for each in plan.advice if "temporary tables" in each.message]
        assert f'REVOKE TEMPORARY ON DATABASE "{site.name}" FROM PUBLIC' in told[0].hint
        assert left(site) == []
        administrator.execute(sql("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC", site.name))
    assert not [each for each in make_plan(site.connect(), company()).advice if "temporary" in each.message]


def with_other_grantor(administrator: Connection, roles: Roles, grant: str) -> str:
    """Another role, with a grant option, grants something to somebody: only it can take it back."""
    other = roles("LOGIN BYPASSRLS")
    administrator.execute(sql("GRANT USAGE ON SCHEMA elsewhere TO {}", other))
    verb, _, what = grant.partition(" TO ")
    administrator.execute(f'{verb} TO "{other}" WITH GRANT OPTION'.encode())
    administrator.execute(f'SET ROLE "{other}"; {verb} TO {what}; RESET ROLE'.encode())
    return other


STUBBORN: dict[str, tuple[str, dict[str, Any]]] = {
    "a declared table": (f"GRANT SELECT ON orders TO {CONVERSATION}", {}),
    "a column": (f"GRANT UPDATE (note) ON orders TO {CONVERSATION}", {}),
    "a hidden table": (f"GRANT SELECT ON secrets TO {CONVERSATION}", {}),
    "an undeclared table": (f"GRANT SELECT ON events TO {CONVERSATION}", {"undeclared": "hidden", "events": None}),
    "a partition": (f"GRANT SELECT ON events_2025 TO {CONVERSATION}", {}),
    "a sequence": (f"GRANT UPDATE ON SEQUENCE orders_id_seq TO {CONVERSATION}", {}),
    "a hidden view": (f"GRANT SELECT ON order_totals TO {CONVERSATION}", {"views": {"order_totals": "hidden"}}),
    "a schema": (f"GRANT CREATE ON SCHEMA elsewhere TO {CONVERSATION}", {}),
    "the schema": (f"GRANT CREATE ON SCHEMA public TO {CONVERSATION}", {}),
    "the database": (f"GRANT CREATE ON DATABASE this TO {CONVERSATION}", {}),
    "a function": (f"GRANT EXECUTE ON FUNCTION elsewhere.f(integer, text) TO {CONVERSATION}", {}),
    "a type": (f"GRANT USAGE ON TYPE elsewhere.mood TO {CONVERSATION}", {}),
    "everybody's table": ("GRANT INSERT ON orders TO PUBLIC", {}),
    "everybody's column": ("GRANT UPDATE (note) ON orders TO PUBLIC", {}),
    "everybody's sequence": ("GRANT USAGE ON SEQUENCE orders_id_seq TO PUBLIC", {}),
    "everybody's schema": ("GRANT CREATE ON SCHEMA public TO PUBLIC", {}),
    "everybody's function": ("GRANT EXECUTE ON FUNCTION public.definer(text) TO PUBLIC", {}),
}


@pytest.mark.parametrize("what", STUBBORN)
def test_a_revocation_that_only_warns(
    site: Database, administrator: Connection, role_factory: Roles, what: str
) -> None:
    grant, changes = STUBBORN[what]
    owner = site.connect()
    owner.execute(
        """
        CREATE SCHEMA elsewhere;
        CREATE FUNCTION elsewhere.f(a integer, b text) RETURNS text LANGUAGE sql AS 'SELECT b';
        CREATE TYPE elsewhere.mood AS ENUM ('good');
        CREATE FUNCTION public.definer(a text) RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT a';
        REVOKE EXECUTE ON FUNCTION public.definer, elsewhere.f FROM PUBLIC;
        """
    )
    before = schema_of(site)
    spec = company(**changes)
    other = with_other_grantor(administrator, role_factory, grant.replace("this", f'"{site.name}"'))
    with pytest.raises(ApplyFailed) as caught:
        provision(site, spec)
    error = caught.value
    # The error says what is still held, that it was not the owner's to take, and where the database stands.
    who = "PUBLIC" if grant.endswith("PUBLIC") else f"{CONVERSATION}|the conversation role"
    assert re.search(who, error.message)
    assert "revoke" in error.hint
    assert "this one is rolled back" in error.message
    assert f"{error.done} of {error.total} transactions are committed" in error.message
    # Whoever granted it takes it back, and apply goes on.
    with site.connect(other) as grantor:
        verb, _, to = grant.replace("this", f'"{site.name}"').partition(" TO ")
        grantor.execute(f"REVOKE{verb.removeprefix('GRANT')} FROM {to}".encode())
    provision(site, spec)
    assert left(site, spec) == []
    assert before != schema_of(site)


@pytest.mark.parametrize(
    ("target", "kept"),
    [
        ("SCHEMA elsewhere", "has_schema_privilege('nl_conversation', 'elsewhere', 'USAGE')"),
        ("DATABASE this", "has_database_privilege('nl_conversation', current_database(), 'CONNECT')"),
    ],
)
def test_what_is_too_much_is_taken_and_the_rest_stays(
    site: Database, administrator: Connection, target: str, kept: str
) -> None:
    """USAGE on a schema that is used, CONNECT: in one apply, or the next one would give it back."""
    owner = site.connect()
    owner.execute("CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.more (organisation_id integer)")
    this = f'"{site.name}"'
    grant = f"GRANT ALL ON {target.replace('this', this)} TO nl_conversation"
    administrator.execute(f"REVOKE CONNECT ON DATABASE {this} FROM PUBLIC; {grant}".encode())
    spec = company(**{"elsewhere.more": {}, "schemas": ["public", "elsewhere"]})
    provision(site, spec)
    assert left(site, spec) == []
    assert administrator.execute(f"SELECT {kept}".encode()).fetchone() == (True,)
    taken = kept.replace("USAGE", "CREATE").replace("CONNECT", "CREATE")
    assert administrator.execute(f"SELECT {taken}".encode()).fetchone() == (False,)


def test_tables_of_others(site: Database, administrator: Connection, role_factory: Roles) -> None:
    other = role_factory("LOGIN")
    administrator.execute(sql("ALTER TABLE notes OWNER TO {}", other))
    before = schema_of(site)
    with pytest.raises(SpecError) as caught:
        provision(site)
    (problem,) = caught.value.problems
    assert problem.message == f"public.notes belong to {other}, and {OWNER} is not a member of that role"
    assert f'GRANT "{other}" TO "{OWNER}"' in problem.hint
    assert schema_of(site) == before
    administrator.execute(sql("GRANT {} TO {}", other, OWNER))
    # The sequence of the serial went to the new owner with its table.
    provision(site, allow=(*ALLOWED,))
    assert left(site) == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        ("CREATE TABLE theirs (a integer); GRANT SELECT ON theirs TO PUBLIC",
         r"public\.theirs is not declared, but everybody may read it through PUBLIC"),
        ("CREATE TABLE theirs (a integer); GRANT INSERT ON theirs TO PUBLIC",
         r"PUBLIC holds privileges on public\.theirs, and shop_owner may not revoke it"),
        ("CREATE FUNCTION theirs() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
         r"everybody may execute the SECURITY DEFINER function public\.theirs\(\), and shop_owner may not revoke it"),
    ],
)  # fmt: skip
def test_public_privileges_of_others(
    site: Database, administrator: Connection, role_factory: Roles, make: str, message: str
) -> None:
    """Only their owner can revoke them: refused before anything is done."""
    other = role_factory("LOGIN")
    administrator.execute(sql("GRANT CREATE ON SCHEMA public TO {}", other))
    site.connect(other).execute(make.encode())
    before = schema_of(site)
    spec = company(undeclared="hidden")
    with pytest.raises(SpecError, match=message):
        provision(site, spec)
    assert schema_of(site) == before


def test_no_right_to_a_schema(site: Database, administrator: Connection, role_factory: Roles) -> None:
    """GRANT USAGE without the right only warns."""
    other = role_factory("LOGIN")
    administrator.execute(sql("ALTER SCHEMA public OWNER TO {}; REVOKE ALL ON SCHEMA public FROM PUBLIC", other))
    administrator.execute(sql("GRANT USAGE ON SCHEMA public TO {}, {}", OWNER, APPLICATION))
    with pytest.raises(ApplyFailed, match="lacks USAGE on a schema") as caught:
        apply(site.connect(), company(), allow=ALLOWED)
    assert "the owner of the schema can grant it" in caught.value.hint
    administrator.execute(sql("GRANT USAGE ON SCHEMA public TO {}", CONVERSATION))
    provision(site)
    assert left(site) == []


def test_default_privileges(site: Database, administrator: Connection) -> None:
    """What is ours is closed in one apply to those whom default privileges would let in."""
    administrator.execute(
        "ALTER DEFAULT PRIVILEGES FOR ROLE shop_owner GRANT SELECT ON TABLES TO nl_conversation;"
        "ALTER DEFAULT PRIVILEGES FOR ROLE shop_owner GRANT ALL ON FUNCTIONS TO shop_app, nl_conversation;"
        "ALTER DEFAULT PRIVILEGES FOR ROLE shop_owner GRANT ALL ON SCHEMAS TO nl_conversation"
    )
    provision(site)
    assert left(site) == []
    for table in ("rlsgen_private.signing_key", "rlsgen_private.seal_key", "rlsgen.object", "rlsgen.provision"):
        query = "SELECT has_any_column_privilege('nl_conversation', %s::regclass, 'SELECT')"
        assert administrator.execute(query, [table]).fetchone() == (False,), table
    query = "SELECT has_schema_privilege('nl_conversation', 'rlsgen_private', 'USAGE')"
    assert administrator.execute(query.encode()).fetchone() == (False,)
