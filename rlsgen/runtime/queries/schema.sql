-- What the current role may use, as one row per relation. No privilege is needed but the catalog's own.
SELECT n.nspname, c.relname, c.relkind::text, c.reltuples::float8,
  (SELECT coalesce(json_agg(json_build_object(
      'name', a.attname,
      'type', pg_catalog.format_type(a.atttypid, a.atttypmod),
      'oid', a.atttypid::bigint,
      'base', coalesce(nullif(t.typbasetype, 0), t.oid)::bigint,
      'schema', tn.nspname, 'type_name', coalesce(e.typname, t.typname),
      'labels', CASE WHEN coalesce(e.typtype, t.typtype) = 'e' THEN
        (SELECT json_agg(l.enumlabel ORDER BY l.enumsortorder) FROM pg_catalog.pg_enum AS l
          WHERE l.enumtypid = coalesce(e.oid, t.oid)) END,
      'not_null', a.attnotnull,
      'select', pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT'),
      'insert', pg_catalog.has_column_privilege(c.oid, a.attnum, 'INSERT'),
      'update', pg_catalog.has_column_privilege(c.oid, a.attnum, 'UPDATE')
    ) ORDER BY a.attnum), '[]')
    FROM pg_catalog.pg_attribute AS a
    JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
    LEFT JOIN pg_catalog.pg_type AS e ON e.oid = t.typelem AND t.typelem <> 0 AND t.typcategory = 'A'
    JOIN pg_catalog.pg_namespace AS tn ON tn.oid = coalesce(e.typnamespace, t.typnamespace)
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
  (SELECT coalesce(json_agg(json_build_object(
      'kind', k.contype::text,
      'columns', (SELECT json_agg(a.attname ORDER BY u.place)
        FROM unnest(k.conkey) WITH ORDINALITY AS u (number, place)
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = u.number),
      'schema', rn.nspname, 'relation', r.relname,
      'targets', (SELECT json_agg(a.attname ORDER BY u.place)
        FROM unnest(k.confkey) WITH ORDINALITY AS u (number, place)
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = k.confrelid AND a.attnum = u.number)
    ) ORDER BY k.contype DESC, k.conname), '[]')
    FROM pg_catalog.pg_constraint AS k
    LEFT JOIN pg_catalog.pg_class AS r ON r.oid = k.confrelid
    LEFT JOIN pg_catalog.pg_namespace AS rn ON rn.oid = r.relnamespace
    WHERE k.conrelid = c.oid AND k.contype IN ('p', 'u', 'f') AND k.conparentid = 0) AS keys,
  pg_catalog.has_table_privilege(c.oid, 'DELETE') AS may_delete
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v') AND n.nspname = ANY ($1::text[])
  AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
ORDER BY n.nspname, c.relname
