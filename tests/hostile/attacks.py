"""What a hostile conversation of ALDER sends in its sealed transaction, and how it must end.

`ends` lists what may happen: an SQLSTATE of the first error, `rows` (own rows came back), `none` (no error, no row).
Whatever happens, no canary is seen, no foreign row changes and no context is forged; the harness looks.
`<token>`, `<partition>` and `<leaf>` are replaced by the runner.
"""

from __future__ import annotations

from dataclasses import dataclass

DENIED = "42501"  # insufficient_privilege: also "no tenant context" and row security's refusals
UNDEFINED_FUNCTION = "42883"


@dataclass(frozen=True, slots=True)
class Attack:
    """One message of hostile text."""

    id: str
    text: str
    ends: str = DENIED
    since: int = 15  # the major version that has the syntax

    @property
    def endings(self) -> frozenset[str]:
        # A server that was built without libxml has no XML to leak into.
        return frozenset([*self.ends.split(), *(["0A000"] if "_to_xml" in self.text else [])])


def _forge(name: str, how: str, ends: str = DENIED) -> Attack:
    return Attack(f"forge-{name}", how, ends)


_SET_2 = "set_config('app.organisation_id', '2', {})"
_READ = "SELECT name FROM products WHERE organisation_id <> 1"

# THREATS A: every way to write a setting, then a read. Own rows may come back where the seal was checked first.
FORGING = (
    *(
        _forge(f"{name}-{local}", text.replace("SET2", _SET_2.format(local)), "42501 rows none")
        for local in ("true", "false")
        for name, text in {
            "sub-query": "SELECT p.name FROM (SELECT SET2) AS s, products AS p",
            "cte": "WITH s AS MATERIALIZED (SELECT SET2) SELECT p.name FROM s, products AS p",
            "recursive-cte": "WITH RECURSIVE s(x, n) AS (SELECT SET2, 1 UNION ALL SELECT x, n + 1 FROM s WHERE n < 3)"
                             " SELECT p.name FROM s, products AS p",
            "lateral": "SELECT p.name FROM generate_series(1, 2) AS g, LATERAL (SELECT SET2 WHERE g > 0) AS s, products AS p",
            "where": "SELECT name FROM products WHERE SET2 = '2'",
            "target-list": "SELECT SET2, name FROM products",
            "scalar": "SELECT (SELECT SET2), (SELECT count(*) FROM products), (SELECT string_agg(name, ',') FROM products)",
            "rows-from": "SELECT p.name FROM ROWS FROM (generate_series(1, 2), SET2) AS s(a, b), products AS p",
            "order-by": "SELECT name FROM products ORDER BY SET2",
            "limit": "SELECT name FROM products LIMIT (SELECT length(SET2) + 5)",
            "case": "SELECT CASE WHEN SET2 = '2' THEN (SELECT string_agg(name, ',') FROM products) END",
            "aggregate": "SELECT string_agg(name, ',') FILTER (WHERE SET2 = '2') FROM products",
        }.items()
    ),
    _forge("odd-case", f"SELECT set_config('App.ORGANISATION_ID', '2', true); {_READ}"),
    _forge("set", f"SET app.organisation_id = 2; {_READ}"),
    _forge("set-local", f"SET LOCAL app.organisation_id = '2'; {_READ}"),
    _forge("set-odd-case", f"SET LOCAL APP.Organisation_Id TO '2'; {_READ}"),
    _forge("same-value-otherwise-spelled", f"SET LOCAL app.organisation_id = '01'; {_READ}"),
    _forge("set-user", "SET LOCAL app.user_id = 'CANARY'; SELECT title FROM notes".replace("CANARY", "user_301")),
    _forge("set-optional", "SET LOCAL app.team_id = '4'; SELECT name FROM projects"),
    _forge("unset-optional", "SET LOCAL app.team_id = ''; SELECT name FROM projects"),
    _forge("reset", f"RESET app.organisation_id; {_READ}"),
    _forge("reset-all", f"RESET ALL; {_READ}", "42501 none"),
    _forge("no-seal", f"SET LOCAL app.rlsgen_seal = ''; SET LOCAL app.organisation_id = 2; {_READ}"),
    _forge("other-seal", f"SELECT set_config('app.rlsgen_seal', repeat('0', 64), true); {_READ}"),
    _forge("null-seal", f"SELECT set_config('app.rlsgen_seal', NULL, true); {_READ}"),
    _forge("empty-values", f"SELECT set_config('app.organisation_id', NULL, true); {_READ}"),
    _forge("discard", "DISCARD ALL", "25001"),
    _forge("do-block", "DO $$ BEGIN PERFORM set_config('app.organisation_id', '2', true);"
                       " RAISE NOTICE '%', (SELECT string_agg(name, ',') FROM products); END $$"),
    _forge("do-dynamic", "DO $$ DECLARE r record; BEGIN EXECUTE 'SET LOCAL app.organisation_id = 2';"
                         " FOR r IN EXECUTE 'SELECT name FROM products' LOOP RAISE NOTICE '%', r; END LOOP; END $$"),
    _forge("do-exception", "DO $$ DECLARE r record; BEGIN BEGIN PERFORM set_config('app.organisation_id', '2', false);"
                           " RAISE EXCEPTION 'x'; EXCEPTION WHEN OTHERS THEN"
                           " FOR r IN SELECT name FROM products WHERE organisation_id <> 1 LOOP RAISE NOTICE '%', r;"
                           " END LOOP; END; END $$", "none"),
    _forge("prepare", "PREPARE p AS SELECT name FROM products; SET LOCAL app.organisation_id = 2; EXECUTE p"),
    _forge("prepare-with-set", "PREPARE p AS SELECT set_config('app.organisation_id', $1, true), name FROM products;"
                               " EXECUTE p('2')", "42501 rows"),
    _forge("prepared-twice", "PREPARE p AS SELECT name FROM products; EXECUTE p;"
                             " SELECT set_config('app.organisation_id', '2', true); EXECUTE p"),
    _forge("generic-plan", "SET LOCAL plan_cache_mode = force_generic_plan; PREPARE p AS SELECT name FROM products;"
                           " EXECUTE p; SET LOCAL app.organisation_id = 2; EXECUTE p"),
    _forge("cursor", "DECLARE c CURSOR FOR SELECT name FROM products; SET LOCAL app.organisation_id = 2; FETCH ALL FROM c"),
    _forge("cursor-half-way", "DECLARE c SCROLL CURSOR FOR SELECT name FROM products; FETCH 1 FROM c;"
                              " SET LOCAL app.organisation_id = 2; FETCH ALL FROM c; FETCH ABSOLUTE 1 FROM c", "rows"),
    _forge("query-to-xml", "SELECT query_to_xml('SELECT set_config(''app.organisation_id'', ''2'', true), name FROM products',"
                           " true, true, '')", "42501 rows"),
    _forge("query-to-xml-then-read", "SELECT query_to_xml('SELECT set_config(''app.organisation_id'', ''2'', true)', true,"
                                     " true, ''), p.name FROM products AS p", "42501 rows"),
    _forge("nested-query-to-xml", "SELECT query_to_xml('SELECT set_config(''app.organisation_id'', ''2'', false)', true, true, ''),"
                                  " query_to_xml('SELECT name FROM products', true, true, '')"),
    _forge("query-to-xml-schema", "SELECT query_to_xml_and_xmlschema('SELECT set_config(''app.organisation_id'', ''2'', false),"
                                  " name FROM products', true, true, '')", "42501 rows"),
    _forge("query-to-xmlschema", "SELECT set_config('app.organisation_id', '2', true);"
                                 " SELECT query_to_xmlschema('SELECT name FROM products', true, true, '')", "rows"),
    _forge("table-to-xml", "SELECT set_config('app.organisation_id', '2', true); SELECT table_to_xml('products', true, true, '')"),
    _forge("schema-to-xml", "SELECT set_config('app.organisation_id', '2', true);"
                            " SELECT schema_to_xml('public', true, true, '')", "rows 42501"),
    _forge("schema-to-xml-rows", "SELECT schema_to_xml('public', true, true, '')", "rows 42501"),
    _forge("database-to-xml", "SELECT set_config('app.organisation_id', '2', true); SELECT database_to_xml(true, true, '')",
           "rows 42501"),
    _forge("database-to-xml-rows", "SELECT database_to_xml(true, true, '')", "rows 42501"),
    _forge("cursor-to-xml", "DECLARE c CURSOR FOR SELECT name FROM products; SELECT set_config('app.organisation_id', '2', true);"
                            " SELECT cursor_to_xml('c', 100000, true, true, '')"),
    _forge("ts-stat", "SELECT word FROM ts_stat('SELECT to_tsvector(set_config(''app.organisation_id'', ''2'', true) || name)"
                      " FROM products')", "42501 rows"),
    _forge("ts-stat-then-read", "SELECT count(*) FROM ts_stat('SELECT to_tsvector(set_config(''app.organisation_id'', ''2'', true))');"
                                f" {_READ}"),
    _forge("ts-rewrite", "SELECT ts_rewrite('a'::tsquery, 'SELECT ''a''::tsquery, plainto_tsquery(name ||"
                         " set_config(''app.organisation_id'', ''2'', true)) FROM products')", "42501 rows"),
    _forge("xml-then-copy", "SELECT set_config('app.organisation_id', '2', true); COPY (SELECT name FROM products) TO STDOUT"),
    _forge("seal-over-commit",
           "SELECT set_config('mine.seal', current_setting('app.rlsgen_seal'), false); COMMIT; BEGIN;"
           " SELECT set_config('app.organisation_id', '2', true), set_config('app.team_id', '1', true),"
           " set_config('app.user_id', 'user_1', true), set_config('app.rlsgen_seal', current_setting('mine.seal'), true);"
           f" {_READ}"),
    _forge("swapped-fields",
           "SELECT set_config('app.organisation_id', current_setting('app.team_id'), true),"
           " set_config('app.user_id', current_setting('app.user_id') || ',', true); SELECT title FROM notes"),
    _forge("second-token", "SELECT rlsgen.set_context('<token>')"),
    _forge("second-token-in-savepoint", "SAVEPOINT a; SELECT rlsgen.set_context('<token>')"),
    _forge("no-token", "SELECT rlsgen.set_context(NULL)"),
    _forge("other-user", "SET SESSION AUTHORIZATION shop_owner; SELECT name FROM products"),
    _forge("other-user-by-setting", "SELECT set_config('session_authorization', 'shop_owner', true); SELECT name FROM products"),
    *(
        _forge(f"role-{role}", f"SET ROLE {role}; SELECT name FROM products")
        for role in ("shop_owner", "shop_app", "postgres", "pg_read_all_data", "pg_database_owner", "pg_monitor")
    ),
    _forge("role-by-setting", "SELECT set_config('role', 'shop_app', true); SELECT name FROM products"),
    _forge("role-none", f"SET ROLE NONE; {_READ}", "none"),
    _forge("role-none-after", f"SET LOCAL ROLE nl_conversation; {_READ}", "none"),
    _forge("row-security-off", "SET LOCAL row_security = off; SELECT name FROM products"),
    _forge("row-security-off-path", "SET LOCAL row_security = off; SELECT name FROM vault_entries"),
    _forge("replication-role", "SET session_replication_role = replica; SELECT name FROM products"),
    _forge("bypass", "ALTER ROLE CURRENT_USER BYPASSRLS"),
    _forge("superuser", "ALTER ROLE nl_conversation SUPERUSER"),
    _forge("membership", "GRANT shop_app TO CURRENT_USER"),
    _forge("functions", "SELECT rlsgen_private.forget('policy', 'public', 'orders', 'rlsgen_only_select')"),
    _forge("keys", "SELECT * FROM rlsgen_private.signing_key"),
    _forge("seal-key", "SELECT inner_pad FROM rlsgen_private.seal_key"),
    _forge("provision", "SELECT id FROM rlsgen.provision"),
    _forge("ledger", "SELECT * FROM rlsgen.object"),
    _forge("replace-accessor", "CREATE OR REPLACE FUNCTION rlsgen.organisation_id() RETURNS integer LANGUAGE sql AS 'SELECT 2'"),
    _forge("replace-accessor-body", "UPDATE pg_proc SET prosrc = 'BEGIN RETURN 2; END' WHERE proname = 'organisation_id'"),
    _forge("drop-policy", "DROP POLICY rlsgen_only_select ON products"),
    _forge("alter-policy", "ALTER POLICY rlsgen_only_select ON products USING (true)"),
    _forge("more-policy", "CREATE POLICY mine ON products USING (true)"),
    _forge("disable", "ALTER TABLE products DISABLE ROW LEVEL SECURITY"),
    _forge("catalog", "UPDATE pg_class SET relrowsecurity = false WHERE relname = 'products'"),
    _forge("variable-conflict", "SET plpgsql.variable_conflict = use_column; SELECT name FROM products"),
)  # fmt: skip

# THREATS B: what policies do not cover, and rights that undo them.
COVERING = (
    Attack("partition", 'SELECT path FROM "<partition>"'),
    Attack("sub-partition", 'SELECT path FROM "<leaf>"'),
    Attack("partition-write", "INSERT INTO \"<partition>\" SELECT 2, now(), gen_random_uuid(), 'user_1', 'view', '/', 1"),
    Attack("partition-through-parent", "SELECT path FROM events", "rows"),
    Attack("partition-only", "SELECT path FROM ONLY events", "none"),
    Attack("detach", 'ALTER TABLE events DETACH PARTITION "<partition>"'),
    Attack("child", "SELECT plate FROM trucks"),
    Attack("child-through-parent", "SELECT plate FROM vehicles", "rows"),
    Attack("parent-only", "SELECT plate FROM ONLY vehicles", "rows"),
    Attack("inherit", "CREATE TEMP TABLE mine () INHERITS (vehicles)"),
    Attack("view", "SELECT organisation_id, revenue FROM monthly_revenue WHERE organisation_id <> 1 OR revenue = 987654", "none"),
    Attack("replace-view", "CREATE OR REPLACE VIEW monthly_revenue AS SELECT 1"),
    Attack("view-option", "ALTER VIEW monthly_revenue SET (security_invoker = false)"),
    Attack("hidden-table", "SELECT name FROM api_keys"),
    Attack("hidden-parent", "SELECT secret FROM vaults"),
    Attack("hidden-count", "SELECT count(*) FROM vaults"),
    Attack("hidden-column", "SELECT password_hash FROM users"),
    Attack("hidden-column-where", "SELECT id FROM users WHERE password_hash LIKE 'C%'"),
    Attack("hidden-column-order", "SELECT id FROM users ORDER BY password_hash"),
    Attack("star", "SELECT * FROM users"),
    Attack("table-command", "TABLE users"),
    Attack("whole-row", "SELECT u FROM users AS u"),
    Attack("whole-row-text", "SELECT u::text FROM users AS u"),
    Attack("row-to-json", "SELECT row_to_json(u) FROM users AS u"),
    Attack("to-jsonb", "SELECT to_jsonb(u) FROM users AS u"),
    Attack("functional-notation", "SELECT u.row_to_json FROM users AS u"),
    Attack("functional-text", "SELECT text(u) FROM users AS u", UNDEFINED_FUNCTION),
    Attack("row-in-sub-query", "SELECT s FROM (SELECT u FROM users AS u) AS s"),
    Attack("row-star", "SELECT (u).* FROM users AS u"),
    Attack("row-field", "SELECT (u).password_hash FROM users AS u"),
    Attack("composite-cast", "SELECT (row(1, 2)::users).password_hash", "42846 42601"),
    Attack("composite-of-record", "SELECT (jsonb_populate_record(NULL::users, to_jsonb(u))).password_hash FROM users AS u"),
    Attack("count-row", "SELECT count(u) FROM users AS u"),
    Attack("row-is-null", "SELECT u IS NULL FROM users AS u"),
    Attack("row-compare", "SELECT 1 FROM users AS u WHERE u > row('', 0, 0, '', '', '', now(), now())"),
    Attack("array-of-rows", "SELECT array_agg(u) FROM users AS u"),
    Attack("natural-join", "SELECT 1 FROM users NATURAL JOIN (SELECT 'x'::text AS password_hash) AS p"),
    Attack("using-join", "SELECT * FROM users JOIN (SELECT 'x'::text AS password_hash) AS p USING (password_hash)"),
    Attack("using-join-full", "SELECT password_hash FROM users FULL JOIN (SELECT 'x'::text AS password_hash) AS p"
                              " USING (password_hash)"),
    Attack("using-join-alias", "SELECT j.password_hash FROM users JOIN (SELECT 'x'::text AS password_hash) AS p"
                               " USING (password_hash) AS j"),
    Attack("column-alias", "SELECT f FROM users AS u(a, b, c, d, e, f, g, h)"),
    Attack("group-by-row", "SELECT 1 FROM users AS u GROUP BY u"),
    Attack("distinct-row", "SELECT DISTINCT u FROM users AS u"),
    Attack("functional-dependency", "SELECT id, password_hash FROM users GROUP BY id"),
    Attack("merge-hidden", "MERGE INTO users AS u USING (SELECT 1) AS s ON true WHEN MATCHED THEN UPDATE SET name = u.password_hash"),
    Attack("copy-table", "COPY users TO STDOUT"),
    Attack("copy-hidden-column", "COPY users (password_hash) TO STDOUT"),
    Attack("copy-shown", "COPY users (id, name) TO STDOUT", "rows"),
    Attack("copy-query", "COPY (SELECT name FROM products) TO STDOUT", "rows"),
    Attack("copy-partition", 'COPY "<partition>" TO STDOUT'),
    Attack("copy-from", "COPY notes (user_id, title) FROM STDIN", "42501 0A000"),
    Attack("copy-program", "COPY (SELECT 1) TO PROGRAM 'true'"),
    Attack("copy-file", "COPY (SELECT 1) TO '/tmp/rlsgen-hostile'"),
    Attack("read-file", "SELECT pg_read_file('PG_VERSION')"),
    Attack("system-columns", "SELECT ctid, xmin FROM users LIMIT 1"),
    Attack("table-oid", "SELECT tableoid::regclass FROM events"),
    Attack("by-ctid", "SELECT name FROM products WHERE organisation_id = 2 AND ctid = '(0,1)'"),
    Attack("ctid-function", "SELECT currtid2('products', '(0,1)')", "42501 42883"),
    Attack("truncate", "TRUNCATE notes"),
    Attack("truncate-cascade", "TRUNCATE orders CASCADE"),
    Attack("references", "CREATE TABLE mine (id integer REFERENCES products)"),
    Attack("references-temp", "CREATE TEMP TABLE mine (id integer REFERENCES products)"),
    Attack("trigger", "CREATE TRIGGER mine BEFORE INSERT ON notes FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()"),
    Attack("rule", "CREATE RULE mine AS ON INSERT TO notes DO ALSO SELECT 1"),
    Attack("index", "CREATE INDEX ON notes ((title::integer))"),
    Attack("statistics", "CREATE STATISTICS mine ON name, sku FROM products"),
    Attack("analyze", "ANALYZE products", "none"),
    Attack("comment", "COMMENT ON TABLE products IS 'x'"),
    Attack("add-column", "ALTER TABLE notes ADD COLUMN x integer"),
    Attack("own-table", "CREATE TABLE mine (x integer)"),
    Attack("own-table-rlsgen", "CREATE TABLE rlsgen.mine (x integer)"),
    Attack("own-schema", "CREATE SCHEMA mine"),
    Attack("own-view", "CREATE VIEW mine AS SELECT 1"),
    Attack("own-function", "CREATE FUNCTION mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'"),
    Attack("own-temp-table", "CREATE TEMP TABLE mine (x integer)"),
    Attack("select-into-temp", "SELECT name INTO TEMP mine FROM products"),
    Attack("like", "CREATE TEMP TABLE mine (LIKE users)"),
    Attack("temp-function", "CREATE FUNCTION pg_temp.mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'"),
    Attack("sequence-read", "SELECT last_value FROM notes_id_seq"),
    Attack("sequence-set", "SELECT setval('notes_id_seq', 1)"),
    Attack("sequence-other", "SELECT nextval('products_id_seq')"),
    Attack("sequence-restart", "ALTER SEQUENCE notes_id_seq RESTART"),
    Attack("large-object-import", "SELECT lo_import('/etc/hostname')"),
    Attack("foreign-server", "CREATE SERVER mine FOREIGN DATA WRAPPER none", "42501 42704"),
    Attack("extension", "CREATE EXTENSION dblink", "42501 58P01 0A000"),
    Attack("publication", "CREATE PUBLICATION mine FOR TABLE products"),
    Attack("slot", "SELECT pg_create_logical_replication_slot('mine', 'pgoutput')", "42501 55000"),
    Attack("untrusted-language", "DO LANGUAGE c 'x'", "42501 0A000 42704"),
    Attack("lock", "LOCK TABLE products IN ACCESS EXCLUSIVE MODE"),
    Attack("lock-share", "LOCK TABLE products IN ACCESS SHARE MODE"),
    Attack("for-update", "SELECT name FROM products FOR UPDATE"),
    Attack("grant", "GRANT SELECT (name) ON products TO PUBLIC", "none"),
    Attack("default-privileges", "ALTER DEFAULT PRIVILEGES FOR ROLE shop_owner GRANT ALL ON TABLES TO PUBLIC"),
    Attack("owner", "REASSIGN OWNED BY shop_owner TO CURRENT_USER"),
    Attack("drop-owned-others", "DROP OWNED BY shop_owner"),
    Attack("policy-function", "SELECT rlsgen.set_context(x) FROM (SELECT '<token>' AS x) AS s"),
)  # fmt: skip

# Writes: own rows only, whatever the form.
_NEW = "INSERT INTO notes (user_id, title) VALUES"
WRITING = (
    Attack("insert-own", f"{_NEW} ('user_1', 'mine') RETURNING id > 0", "rows"),
    Attack("insert-foreign", f"{_NEW} ('user_301', 'x')"),
    Attack("insert-many", f"{_NEW} ('user_1', 'x'), ('user_301', 'x')"),
    Attack("insert-select", "INSERT INTO notes (user_id, title) SELECT u, 'x' FROM unnest(ARRAY['user_1', 'user_301']) AS u"),
    Attack("insert-id", "INSERT INTO notes (id, user_id, title) VALUES (1, 'user_1', 'x')"),
    Attack("insert-default-user", "INSERT INTO notes (title) VALUES ('x')", "42501 23502"),
    Attack("insert-returning-more", f"{_NEW} ('user_1', 'x') RETURNING (SELECT string_agg(title, ',') FROM notes)", "rows"),
    Attack("insert-read-only-table", "INSERT INTO products (organisation_id, sku, name, price) VALUES (1, 'x', 'x', 1)"),
    Attack("on-conflict-id", f"{_NEW} ('user_1', 'x') ON CONFLICT (id) DO UPDATE SET title = 'x'", "none"),
    Attack("on-conflict-any", f"{_NEW} ('user_1', 'x') ON CONFLICT DO NOTHING", "none"),
    Attack("on-conflict-template",
           "INSERT INTO templates (organisation_id, name, body) VALUES (2, 'x', 'x') ON CONFLICT (organisation_id, name)"
           " DO UPDATE SET body = 'x'"),
    Attack("update-own", "UPDATE notes SET pinned = NOT pinned RETURNING id > 0", "rows"),
    Attack("update-foreign", "UPDATE notes SET title = 'x' WHERE user_id <> 'user_1' RETURNING title", "none"),
    Attack("update-all-returning", "UPDATE templates SET body = body RETURNING organisation_id", "rows"),
    Attack("update-shared", "UPDATE templates SET body = 'x' WHERE organisation_id IS NULL RETURNING id", "none"),
    Attack("update-move-away", "UPDATE notes SET user_id = 'user_301'"),
    Attack("update-move-template", "UPDATE templates SET organisation_id = 2"),
    Attack("update-template-shared", "UPDATE templates SET organisation_id = NULL"),
    Attack("update-take-over", "UPDATE templates SET organisation_id = 1 WHERE organisation_id IS NULL RETURNING id", "none"),
    Attack("update-id", "UPDATE notes SET id = 1"),
    Attack("update-read-only-table", "UPDATE products SET name = 'x'"),
    Attack("update-hidden", "UPDATE users SET password_hash = 'x'"),
    Attack("update-from", "UPDATE notes SET body = t.body FROM templates AS t WHERE t.name = 'Welcome' RETURNING t.body", "rows"),
    Attack("update-leaky", "UPDATE notes SET title = 'x' WHERE (title || '')::integer > 0", "22P02"),
    Attack("delete-foreign", "DELETE FROM notes WHERE user_id <> 'user_1' RETURNING title", "none"),
    Attack("delete-all", "DELETE FROM notes RETURNING user_id", "rows"),
    Attack("delete-shared", "DELETE FROM templates WHERE organisation_id IS NULL"),
    Attack("delete-cascade", "DELETE FROM orders"),
    Attack("cursor-where-current", "DECLARE c CURSOR FOR SELECT title FROM notes FOR UPDATE; FETCH 1 FROM c;"
                                   " UPDATE notes SET user_id = 'user_301' WHERE CURRENT OF c"),
    Attack("merge-insert", "MERGE INTO notes AS n USING (SELECT 'user_301' AS u) AS s ON false"
                           " WHEN NOT MATCHED THEN INSERT (user_id, title) VALUES (s.u, 'x')"),
    Attack("merge-update", "MERGE INTO notes AS n USING (SELECT 1) AS s ON n.user_id <> 'user_1'"
                           " WHEN MATCHED THEN UPDATE SET title = 'x'", "none"),
    Attack("merge-move", "MERGE INTO notes AS n USING (SELECT 1) AS s ON true WHEN MATCHED THEN UPDATE SET user_id = 'user_301'"),
    Attack("merge-delete", "MERGE INTO templates AS t USING (SELECT 1) AS s ON t.organisation_id IS NULL"
                           " WHEN MATCHED THEN DELETE"),
    Attack("merge-shared", "MERGE INTO templates AS t USING (SELECT 1) AS s ON t.organisation_id IS NULL"
                           " WHEN MATCHED THEN UPDATE SET body = 'x'"),
    Attack("merge-not-matched-by-source", "MERGE INTO notes AS n USING (SELECT 1 WHERE false) AS s ON true"
                                          " WHEN NOT MATCHED BY SOURCE THEN DELETE RETURNING n.user_id", "rows", since=17),
    Attack("returning-old", "UPDATE notes SET title = 'x' RETURNING old.title, new.title", "rows", since=18),
    Attack("child-insert-own", "INSERT INTO remarks (note_id, body) SELECT min(id), 'x' FROM notes RETURNING body", "rows"),
    Attack("child-insert-foreign", "INSERT INTO remarks (note_id, body) SELECT n, 'x' FROM generate_series(1, 3000) AS n"),
    Attack("child-move", "UPDATE remarks SET note_id = note_id + 1"),
    Attack("child-delete", "DELETE FROM remarks RETURNING body", "rows"),
    Attack("child-id", "INSERT INTO remarks (id, note_id, body) OVERRIDING SYSTEM VALUE SELECT 1, min(id), 'x' FROM notes"),
    Attack("cte-write", "WITH w AS (UPDATE notes SET user_id = 'user_301' RETURNING *) SELECT * FROM w"),
    Attack("cte-delete", "WITH w AS (DELETE FROM notes WHERE user_id <> 'user_1' RETURNING title) SELECT * FROM w", "none"),
    Attack("write-then-commit", f"{_NEW} ('user_301', 'x'); COMMIT"),
    Attack("view-write", "UPDATE monthly_revenue SET revenue = 0", "55000 42501"),
    Attack("function-write", "DO $$ BEGIN UPDATE templates SET body = 'x' WHERE organisation_id = 2; END $$", "none"),
)  # fmt: skip

# What planner, errors and catalogs could tell of rows behind the policies; ring 1's part of it.
_XMLS = "query_to_xml('SELECT {}', true, true, '')"
TELLING = (
    Attack("pg-stats", "SELECT tablename, most_common_vals, histogram_bounds FROM pg_stats WHERE schemaname = 'public'"
                       " AND tablename NOT IN ('countries')", "none"),
    Attack("pg-statistic", "SELECT * FROM pg_statistic"),
    Attack("pg-stats-ext", "SELECT * FROM pg_stats_ext", "none"),
    Attack("pg-stats-ext-exprs", "SELECT * FROM pg_stats_ext_exprs", "none"),
    Attack("pg-statistic-ext-data", "SELECT * FROM pg_statistic_ext_data"),
    Attack("cast-error", "SELECT name::integer FROM products", "22P02"),
    Attack("cast-error-where", "SELECT 1 FROM products WHERE name::integer = 1", "22P02"),
    Attack("cast-error-path", "SELECT 1 FROM vault_entries WHERE name::integer = 1", "22P02"),
    Attack("cast-error-path-key", "SELECT 1 FROM vault_entries WHERE vault_id::integer = 7", "none"),
    Attack("cast-error-tree", "SELECT name::integer FROM folders", "22P02"),
    Attack("division", "SELECT 1 / (total - 987654) FROM orders", "rows"),
    Attack("division-path", "SELECT 1 / (quantity - 987654) FROM order_items", "rows"),
    Attack("leaky-join", "SELECT 1 FROM products AS a JOIN products AS b ON a.name::integer = b.stock", "22P02"),
    Attack("leaky-operator", "SELECT name FROM products WHERE name ~ '('", "2201B"),
    Attack("leaky-like", "SELECT name FROM products WHERE name LIKE E'CAN%\\\\'", "22025 none"),
    Attack("assert", "DO $$ BEGIN ASSERT false, (SELECT string_agg(name, ',') FROM products); END $$", "P0004"),
    Attack("raise", "DO $$ BEGIN RAISE '%', (SELECT string_agg(name, ',') FROM products); END $$", "P0001"),
    Attack("aggregate-window", "SELECT max(name) OVER (), min(name) OVER () FROM products", "rows"),
    Attack("sampling", "SELECT name FROM products TABLESAMPLE SYSTEM (100)", "rows"),
    Attack("path-function", "SELECT vault_id FROM vault_entries", "rows"),
    Attack("tree", "SELECT name FROM folders", "rows"),
    Attack("explain-verbose", "EXPLAIN (VERBOSE) SELECT name FROM vault_entries WHERE name > 'A'", "rows"),
    Attack("explain-analyze", "EXPLAIN (ANALYZE, VERBOSE, BUFFERS) SELECT name FROM folders", "rows"),
    Attack("explain-settings", "EXPLAIN (VERBOSE, SETTINGS) SELECT name FROM products", "rows"),
    Attack("debug-plan", "SET client_min_messages = log; SET debug_print_plan = on; SET debug_print_parse = on;"
                         " SET debug_print_rewritten = on; SELECT name FROM products", "rows"),
    Attack("debug-key", "SET client_min_messages = log; SET debug_print_plan = on; SELECT 1 FROM rlsgen_private.seal_key"
                        " WHERE inner_pad > 'x'"),
    Attack("xml-rows", f"SELECT {_XMLS.format('name FROM vault_entries')}", "rows"),
    Attack("column-privilege-of-view", "SELECT * FROM monthly_revenue WHERE revenue::text::date IS NULL", "22007"),
)  # fmt: skip

ATTACKS = (*FORGING, *COVERING, *WRITING, *TELLING)
