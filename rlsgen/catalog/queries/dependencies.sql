-- What depends on one role, here or on the whole cluster, but for what relations and columns grant it and policies that name it:
-- there are tens of thousands of those, and the relations say it. Temporary relations are left out. Relations come as numbers;
-- Postgres describes the others.
WITH dependencies AS (
    SELECT d.classid, d.objid, d.objsubid, d.deptype, coalesce(r.known, false) AS known
    FROM pg_shdepend AS d
    LEFT JOIN LATERAL (
        SELECT
            c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AS known,
            c.relpersistence = 't' AS temporary
        FROM pg_class AS c
        JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.oid = d.objid AND d.classid = 'pg_class'::regclass
    ) AS r ON true
    WHERE d.refclassid = 'pg_authid'::regclass
        AND d.refobjid = (SELECT r.oid FROM pg_roles AS r WHERE r.rolname = %(role)s)
        AND d.dbid IN (0, (SELECT b.oid FROM pg_database AS b WHERE b.datname = current_database()))
        AND d.classid <> 'pg_policy'::regclass
        AND NOT coalesce(r.temporary OR (r.known AND d.deptype = 'a'), false)
)

SELECT d.deptype, d.objid, NULL AS description, NULL AS type, NULL AS address
FROM dependencies AS d
WHERE d.known
UNION ALL
SELECT d.deptype, NULL, pg_describe_object(d.classid, d.objid, d.objsubid), i.type, i.identity
FROM dependencies AS d
CROSS JOIN pg_identify_object(d.classid, d.objid, d.objsubid) AS i
WHERE NOT d.known
