SELECT
    c.oid,
    c.relnamespace,
    c.relname,
    c.relkind,
    c.relowner,
    coalesce(c.relacl, acldefault((CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END)::"char", c.relowner))::text,
    c.relrowsecurity,
    c.relforcerowsecurity,
    c.relispartition,
    c.reloptions,
    e.extname
FROM pg_class AS c
LEFT JOIN pg_depend AS belongs
    ON belongs.classid = 'pg_class'::regclass AND belongs.objid = c.oid AND belongs.objsubid = 0
    AND belongs.refclassid = 'pg_extension'::regclass AND belongs.deptype = 'e'
LEFT JOIN pg_extension AS e ON e.oid = belongs.refobjid
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    AND c.relnamespace IN (
        SELECT n.oid FROM pg_namespace AS n WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    )
