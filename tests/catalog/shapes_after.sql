-- As superuser again.
CREATE TABLE public.of_extension (id integer);
ALTER EXTENSION citext ADD TABLE public.of_extension;
CREATE FUNCTION public.of_extension_function() RETURNS integer LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
ALTER EXTENSION citext ADD FUNCTION public.of_extension_function();
CREATE PUBLICATION everything FOR ALL TABLES;
CREATE PUBLICATION of_schemas FOR TABLES IN SCHEMA shop, {hostile_schema}, TABLE public.father;
CREATE SUBSCRIPTION sub CONNECTION {conninfo} PUBLICATION everything WITH (connect = false, slot_name = NONE);
SET allow_system_table_mods = on;
INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate)
SELECT oid, 'public.mother'::regclass, 'r' FROM pg_subscription WHERE subname = 'sub';
RESET allow_system_table_mods;
CREATE TABLE shop.owned_by_conversation (id integer);
ALTER TABLE shop.owned_by_conversation OWNER TO {conversation};
GRANT SELECT ON pg_catalog.pg_authid TO {conversation};
GRANT CONNECT ON DATABASE {database} TO {conversation};
GRANT USAGE ON FOREIGN SERVER elsewhere TO {conversation};
