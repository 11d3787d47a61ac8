-- What the self-check judges, as one value of type json, read as the conversation role. No privilege is needed but the
-- catalog's own. $1: the spec's schemas; $2: the columns that it hides.
WITH me AS (
  SELECT r.oid, r.rolname, r.rolsuper, r.rolbypassrls, r.rolreplication, r.rolcreaterole, r.rolcreatedb
  FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user
), here AS (
  SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()
), schemas AS (
  SELECT n.oid, n.nspname FROM pg_catalog.pg_namespace AS n
  WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
), reached AS (
  SELECT s.oid, s.nspname FROM schemas AS s WHERE pg_catalog.has_schema_privilege(s.oid, 'USAGE')
), relations AS (
  SELECT c.oid, s.nspname, c.relname, c.relkind, c.relrowsecurity, c.reloptions,
    CASE WHEN c.relkind = 'S' THEN ARRAY(
      SELECT p FROM unnest(ARRAY['USAGE', 'SELECT', 'UPDATE']) AS p WHERE pg_catalog.has_sequence_privilege(c.oid, p)
    ) ELSE ARRAY(
      SELECT p FROM unnest(ARRAY['DELETE', 'TRUNCATE', 'TRIGGER']) AS p WHERE pg_catalog.has_table_privilege(c.oid, p)
      UNION ALL
      SELECT p FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) AS p
      WHERE pg_catalog.has_any_column_privilege(c.oid, p)
      UNION ALL
      SELECT 'MAINTAIN' WHERE CASE WHEN pg_catalog.current_setting('server_version_num')::integer >= 170000
        THEN pg_catalog.has_table_privilege(c.oid, 'MAINTAIN') END
    ) END AS held
  FROM reached AS s JOIN pg_catalog.pg_class AS c ON c.relnamespace = s.oid
  WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
), policies AS (  -- those that apply to the role; gathered once, not table by table: JIT compiles what looks expensive
  SELECT p.polrelid, pg_catalog.json_agg(pg_catalog.json_build_array(
    p.polname, p.polcmd::text, p.polpermissive, me.oid = ANY (p.polroles))) AS all_of_it
  FROM pg_catalog.pg_policy AS p, me
  WHERE EXISTS (SELECT FROM unnest(p.polroles) AS named (role)
    WHERE named.role = 0 OR pg_catalog.pg_has_role(named.role, 'USAGE'))
  GROUP BY p.polrelid
), serving AS (  -- the tables whose columns draw from a sequence
  SELECT d.refobjid, pg_catalog.json_agg(ARRAY[n.nspname, t.relname]::text[]) AS tables
  FROM pg_catalog.pg_depend AS d JOIN pg_catalog.pg_attrdef AS f ON f.oid = d.objid
  JOIN pg_catalog.pg_class AS t ON t.oid = f.adrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace
  WHERE d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
    AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
    AND d.refobjid IN (SELECT r.oid FROM relations AS r WHERE r.relkind = 'S' AND r.held <> '{}')
  GROUP BY d.refobjid
)
SELECT pg_catalog.json_build_object(
  'role', (SELECT pg_catalog.json_build_object('name', me.rolname, 'SUPERUSER', me.rolsuper, 'BYPASSRLS', me.rolbypassrls,
      'REPLICATION', me.rolreplication, 'CREATEROLE', me.rolcreaterole, 'CREATEDB', me.rolcreatedb) FROM me),
  'backend', pg_catalog.pg_backend_pid(),
  'session_user', session_user,
  'database', pg_catalog.current_database(),
  'version', pg_catalog.current_setting('server_version_num')::integer,
  'standby', pg_catalog.pg_is_in_recovery(),
  'member_of', ARRAY(SELECT r.rolname FROM pg_catalog.pg_auth_members AS m JOIN me ON m.member = me.oid
    JOIN pg_catalog.pg_roles AS r ON r.oid = m.roleid ORDER BY 1),
  'settings', ARRAY(SELECT DISTINCT pg_catalog.split_part(setting, '=', 1)
    FROM pg_catalog.pg_db_role_setting AS s JOIN me ON s.setrole = me.oid, here, unnest(s.setconfig) AS setting
    WHERE s.setdatabase IN (0, here.oid) ORDER BY 1),
  'owned', ARRAY(SELECT pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid)
    FROM pg_catalog.pg_shdepend AS d JOIN me ON d.refobjid = me.oid, here
    WHERE d.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND d.deptype = 'o' AND d.dbid IN (0, here.oid)
    ORDER BY d.classid, d.objid LIMIT 4),
  'on_database', ARRAY(SELECT p FROM unnest(ARRAY['TEMPORARY', 'CREATE']) AS p
    WHERE pg_catalog.has_database_privilege(pg_catalog.current_database(), p)),
  'create_in', ARRAY(SELECT s.nspname FROM schemas AS s WHERE pg_catalog.has_schema_privilege(s.oid, 'CREATE') ORDER BY 1),
  -- Read and not called: a function that is missing would fail the whole query.
  'fingerprint', (SELECT p.prosrc FROM pg_catalog.pg_proc AS p JOIN reached AS s ON s.oid = p.pronamespace
    WHERE s.nspname = 'rlsgen' AND p.proname = 'fingerprint' AND p.pronargs = 0),
  'functions', ARRAY(SELECT p.proname FROM pg_catalog.pg_proc AS p JOIN reached AS s ON s.oid = p.pronamespace
    WHERE s.nspname = 'rlsgen' AND pg_catalog.has_function_privilege(p.oid, 'EXECUTE') ORDER BY 1),
  'definers', ARRAY(SELECT p.oid::pg_catalog.regprocedure::text FROM pg_catalog.pg_proc AS p
    JOIN reached AS s ON s.oid = p.pronamespace
    WHERE p.prosecdef AND s.nspname <> 'rlsgen' AND pg_catalog.has_function_privilege(p.oid, 'EXECUTE')
      AND p.prorettype NOT IN ('pg_catalog.trigger'::pg_catalog.regtype, 'pg_catalog.event_trigger'::pg_catalog.regtype)
    ORDER BY 1),
  'relations', (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
      'schema', r.nspname, 'name', r.relname, 'kind', r.relkind::text, 'row_security', r.relrowsecurity, 'held', r.held,
      'invoker', (SELECT o.option_value::boolean FROM pg_catalog.pg_options_to_table(r.reloptions) AS o
        WHERE o.option_name = 'security_invoker'),
      'whole', r.relkind <> 'S' AND pg_catalog.has_table_privilege(r.oid, 'SELECT'),
      'hidden', CASE WHEN 'SELECT' = ANY (r.held) THEN ARRAY(SELECT a.attname FROM pg_catalog.pg_attribute AS a
        WHERE a.attrelid = r.oid AND a.attname = ANY ($2::text[]) AND NOT a.attisdropped
          AND pg_catalog.has_column_privilege(r.oid, a.attnum, 'SELECT')) END,
      'serves', serving.tables,
      'policies', policies.all_of_it
    )), '[]')
    FROM relations AS r LEFT JOIN policies ON policies.polrelid = r.oid LEFT JOIN serving ON serving.refobjid = r.oid
    WHERE r.held <> '{}' OR (r.nspname = ANY ($1::text[]) AND r.relkind IN ('r', 'p')))
)
