-- Columns whose values are in statistics that are not their own: of an expression in an index, or of a statistics object.
-- An index with expressions depends on all columns that it uses, and on no more than that; which one each uses is not told.
SELECT d.refobjid, d.refobjsubid, 'index', n.nspname, c.relname
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_depend AS d
    ON d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
    AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid AND d.refobjsubid > 0
WHERE i.indexprs IS NOT NULL
    AND n.nspname !~ '^pg_'
    AND EXISTS (
        SELECT
        FROM pg_attribute AS k
        WHERE k.attrelid = i.indexrelid
            AND i.indkey[k.attnum - 1] = 0
            AND (
                coalesce(k.attstattarget, -1) <> 0
                OR EXISTS (
                    SELECT
                    FROM pg_stats AS s
                    WHERE s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = k.attname
                )
            )
    )
UNION
SELECT d.refobjid, d.refobjsubid, 'statistics', n.nspname, o.stxname
FROM pg_statistic_ext AS o
JOIN pg_namespace AS n ON n.oid = o.stxnamespace
JOIN pg_depend AS d
    ON d.classid = 'pg_statistic_ext'::regclass AND d.objid = o.oid
    AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0
ORDER BY 1, 2, 3, 4, 5
