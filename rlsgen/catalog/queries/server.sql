-- The database and the session, and which of the optional queries may run: true, false, or NULL where there is nothing to read.
SELECT
    d.datname,
    d.datdba,
    coalesce(d.datacl, acldefault('d', d.datdba))::text,
    current_user::text,
    pg_is_in_recovery(),
    pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean,
    has_database_privilege(d.oid, 'CREATE'),
    has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE'),
    (
        SELECT has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = 'rlsgen' AND c.relname = 'object'
    ),
    (
        SELECT has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = 'rlsgen' AND c.relname = 'provision'
    ),
    (
        -- Row security without policies stops everybody whom it applies to.
        SELECT bool_and(
            has_schema_privilege(n.oid, 'USAGE')
            AND has_table_privilege(c.oid, 'SELECT')
            AND NOT row_security_active(c.oid)
        )
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = 'rlsgen_private' AND c.relname IN ('signing_key', 'seal_key')
        HAVING count(*) = 2
    )
FROM pg_database AS d
WHERE d.datname = current_database()
