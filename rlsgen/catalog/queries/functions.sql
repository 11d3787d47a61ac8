SELECT
    p.oid,
    n.nspname,
    p.proname,
    pg_get_function_identity_arguments(p.oid),
    coalesce(pg_get_function_result(p.oid), ''),
    p.proowner,
    p.prosecdef,
    p.proleakproof,
    p.proconfig,
    coalesce(p.proacl, acldefault('f', p.proowner))::text,
    CASE
        WHEN n.nspname IN ('rlsgen', 'rlsgen_private') AND p.prokind <> 'a' THEN pg_get_functiondef(p.oid)
    END,
    e.extname
FROM pg_proc AS p
JOIN pg_namespace AS n ON n.oid = p.pronamespace
LEFT JOIN pg_depend AS belongs
    ON belongs.classid = 'pg_proc'::regclass AND belongs.objid = p.oid
    AND belongs.refclassid = 'pg_extension'::regclass AND belongs.deptype = 'e'
LEFT JOIN pg_extension AS e ON e.oid = belongs.refobjid
WHERE n.nspname IN ('rlsgen', 'rlsgen_private')
    OR ((p.prosecdef OR p.proleakproof) AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema')
ORDER BY n.nspname, p.proname, p.oid
