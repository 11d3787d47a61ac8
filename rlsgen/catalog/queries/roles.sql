SELECT
    r.oid,
    r.rolname,
    r.rolsuper,
    r.rolinherit,
    r.rolcreaterole,
    r.rolcreatedb,
    r.rolcanlogin,
    r.rolreplication,
    r.rolbypassrls,
    ARRAY(
        SELECT setting
        FROM pg_db_role_setting AS s, unnest(s.setconfig) AS setting
        WHERE s.setrole = r.oid
            AND s.setdatabase IN (0, (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database()))
        ORDER BY s.setdatabase, setting
    )
FROM pg_roles AS r
ORDER BY r.rolname
