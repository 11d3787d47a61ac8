"""What a hostile conversation does that got CREATE on schema public and TEMP on the database back, on purpose."""

from __future__ import annotations

from tests.hostile.attacks import Attack

_SPY = (
    "CREATE FUNCTION spy(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS"
    " $$ BEGIN RAISE NOTICE '%', $1; RETURN true; END $$; "
)
_SPY_OPERATOR = (
    "CREATE FUNCTION spy(text, text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS"
    " $$ BEGIN RAISE NOTICE '% %', $1, $2; RETURN true; END $$;"
    " CREATE OPERATOR ### (LEFTARG = text, RIGHTARG = text, FUNCTION = spy, RESTRICT = eqsel, JOIN = eqjoinsel); "
)
_FOREIGN_FIRST = "SET LOCAL search_path = pg_temp, public, pg_catalog;"
_SETTING = "current_setting(text, boolean) RETURNS text LANGUAGE sql AS $$ SELECT '2' $$"
_SEEN = {
    "products": "name", "users": "email", "vault_entries": "vault_id", "folders": "name", "order_items": "quantity",
    "events": "path", "vehicles": "plate", "templates": "name", "notes": "title", "remarks": "body",
    "monthly_revenue": "revenue",
}  # fmt: skip

GENEROUS = (
    *(
        Attack(f"spy-{table}", f"{_SPY} SELECT 1 FROM {table} WHERE spy({column}::text)", "rows")
        for table, column in _SEEN.items()
    ),
    *(
        Attack(f"spy-operator-{table}", f"{_SPY_OPERATOR} SELECT 1 FROM {table} WHERE {column}::text ### 'x'", "rows")
        for table, column in _SEEN.items()
    ),
    Attack("spy-join", f"{_SPY_OPERATOR} SELECT 1 FROM products AS a JOIN folders AS b ON a.name ### b.name", "rows"),
    Attack("spy-lateral", f"{_SPY} SELECT 1 FROM products AS p, LATERAL (SELECT spy(p.name) OFFSET 0) AS s", "rows"),
    Attack("spy-update", f"{_SPY} UPDATE notes SET pinned = true WHERE spy(title) RETURNING 1", "rows"),
    Attack("spy-update-templates", f"{_SPY} UPDATE templates SET body = 'x' WHERE spy(name) RETURNING 1", "rows"),
    Attack("spy-delete", f"{_SPY} DELETE FROM templates WHERE spy(name)"),
    Attack("spy-merge", f"{_SPY} MERGE INTO notes AS n USING (SELECT 1) AS s ON spy(n.title) WHEN MATCHED THEN"
                        " UPDATE SET body = 'x'", "none"),
    Attack("spy-conflict", f"{_SPY} INSERT INTO notes (user_id, title) VALUES ('user_1', 'x') ON CONFLICT (id)"
                           " DO UPDATE SET title = 'x' WHERE spy(notes.title)", "none"),
    Attack("spy-aggregate", "CREATE FUNCTION collect(text, text) RETURNS text LANGUAGE plpgsql AS"
                            " $$ BEGIN RAISE NOTICE '%', $2; RETURN $1 || $2; END $$;"
                            " CREATE AGGREGATE gather (text) (SFUNC = collect, STYPE = text, INITCOND = '');"
                            " SELECT gather(name) FROM products", "rows"),
    Attack("leakproof", "CREATE FUNCTION spy(text) RETURNS boolean LANGUAGE sql LEAKPROOF AS 'SELECT true'"),
    Attack("view", "CREATE VIEW mine AS SELECT name FROM products; SELECT name FROM mine", "rows"),
    Attack("view-over-hidden", "CREATE VIEW mine AS SELECT secret FROM vaults; SELECT secret FROM mine"),
    Attack("view-spy", f"{_SPY} CREATE VIEW mine AS SELECT name FROM products WHERE spy(name); SELECT name FROM mine", "rows"),
    Attack("definer", "CREATE FUNCTION mine() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER AS 'SELECT name FROM products';"
                      " SELECT mine()", "rows"),
    Attack("function-setting", "CREATE FUNCTION mine() RETURNS SETOF text LANGUAGE sql SET app.organisation_id = '2' AS"
                               " 'SELECT name FROM products'; SELECT mine()"),
    Attack("function-row-security", "CREATE FUNCTION mine() RETURNS SETOF text LANGUAGE sql SET row_security = off AS"
                                    " 'SELECT name FROM products'; SELECT mine()"),
    Attack("function-role", "CREATE FUNCTION mine() RETURNS SETOF text LANGUAGE sql SET role = shop_app AS"
                            " 'SELECT name FROM products'; SELECT mine()"),
    Attack("rule", "CREATE VIEW mine AS SELECT 1 AS x; CREATE RULE r AS ON INSERT TO mine DO INSTEAD"
                   " UPDATE templates SET body = 'x' WHERE organisation_id = 2; INSERT INTO mine VALUES (1)", "none"),
    Attack("foreign-key", "CREATE TABLE mine (id integer REFERENCES products)"),
    Attack("foreign-key-reversed", "CREATE TABLE mine (id bigint PRIMARY KEY);"
                                   " ALTER TABLE notes ADD FOREIGN KEY (id) REFERENCES mine"),
    Attack("own-trigger", "CREATE TABLE mine (x text); CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS"
                          " $$ BEGIN NEW.x := (SELECT string_agg(name, ',') FROM products); RETURN NEW; END $$;"
                          " CREATE TRIGGER t BEFORE INSERT ON mine FOR EACH ROW EXECUTE FUNCTION f();"
                          " INSERT INTO mine VALUES ('') RETURNING x", "rows"),
    Attack("matview", "CREATE MATERIALIZED VIEW mine AS SELECT name FROM products; SELECT name FROM mine", "rows"),
    Attack("table-as", "CREATE TABLE mine AS SELECT * FROM products; SELECT name FROM mine", "rows"),
    Attack("inherit", "CREATE TABLE mine () INHERITS (products)"),
    Attack("partition", "CREATE TABLE mine PARTITION OF events DEFAULT"),
    Attack("like", "CREATE TABLE mine (LIKE events)"),
    Attack("large-object", "SELECT lo_from_bytea(4711, 'mine'); SELECT lo_get(4711)", "rows"),
    Attack("shadow-table", "CREATE TEMP TABLE orders AS SELECT g AS id, 1 AS organisation_id FROM generate_series(1, 20000) AS g;"
                           f" {_FOREIGN_FIRST} SELECT quantity FROM order_items WHERE quantity > 900000", "none"),
    Attack("shadow-tree", "CREATE TEMP TABLE folders (id bigint, parent_id bigint, organisation_id integer, name text);"
                          f" INSERT INTO folders SELECT g, NULL, 1, 'x' FROM generate_series(1, 9) AS g; {_FOREIGN_FIRST}"
                          " SELECT name FROM public.folders", "rows"),
    Attack("shadow-hidden", "CREATE TEMP TABLE vaults AS SELECT g AS id, 1 AS organisation_id FROM generate_series(1, 9) AS g;"
                            f" {_FOREIGN_FIRST} SELECT name FROM vault_entries", "rows"),
    Attack("shadow-keys", "CREATE TEMP TABLE seal_key (inner_pad bytea, outer_pad bytea); INSERT INTO seal_key VALUES ('', '');"
                          f" {_FOREIGN_FIRST} SET LOCAL app.organisation_id = 2; SELECT name FROM products"),
    Attack("shadow-function", f"CREATE FUNCTION pg_temp.{_SETTING}; CREATE FUNCTION public.{_SETTING};"
                              f" {_FOREIGN_FIRST} SELECT name FROM products", "rows"),
    Attack("shadow-accessor", "CREATE FUNCTION public.organisation_id() RETURNS integer LANGUAGE sql AS 'SELECT 2';"
                              f" {_FOREIGN_FIRST} SELECT name FROM products", "rows"),
    Attack("shadow-operator", "CREATE FUNCTION yes(integer, integer) RETURNS boolean LANGUAGE sql AS 'SELECT true';"
                              " CREATE OPERATOR public.= (LEFTARG = integer, RIGHTARG = integer, FUNCTION = yes);"
                              f" {_FOREIGN_FIRST} SELECT name FROM products", "rows"),
    Attack("shadow-seal-operator", "CREATE FUNCTION yes(bytea, bytea) RETURNS boolean LANGUAGE sql AS 'SELECT true';"
                                   " CREATE OPERATOR public.= (LEFTARG = bytea, RIGHTARG = bytea, FUNCTION = yes);"
                                   " SET LOCAL search_path = public, pg_catalog; SET LOCAL app.organisation_id = 2;"
                                   " SELECT name FROM products"),
    Attack("shadow-type", f'CREATE DOMAIN pg_temp."integer" AS text; CREATE DOMAIN pg_temp.bool AS text; {_FOREIGN_FIRST}'
                          " SELECT name FROM products", "rows"),
    Attack("shadow-cast", "CREATE TYPE mine AS ENUM ('x'); CREATE FUNCTION c(integer) RETURNS mine LANGUAGE sql AS"
                          " $$ SELECT 'x'::mine $$; CREATE CAST (integer AS mine) WITH FUNCTION c(integer) AS IMPLICIT;"
                          " SELECT name FROM products", "rows"),
)  # fmt: skip
