-- What views and materialized views read, by relation and by column where Postgres recorded the column.
SELECT DISTINCT r.ev_class, n.nspname, s.relname, a.attname
FROM pg_rewrite AS r
JOIN pg_class AS c ON c.oid = r.ev_class
JOIN pg_depend AS uses
    ON uses.classid = 'pg_rewrite'::regclass AND uses.objid = r.oid
    AND uses.refclassid = 'pg_class'::regclass AND uses.refobjid <> r.ev_class
JOIN pg_class AS s ON s.oid = uses.refobjid
JOIN pg_namespace AS n ON n.oid = s.relnamespace
LEFT JOIN pg_attribute AS a ON a.attrelid = uses.refobjid AND a.attnum = uses.refobjsubid AND uses.refobjsubid <> 0
WHERE c.relkind IN ('v', 'm')
    AND c.relnamespace IN (
        SELECT n.oid FROM pg_namespace AS n WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    )
ORDER BY r.ev_class, n.nspname, s.relname, a.attname
