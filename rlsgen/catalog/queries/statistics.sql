-- Columns that keep statistics although their target is 0. pg_stats shows those that the session may read, and is slow, so it
-- is asked column by column (LIMIT keeps the planner from joining it as a whole).
SELECT a.attrelid, a.attnum
FROM pg_attribute AS a
JOIN pg_class AS c ON c.oid = a.attrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT
    FROM pg_stats AS s
    WHERE s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = a.attname
    LIMIT 1
) AS stored
WHERE a.attstattarget = 0
    AND a.attnum > 0
    AND NOT a.attisdropped
    AND c.relkind IN ('r', 'p', 'm', 'f')
