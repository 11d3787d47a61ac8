-- The types of all columns as they are declared and without modifier, and the types under their domains and in their arrays.
-- Modifier -1, not NULL: format_type then says bpchar and "bit", which as casts keep the whole value; character would cut it.
WITH RECURSIVE declared (type, modifier) AS MATERIALIZED (
    SELECT DISTINCT a.atttypid, a.atttypmod
    FROM pg_attribute AS a
    JOIN pg_class AS c ON c.oid = a.attrelid
    WHERE a.attnum > 0
        AND NOT a.attisdropped
        AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
        AND c.relnamespace IN (
        SELECT n.oid FROM pg_namespace AS n WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    )
),

used (type, modifier) AS (
    (SELECT declared.type, declared.modifier FROM declared UNION SELECT declared.type, -1 FROM declared)
    UNION
    SELECT CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.typelem END, -1
    FROM used
    JOIN pg_type AS t ON t.oid = used.type
    WHERE t.typtype = 'd' OR t.typsubscript = 'array_subscript_handler'::regproc
)

SELECT
    used.type,
    used.modifier,
    format_type(used.type, used.modifier),
    t.typtype,
    t.typnotnull,
    t.typbasetype,
    CASE WHEN t.typsubscript = 'array_subscript_handler'::regproc THEN t.typelem END
FROM used
JOIN pg_type AS t ON t.oid = used.type
