-- Extensions, and whether a role reaches something in them: a function, a relation, or a function written in a language of theirs
-- that is not trusted.
SELECT
    e.extname,
    e.extversion,
    n.nspname,
    EXISTS (
        SELECT
        FROM pg_depend AS d
        JOIN pg_proc AS p ON p.oid = d.objid
        WHERE d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
            AND d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
            AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype, 'language_handler'::regtype)
            AND p.oid NOT IN (SELECT unnest(ARRAY[l.laninline, l.lanvalidator]) FROM pg_language AS l)
            AND has_schema_privilege(who.oid, p.pronamespace, 'USAGE')
            AND has_function_privilege(who.oid, p.oid, 'EXECUTE')
    )
    OR EXISTS (
        SELECT
        FROM pg_depend AS d
        JOIN pg_class AS c ON c.oid = d.objid
        WHERE d.classid = 'pg_class'::regclass AND d.deptype = 'e'
            AND d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
            AND c.relkind IN ('r', 'v', 'm', 'f')
            AND has_schema_privilege(who.oid, c.relnamespace, 'USAGE')
            AND has_table_privilege(who.oid, c.oid, 'SELECT')
    )
    OR EXISTS (
        SELECT
        FROM pg_depend AS d
        JOIN pg_language AS l ON l.oid = d.objid AND NOT l.lanpltrusted
        JOIN pg_proc AS p ON p.prolang = l.oid
        WHERE d.classid = 'pg_language'::regclass AND d.deptype = 'e'
            AND d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
            AND has_schema_privilege(who.oid, p.pronamespace, 'USAGE')
            AND has_function_privilege(who.oid, p.oid, 'EXECUTE')
    )
FROM pg_extension AS e
JOIN pg_namespace AS n ON n.oid = e.extnamespace
LEFT JOIN pg_roles AS who ON who.rolname = %(role)s
ORDER BY e.extname
