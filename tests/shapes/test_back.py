"""Destroy gives back exactly what stood before; a dump carries everything but the database's own rights."""

from __future__ import annotations

import subprocess

import pytest
from psycopg import errors

from rlsgen.errors import ServerError
from rlsgen.identifiers import Name, fill, identifier
from tests.shapes.conftest import clone
from tests.shapes.harness import (
    Case,
    assert_isolated,
    assert_nothing_to_do,
    changed,
    dump,
    revoke_public_temporary,
    rows,
)
from tests.shapes.truth import CONTEXTS
from tests.support.postgres import Databases

# What a database may have before rlsgen: rights of the conversation role, of everybody, and odd settings.
BEFORE = """
    GRANT SELECT ON p_orders, s_null, x_queue, v_everything, m_counts TO nl_conversation;
    GRANT SELECT, INSERT, UPDATE ON w_items TO nl_conversation;
    GRANT SELECT (id, email) ON c_people TO nl_conversation;
    GRANT SELECT (code) ON f_countries TO nl_conversation;
    GRANT USAGE ON SCHEMA billing TO nl_conversation;
    GRANT USAGE, CREATE ON SCHEMA "Odd. schema" TO nl_conversation;
    GRANT USAGE ON SEQUENCE w_items_id_seq, h_uses_id_seq TO nl_conversation;
    GRANT SELECT ON r_events, r_events_2025 TO nl_conversation;
    GRANT CREATE ON SCHEMA public TO PUBLIC;
    GRANT SELECT, INSERT ON p_tags TO PUBLIC;
    GRANT SELECT (name) ON f_countries TO PUBLIC;
    CREATE FUNCTION f_definer(a integer, OUT b text) LANGUAGE sql SECURITY DEFINER AS $$ SELECT 'x'::text $$;
    CREATE PROCEDURE "f Odd"("a b" integer[]) LANGUAGE sql SECURITY DEFINER AS $$ SELECT 1 $$;
    CREATE FUNCTION f_plain() RETURNS integer LANGUAGE sql AS $$ SELECT 1 $$;
    GRANT EXECUTE ON FUNCTION f_plain() TO nl_conversation;
    GRANT USAGE ON TYPE region TO nl_conversation;
    ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO nl_conversation;
    ALTER DEFAULT PRIVILEGES IN SCHEMA billing GRANT EXECUTE ON FUNCTIONS TO nl_conversation;
    ALTER TABLE k_text FORCE ROW LEVEL SECURITY;
    ALTER TABLE c_people ALTER email SET STATISTICS 7;
    ALTER TABLE k_uuid ENABLE ROW LEVEL SECURITY;
    GRANT TEMPORARY, CREATE ON DATABASE {0} TO nl_conversation;
    REVOKE CONNECT ON DATABASE {0} FROM PUBLIC;
    GRANT CONNECT ON DATABASE {0} TO shop_app
"""


def _differences(first: str, second: str) -> list[str]:
    """Lines of two dumps that differ; the order in which one object's rights are listed says nothing."""
    one, two = ([*sorted(line for line in text.splitlines() if line.startswith(("GRANT ", "REVOKE "))),
                 *(line for line in text.splitlines() if not line.startswith(("GRANT ", "REVOKE ")))]
                for text in (first, second))  # fmt: skip
    return [line for line in one if line not in two] + [line for line in two if line not in one] or (
        [] if one == two else ["the order differs"]
    )


def _with_rights(case: Case) -> Case:
    with case.admin.transaction():
        case.admin.execute(fill(BEFORE, identifier(case.database.name)).encode())
    return case


def test_destroy_gives_back_exactly_what_stood_before(before: Case) -> None:
    _with_rights(before)
    first = dump(before, "--schema-only", "--create")
    before.apply()
    assert dump(before, "--schema-only", "--create") != first
    assert_nothing_to_do(before)
    assert_isolated(before, contexts=CONTEXTS[:2])
    before.destroy()
    assert _differences(first, dump(before, "--schema-only", "--create")) == []
    before.apply()
    assert_nothing_to_do(before)
    before._key = None
    assert_isolated(before, contexts=CONTEXTS[:1])


@pytest.mark.parametrize("edit", [{"force": True}, {"seal": False}], ids=str)
def test_destroy_after_force_seal_off_and_several_changes(before: Case, edit: dict[str, object]) -> None:
    first = dump(before, "--schema-only", "--create")
    before.apply()
    before.apply(changed(lambda document: document.update(edit)))
    before.apply(
        changed(lambda document: document["tables"].update(k_text="hidden", x_queue={"access": "shared", "why": "x"}))
    )
    before.apply(changed(lambda document: document["context"].update(organisationId="bigint")))
    before.destroy()
    assert _differences(first, dump(before, "--schema-only", "--create")) == []


def test_destroy_after_drift_and_of_tables_that_are_gone(before: Case) -> None:
    first = dump(before, "--schema-only")
    before.apply()
    before.admin.execute("""
        CREATE TABLE gone (id integer, organisation_id integer); GRANT SELECT ON k_integer TO nl_conversation;
        DROP POLICY rlsgen_only_select ON k_integer; ALTER TABLE k_bigint DISABLE ROW LEVEL SECURITY;
        ALTER VIEW v_orders RESET (security_invoker); GRANT SELECT ON v_everything TO nl_conversation""")
    before.apply(changed(lambda document: document["tables"].update(gone={})))
    before.admin.execute("""
        CREATE FUNCTION f_gone() RETURNS integer LANGUAGE sql SECURITY DEFINER RETURN 1;
        CREATE TABLE "gone too" (id integer, organisation_id integer); GRANT SELECT ("id") ON "gone too" TO PUBLIC""")
    before.apply(changed(lambda document: document["tables"].update({"gone": {}, '"gone too"': {}})))
    before.admin.execute("DROP TABLE gone; DROP FUNCTION f_gone")
    before.apply(changed(lambda document: document["tables"].update({'"gone too"': "hidden"})))
    before.admin.execute('DROP TABLE "gone too"')
    before.apply(changed())
    assert_nothing_to_do(before)
    before.destroy()
    assert _differences(first, dump(before, "--schema-only")) == []


TABLES = [
    "x_replaced",
    "c_people",
    "r_events",
    "w_items",
    "f_countries",
    "k_text",
    '"Odd. schema"."ünï☃"',
    "v_already",
    "x_kept",
]


def test_destroy_of_single_tables_gives_each_back_and_leaves_the_others(before: Case) -> None:
    _with_rights(before)
    options = ["--schema-only", *(f"--table={table}" for table in TABLES)]
    first = dump(before, *options)
    before.apply()
    before.admin.execute("ALTER POLICY rlsgen_only_select ON x_replaced USING (false)")
    for table in TABLES:
        schema, name = ("Odd. schema", "ünï☃") if "ünï" in table else ("public", table)
        if table in ("r_events",):  # r_event_tags stands on it
            with pytest.raises(ServerError, match=r"r_event_tags stand on those of public\.r_events"):
                before.destroy(Name(schema, name))
            before.destroy(Name("public", "r_event_tags"))
        before.destroy(Name(schema, name))
    differences = _differences(first, dump(before, *options))
    assert differences == []
    rest = ["p_orders", "p_items", "k_uuid", "h_uses", "s_null_grandchild", "v_orders", "f_attachment_reads"]
    assert_isolated(before, rest, CONTEXTS[:2], refused=False)
    before.apply()  # the spec still has them
    assert_nothing_to_do(before)
    assert_isolated(before, contexts=CONTEXTS[:1])


def test_destroying_a_parent_would_open_its_children(own: Case) -> None:
    """Why it is refused: a child's policy looks at its parent's visible rows."""
    with pytest.raises(ServerError, match=r"p_items.* stand on those of public\.p_orders"):
        own.destroy(Name("public", "p_orders"))
    with own.conversation(CONTEXTS[0]) as talker:
        few = rows(talker, "SELECT id FROM p_items")
    own.admin.execute("ALTER TABLE p_orders DISABLE ROW LEVEL SECURITY")
    with own.conversation(CONTEXTS[0]) as talker:
        assert len(rows(talker, "SELECT id FROM p_items")) > len(few)


def test_destroy_leaves_a_conversation_nothing(own: Case) -> None:
    own.destroy()
    for table in ("k_integer", "f_countries", "v_orders", "x_kept"):
        with pytest.raises(errors.InsufficientPrivilege):
            own.talker.execute(f"SELECT FROM {table}".encode())
    assert rows(own.admin, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'rlsgen%'") == []
    with pytest.raises(ServerError, match="nothing of rlsgen"):
        own.destroy()


# pg_dump by an owner stops at a table with forced row security, with or without rlsgen.
NO_FORCE = "ALTER TABLE x_replaced NO FORCE ROW LEVEL SECURITY"


def _restored(databases: Databases, case: Case) -> Case:
    """A dump of it, restored into a new database, both as the owner."""
    text = dump(case)
    copy = Case(databases())
    program = copy.database.server.program("psql")
    subprocess.run([program, "-q", "-X", "-v", "ON_ERROR_STOP=1", copy.database.dsn()],
                   input=text, check=True, capture_output=True, text=True)  # fmt: skip
    return copy


@pytest.mark.parametrize("seal", [True, False], ids=["sealed", "seal off"])
def test_a_dump_carries_everything_but_the_databases_own_rights(
    before: Case, database_factory: Databases, seal: bool
) -> None:
    before.admin.execute(NO_FORCE)
    before.apply(changed(lambda document: document.update(seal=seal)))
    key = before.key
    copy = _restored(database_factory, before)
    copy.spec, copy._key = before.spec, key
    assert [step.object for step in copy.plan().steps] == [f"TEMPORARY on database {copy.database.name} from PUBLIC"]
    # Already now nothing leaks: what is missing is only who may make temporary tables.
    assert_isolated(copy, contexts=CONTEXTS[:2])
    revoke_public_temporary(copy.database)
    assert_nothing_to_do(copy)
    assert_nothing_to_do(before)


def test_a_copy_by_template_is_like_a_dump(own: Case, database_factory: Databases) -> None:
    own.database.close()
    copy = Case(database_factory(template=own.database.name))
    assert [step.object for step in copy.plan().steps] == [f"TEMPORARY on database {copy.database.name} from PUBLIC"]
    copy.apply()
    assert_nothing_to_do(copy)


def test_destroy_works_in_a_restored_copy_too(before: Case, database_factory: Databases) -> None:
    before.admin.execute(NO_FORCE)
    first = dump(before, "--schema-only")
    before.apply()
    copy = _restored(database_factory, before)
    copy.destroy()
    assert _differences(first, dump(copy, "--schema-only")) == []
    assert_nothing_to_do(before)


def test_destroy_in_a_copy_gives_back_rights_on_that_copy(before: Case, database_factory: Databases) -> None:
    """The ledger came with the copy; what it says of "the database" is not said of the one that it was written in."""
    before.apply()
    before.database.close()
    copy = Case(database_factory(template=before.database.name, name=f'{before.database.name} "ü".o\'c'))
    copy.apply()
    copy.destroy()
    assert copy.admin.execute(
        "SELECT has_database_privilege('nl_conversation', current_database(), 'TEMPORARY')"
    ).fetchone() == (True,)
    assert_nothing_to_do(before)


def test_clone_is_as_provisioned(database_factory: Databases, provisioned_template: str) -> None:
    assert_nothing_to_do(clone(database_factory, provisioned_template))
