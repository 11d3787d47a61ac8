SELECT pg_catalog.set_config('rlsgen_was.within', 'a transaction', true);

DO $rlsgen$
BEGIN
  IF pg_catalog.current_setting('rlsgen_was.within', true) IS DISTINCT FROM 'a transaction' THEN
    RAISE no_active_sql_transaction USING
      MESSAGE = 'operations of rlsgen need a transaction: between two of their statements a table could be open',
      HINT = 'take them out of autocommit_block(), and leave transactional_ddl on';
  END IF;
END
$rlsgen$;

SELECT pg_catalog.pg_advisory_xact_lock(2205720906252357473);

SELECT pg_catalog.set_config(pg_catalog.concat('rlsgen_was.', s.name), pg_catalog.current_setting(s.name), true), pg_catalog.set_config(s.name, s.value, true)
FROM (VALUES ('search_path', 'pg_catalog, "public", pg_temp'), ('lock_timeout', CASE pg_catalog.current_setting('lock_timeout') WHEN '0' THEN '800ms' ELSE pg_catalog.current_setting('lock_timeout') END), ('standard_conforming_strings', 'on'), ('DateStyle', 'ISO, YMD'), ('IntervalStyle', 'postgres'), ('TimeZone', 'UTC'), ('check_function_bodies', 'on'), ('row_security', 'on'), ('client_min_messages', 'warning')) AS s (name, value);

SELECT 1;

DO $rlsgen1$
DECLARE
  statement text := $rlsgen$REVOKE TEMPORARY ON DATABASE "rlsgen_this_database" FROM PUBLIC$rlsgen$;
  cluster text := '';
BEGIN
  IF pg_catalog.current_database() ~ '["''\\]' THEN
    RAISE invalid_name USING
      MESSAGE = 'the name of this database has a quote or a backslash, which migrations cannot carry',
      HINT = 'rename the database, or use rlsgen apply here';
  END IF;
  IF pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE') THEN
    cluster := (SELECT c.system_identifier::text FROM pg_catalog.pg_control_system() AS c);
  END IF;
  statement := pg_catalog.replace(statement, 'rlsgen_this_database', pg_catalog.current_database());
  EXECUTE pg_catalog.replace(statement, 'rlsgen_this_cluster', cluster);
END
$rlsgen1$;

SELECT ':name', '%';

SELECT pg_catalog.set_config(s.name, pg_catalog.current_setting(pg_catalog.concat('rlsgen_was.', s.name)), true)
FROM (VALUES ('search_path'), ('lock_timeout'), ('standard_conforming_strings'), ('DateStyle'), ('IntervalStyle'), ('TimeZone'), ('check_function_bodies'), ('row_security'), ('client_min_messages')) AS s (name);

DO $rlsgen$
DECLARE
  one regclass;
  forced text := '';
BEGIN
  FOREACH one IN ARRAY ARRAY['orders']::regclass[] LOOP
    IF (SELECT c.relforcerowsecurity FROM pg_catalog.pg_class AS c WHERE c.oid = one) THEN
      EXECUTE pg_catalog.format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY', one);
      forced := pg_catalog.concat(forced, one::oid, ' ');
    END IF;
    IF pg_catalog.row_security_active(one) THEN
      RAISE insufficient_privilege USING
        MESSAGE = pg_catalog.format('row security of %s applies to %I, who may not see every row', one, current_user),
        HINT = 'run the migration as the owner of the table';
    END IF;
  END LOOP;
  PERFORM pg_catalog.set_config('rlsgen_was.forced_1c168adb00d208e4', forced, true);
END
$rlsgen$;

UPDATE orders SET total = 0;

DO $rlsgen$
DECLARE
  one text;
BEGIN
  FOREACH one IN ARRAY pg_catalog.string_to_array(pg_catalog.btrim(pg_catalog.current_setting('rlsgen_was.forced_1c168adb00d208e4')), ' ') LOOP
    EXECUTE pg_catalog.format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', one::oid::regclass);
  END LOOP;
END
$rlsgen$;

