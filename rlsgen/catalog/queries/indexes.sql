SELECT
    i.indrelid,
    c.relname,
    i.indkey::text,
    i.indnkeyatts,
    am.amname,
    i.indisunique,
    i.indisvalid AND i.indisready,
    i.indpred IS NOT NULL,
    i.indimmediate,
    con.conname
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_am AS am ON am.oid = c.relam
LEFT JOIN pg_constraint AS con
    ON con.conindid = i.indexrelid AND con.conrelid = i.indrelid AND con.contype IN ('p', 'u', 'x')
WHERE c.relnamespace IN (
        SELECT n.oid FROM pg_namespace AS n WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    )
ORDER BY i.indrelid, c.relname
