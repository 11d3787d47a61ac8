SELECT
    o.kind,
    coalesce(o.schema_name, ''),
    coalesce(o.relation_name, ''),
    coalesce(o.object_name, ''),
    coalesce(o.source, ''),
    coalesce(o.live, ''),
    coalesce(o.before::text, '{}')
FROM rlsgen.object AS o
ORDER BY o.kind COLLATE "C", o.schema_name COLLATE "C", o.relation_name COLLATE "C", o.object_name COLLATE "C"
