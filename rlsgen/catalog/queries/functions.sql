-- Functions that matter: rlsgen's own; elsewhere those with their owner's rights, and those marked LEAKPROOF: of Postgres' own
-- only those that somebody altered, since initdb writes none of them after its first transaction. The last column: whether a
-- role reaches the function by something that names it (an operator, a body in SQL, a default, …), for which it needs EXECUTE, and no USAGE on the function's schema.
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
    e.extname,
    p.prosecdef AND EXISTS (
        SELECT
        FROM pg_depend AS d
        LEFT JOIN pg_operator AS o ON d.classid = 'pg_operator'::regclass AND o.oid = d.objid
        LEFT JOIN pg_proc AS f ON d.classid = 'pg_proc'::regclass AND f.oid = d.objid
        LEFT JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
        LEFT JOIN pg_attrdef AS a ON d.classid = 'pg_attrdef'::regclass AND a.oid = d.objid
        LEFT JOIN pg_constraint AS c ON d.classid = 'pg_constraint'::regclass AND c.oid = d.objid
        WHERE d.refclassid = 'pg_proc'::regclass AND d.refobjid = p.oid
            AND (
                d.classid = 'pg_cast'::regclass
                OR has_schema_privilege(who.oid, o.oprnamespace, 'USAGE')
                OR (has_schema_privilege(who.oid, f.pronamespace, 'USAGE') AND has_function_privilege(who.oid, f.oid, 'EXECUTE'))
                OR has_any_column_privilege(who.oid, r.ev_class, 'SELECT')
                OR has_any_column_privilege(who.oid, coalesce(a.adrelid, nullif(c.conrelid, 0)), 'INSERT, UPDATE')
                OR has_type_privilege(who.oid, nullif(c.contypid, 0), 'USAGE')
            )
    )
FROM pg_proc AS p
JOIN pg_namespace AS n ON n.oid = p.pronamespace
LEFT JOIN pg_depend AS belongs
    ON belongs.classid = 'pg_proc'::regclass AND belongs.objid = p.oid
    AND belongs.refclassid = 'pg_extension'::regclass AND belongs.deptype = 'e'
LEFT JOIN pg_extension AS e ON e.oid = belongs.refobjid
LEFT JOIN pg_roles AS who ON who.rolname = %(role)s
WHERE n.nspname IN ('rlsgen', 'rlsgen_private')
    OR ((p.prosecdef OR p.proleakproof) AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema')
    OR (p.proleakproof AND n.nspname IN ('pg_catalog', 'information_schema') AND p.xmin <> '1'::xid)
ORDER BY n.nspname, p.proname, p.oid
