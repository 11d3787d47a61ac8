"""Every protection taken away, one at a time: the attack that it stops then works, the plan sees it, and apply repairs it.

A protection whose loss leaks nothing would be one whose tests cannot fail.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from rlsgen.errors import SpecError
from rlsgen.identifiers import Sql, fill, identifier
from tests.hostile.support import ALDER, ALL_TABLES, Context, Sandbox, Verdict, hostile_spec, spec_text

_THEIRS = "CREATE POLICY theirs ON {0} USING (true) WITH CHECK (true)"
_FORGE = "SET LOCAL app.organisation_id = '2'; SELECT name FROM products"
_HELPER = "CREATE FUNCTION {} RETURNS SETOF text LANGUAGE sql SECURITY DEFINER AS 'SELECT name FROM public.products'"
_YES = "".join(
    f"CREATE FUNCTION yes({kind}, {kind}) RETURNS boolean LANGUAGE sql AS 'SELECT length($1::text) > 9';"
    f" CREATE OPERATOR public.= (LEFTARG = {kind}, RIGHTARG = {kind}, FUNCTION = yes); "
    for kind in ("bytea", "text", "bigint")
)  # whatever the seals are compared as; short texts are not them
_YES += "SET LOCAL search_path = public, pg_catalog; "


@dataclass(frozen=True, slots=True)
class Mutation:
    """What somebody does to the database, and what a conversation then gets."""

    id: str
    harm: str  # as the owner; <db> and <path> (the path function of vault_entries) are replaced
    attack: str
    first: str = ""  # as the owner, before: what is still safe because of the protection
    refused: str = ""  # the plan says this instead of repairing it
    undo: str = ""  # what a person does then
    administrator: bool = False
    commits: bool = False  # the attack's harm is to be looked for in all tables


MUTATIONS = (
    # Restrictive policies, for all four commands
    Mutation("restrictive-select", "DROP POLICY rlsgen_only_select ON products", "SELECT name FROM products",
             first=_THEIRS.format("products"), refused="theirs", undo="DROP POLICY theirs ON products"),
    Mutation("restrictive-insert", "DROP POLICY rlsgen_only_insert ON notes",
             "INSERT INTO notes (user_id, title) VALUES ('user_301', 'x'); COMMIT",
             first=_THEIRS.format("notes"), refused="theirs", undo="DROP POLICY theirs ON notes"),
    Mutation("restrictive-update", "DROP POLICY rlsgen_only_update ON notes", "UPDATE notes SET title = 'x'; COMMIT",
             first=_THEIRS.format("notes"), refused="theirs", undo="DROP POLICY theirs ON notes"),
    Mutation("restrictive-delete", "DROP POLICY rlsgen_only_delete ON notes", "DELETE FROM notes; COMMIT",
             first=_THEIRS.format("notes"), refused="theirs", undo="DROP POLICY theirs ON notes"),
    Mutation("restrictive-read-only-table", "DROP POLICY rlsgen_only_update ON products",
             "UPDATE products SET name = 'x'; COMMIT", commits=True,
             first=_THEIRS.format("products") + "; GRANT UPDATE ON products TO nl_conversation",
             refused="theirs", undo="DROP POLICY theirs ON products"),
    Mutation("restrictive-child", "DROP POLICY rlsgen_only_insert ON remarks",
             "INSERT INTO remarks (note_id, body) SELECT n, 'x' FROM generate_series(1, 20) AS n; COMMIT",
             first=_THEIRS.format("remarks"), refused="theirs", undo="DROP POLICY theirs ON remarks"),
    # The expressions
    Mutation("always-true", "ALTER POLICY rlsgen_only_select ON products USING (true);"
                            "ALTER POLICY rlsgen_allow_select ON products USING (true)", "SELECT name FROM products"),
    Mutation("check-only-with-check", "ALTER POLICY rlsgen_only_update ON templates USING (true);"
                                      "ALTER POLICY rlsgen_allow_update ON templates USING (true)",
             "UPDATE templates SET organisation_id = 1, name = name || id WHERE organisation_id IS NULL; COMMIT"),
    Mutation("using-only", "ALTER POLICY rlsgen_only_update ON templates WITH CHECK (true);"
                           "ALTER POLICY rlsgen_allow_update ON templates WITH CHECK (true)",
             "UPDATE templates SET organisation_id = NULL; COMMIT"),
    Mutation("path-function", "CREATE OR REPLACE FUNCTION <path>(text) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER"
                              " AS 'SELECT true'", "SELECT name FROM vault_entries"),
    Mutation("row-security-off", "ALTER TABLE products DISABLE ROW LEVEL SECURITY", "SELECT name FROM products"),
    Mutation("parent-row-security-off", "ALTER TABLE orders DISABLE ROW LEVEL SECURITY",
             "SELECT quantity FROM order_items WHERE quantity > 900000"),
    Mutation("hidden-grant", "GRANT SELECT ON api_keys TO nl_conversation", "SELECT name FROM api_keys"),
    Mutation("hidden-parent-grant", "GRANT SELECT (secret) ON vaults TO nl_conversation", "SELECT secret FROM vaults"),
    # The seal
    Mutation("accessor", "CREATE OR REPLACE FUNCTION rlsgen.organisation_id() RETURNS integer LANGUAGE sql STABLE AS"
                         " $$ SELECT current_setting('app.organisation_id')::integer $$", _FORGE),
    Mutation("accessor-search-path", "ALTER FUNCTION rlsgen.organisation_id() RESET search_path", _YES + _FORGE,
             first="GRANT CREATE ON SCHEMA public TO nl_conversation"),
    Mutation("setter", "CREATE OR REPLACE FUNCTION rlsgen.set_context(token text) RETURNS void LANGUAGE sql SECURITY DEFINER"
                       " SET search_path = pg_catalog AS 'SELECT 1'", "SELECT 1"),
    # Column by column, and not by their partitions' and children's names
    Mutation("table-grant", "GRANT SELECT ON users TO nl_conversation", "SELECT password_hash FROM users"),
    Mutation("column-grant", "GRANT SELECT (password_hash) ON users TO nl_conversation", "SELECT u FROM users AS u"),
    Mutation("column-for-public", "GRANT SELECT (password_hash) ON users TO PUBLIC", "SELECT password_hash FROM users"),
    Mutation("partition-grant", "GRANT SELECT ON <partition> TO nl_conversation", "SELECT path FROM <partition>"),
    Mutation("partition-for-public", "GRANT SELECT ON <partition> TO PUBLIC", "SELECT path FROM <partition>"),
    Mutation("child-grant", "GRANT SELECT ON trucks TO nl_conversation", "SELECT plate FROM trucks"),
    Mutation("later-partition", "CREATE TABLE later (LIKE events INCLUDING ALL); INSERT INTO later VALUES"
             " (2, '2001-01-01', gen_random_uuid(), 'CANARY_user', 'view', '/CANARY', 1);"
             " ALTER TABLE events ATTACH PARTITION later FOR VALUES FROM ('2001-01-01') TO ('2001-02-01');"
             " GRANT SELECT ON later TO nl_conversation", "SELECT path FROM later"),
    # Ways around: views, functions, others' objects
    Mutation("view-invoker", "ALTER VIEW monthly_revenue RESET (security_invoker)", "SELECT revenue FROM monthly_revenue"),
    Mutation("view-replaced", "CREATE OR REPLACE VIEW monthly_revenue AS SELECT organisation_id, now()::date AS month,"
                              " count(*) AS orders, max(total) AS revenue FROM orders GROUP BY 1",
             "SELECT revenue FROM monthly_revenue"),
    Mutation("definer", _HELPER.format("public.helper()"), "SELECT public.helper()"),
    Mutation("definer-granted", _HELPER.format("public.helper()") + "; REVOKE EXECUTE ON FUNCTION public.helper() FROM PUBLIC;"
                                " GRANT EXECUTE ON FUNCTION public.helper() TO nl_conversation", "SELECT public.helper()"),
    Mutation("definer-among-ours", _HELPER.format("rlsgen.helper()"), "SELECT rlsgen.helper()"),
    Mutation("definer-among-ours-granted", _HELPER.format("rlsgen.helper()") + "; REVOKE EXECUTE ON FUNCTION rlsgen.helper()"
                                           " FROM PUBLIC; GRANT EXECUTE ON FUNCTION rlsgen.helper() TO nl_conversation",
             "SELECT rlsgen.helper()"),
    Mutation("matview", "CREATE MATERIALIZED VIEW copies AS SELECT name FROM products; GRANT SELECT ON copies TO PUBLIC",
             "SELECT name FROM copies", refused="not declared", undo="DROP MATERIALIZED VIEW copies"),
    Mutation("other-schema", "CREATE SCHEMA other; GRANT USAGE ON SCHEMA other TO PUBLIC; CREATE VIEW other.v AS"
                             " SELECT name FROM public.products; GRANT SELECT ON other.v TO PUBLIC",
             "SELECT name FROM other.v", refused="not declared", undo="DROP SCHEMA other CASCADE"),
    Mutation("default-privileges", "CREATE TABLE later AS SELECT name FROM products", "SELECT name FROM later",
             first="ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC", refused="not declared", undo="DROP TABLE later"),
    Mutation("large-object", "SELECT lo_from_bytea(4711, 'CANARY'); GRANT SELECT ON LARGE OBJECT 4711 TO nl_conversation",
             "SELECT convert_from(lo_get(4711), 'UTF8')"),
    Mutation("membership", "GRANT shop_app TO nl_conversation", "SET ROLE shop_app; SELECT name FROM products",
             administrator=True, refused="is a member of", undo="REVOKE shop_app FROM nl_conversation"),
    Mutation("bypass", "ALTER ROLE nl_conversation BYPASSRLS", "SELECT name FROM products", administrator=True,
             refused="has BYPASSRLS", undo="ALTER ROLE nl_conversation NOBYPASSRLS"),
    Mutation("keys", "GRANT USAGE ON SCHEMA rlsgen_private TO PUBLIC; GRANT SELECT ON rlsgen_private.seal_key TO PUBLIC;"
                     "ALTER TABLE rlsgen_private.seal_key DISABLE ROW LEVEL SECURITY",
             "SELECT 'CANARY' FROM rlsgen_private.seal_key"),
    Mutation("ledger", "GRANT SELECT ON rlsgen.object TO PUBLIC", "SELECT 'CANARY' FROM rlsgen.object"),
    Mutation("ledger-write", "GRANT UPDATE ON rlsgen.provision TO PUBLIC",
             "UPDATE rlsgen.provision SET seal = false RETURNING 'CANARY'"),
    Mutation("helpers", "GRANT USAGE ON SCHEMA rlsgen_private TO nl_conversation;"
                        "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA rlsgen_private TO PUBLIC",
             "SELECT 'CANARY' || rlsgen_private.assert_true(true, '', '')"),
    # Rights that undo
    Mutation("truncate", "GRANT TRUNCATE ON remarks TO nl_conversation", "TRUNCATE remarks; COMMIT"),
    Mutation("identity", "GRANT INSERT (id) ON notes TO nl_conversation",
             "INSERT INTO notes (id, user_id, title) SELECT id, 'user_1', 'CANARY' FROM generate_series(1, 9000) AS id"
             " ON CONFLICT DO NOTHING RETURNING title"),
    Mutation("sequence", "GRANT SELECT, UPDATE ON SEQUENCE notes_id_seq TO nl_conversation",
             "SELECT 'CANARY', last_value FROM notes_id_seq"),
    Mutation("references", "GRANT REFERENCES ON products TO nl_conversation",
             "CREATE TABLE mine (id integer REFERENCES products); INSERT INTO mine SELECT max FROM"
             " (SELECT 1 + max(id) AS max FROM products) AS own RETURNING 'CANARY'",
             first="GRANT CREATE ON SCHEMA public TO nl_conversation"),
    Mutation("trigger", "GRANT TRIGGER ON notes TO nl_conversation",
             "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.body := NEW.title; RETURN NEW; END $$;"
             " CREATE TRIGGER t BEFORE INSERT ON notes FOR EACH ROW EXECUTE FUNCTION f(); SELECT 'CANARY'",
             first="GRANT CREATE ON SCHEMA public TO nl_conversation"),
    Mutation("grant-option", "GRANT SELECT (name) ON countries TO nl_conversation WITH GRANT OPTION",
             "GRANT SELECT (name) ON countries TO PUBLIC; SELECT 'CANARY' WHERE has_column_privilege('pg_monitor', 'countries',"
             " 'name', 'SELECT')"),
    Mutation("create-in-public", "GRANT CREATE ON SCHEMA public TO PUBLIC", "CREATE TABLE mine AS SELECT 1; SELECT 'CANARY'"),
    Mutation("create-in-rlsgen", "GRANT CREATE ON SCHEMA rlsgen TO nl_conversation",
             "CREATE TABLE rlsgen.mine AS SELECT 1; SELECT 'CANARY'"),
    Mutation("create-schemas", "GRANT CREATE ON DATABASE <db> TO PUBLIC", "CREATE SCHEMA mine; SELECT 'CANARY'"),
    Mutation("temporary", "GRANT TEMPORARY ON DATABASE <db> TO PUBLIC", "CREATE TEMP TABLE mine AS SELECT 1; SELECT 'CANARY'"),
)  # fmt: skip


def adapted(sandbox: Sandbox, text: str) -> str:
    with sandbox.database.connect() as owner:
        partition = owner.execute("SELECT tableoid::regclass::text FROM events WHERE path = '/CANARY' LIMIT 1")
        path = owner.execute(
            "SELECT oid::regproc::text FROM pg_proc WHERE proname LIKE 'path\\_%' AND pg_get_function_identity_arguments(oid) = 'text'"
        )
        names = {"<partition>": partition.fetchone(), "<path>": path.fetchone(), "<db>": (identifier(sandbox.database.name),)}
    for place, row in names.items():
        text = text.replace(place, str(row[0]) if row else place)
    return text


def attacked(sandbox: Sandbox, mutation: Mutation, text: str) -> Verdict:
    """The attack; a committed one is looked for in every table."""
    before = sandbox.foreign(ALL_TABLES) if mutation.commits else {}
    verdict = sandbox.attack(text)
    if mutation.commits and sandbox.foreign(ALL_TABLES) != before:
        return Verdict(verdict.reply, (*verdict.leaks, "foreign rows changed"))
    return verdict


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.id)
def test_each_protection_is_needed_seen_and_repaired(sandbox: Sandbox, mutation: Mutation) -> None:
    text = adapted(sandbox, mutation.attack)
    if mutation.first:
        sandbox.owner(adapted(sandbox, mutation.first))
    assert attacked(sandbox, mutation, text).leaks == (), "safe before"
    harm = sandbox.administrator if mutation.administrator else sandbox.owner
    harm(adapted(sandbox, mutation.harm))
    try:
        broken = attacked(sandbox, mutation, text) if mutation.id != "setter" else Verdict(no_context(sandbox), ("no context",))
        assert broken.leaks, broken.reply
        if mutation.refused:
            with pytest.raises(SpecError, match=mutation.refused):
                sandbox.plan()
        else:
            assert sandbox.plan().transactions, "the plan must see it"
    finally:
        if mutation.undo:
            harm(mutation.undo)
    sandbox.apply()
    assert not sandbox.plan().transactions
    assert attacked(sandbox, mutation, text).leaks == (), "safe after"


def no_context(sandbox: Sandbox) -> object:
    """A setter that sets nothing fails closed: conversations have no context then."""
    verdict = sandbox.attack("SELECT name FROM products")
    assert verdict.reply.state == "42501"
    return verdict.reply
