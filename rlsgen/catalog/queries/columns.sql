SELECT
    a.attrelid,
    a.attnum,
    a.attname,
    a.atttypid,
    a.atttypmod,
    a.attnotnull,
    a.atthasdef AND a.attgenerated = '',
    a.attidentity <> '',
    a.attgenerated <> '',
    coalesce(a.attstattarget, -1),
    a.attacl::text
FROM pg_attribute AS a
JOIN pg_class AS c ON c.oid = a.attrelid
WHERE a.attnum > 0
    AND NOT a.attisdropped
    AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    AND c.relnamespace IN (
        SELECT n.oid FROM pg_namespace AS n WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    )
ORDER BY a.attrelid, a.attnum
