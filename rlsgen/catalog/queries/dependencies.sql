-- What depends on one role, here or on the whole cluster; temporary relations are left out. Relations, columns and policies
-- come as numbers, since there may be tens of thousands; Postgres describes the others.
WITH dependencies AS (
    SELECT d.classid, d.objid, d.objsubid, d.deptype
    FROM pg_shdepend AS d
    WHERE d.refclassid = 'pg_authid'::regclass
        AND d.refobjid = (SELECT r.oid FROM pg_roles AS r WHERE r.rolname = %(role)s)
        AND d.dbid IN (0, (SELECT b.oid FROM pg_database AS b WHERE b.datname = current_database()))
),

relations AS (
    SELECT
        c.oid,
        c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AS known
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relpersistence <> 't'
)

SELECT d.deptype, d.objid, d.objsubid, NULL AS policy, NULL AS description, NULL AS type, NULL AS address
FROM dependencies AS d
JOIN relations AS r ON r.oid = d.objid AND r.known
WHERE d.classid = 'pg_class'::regclass
UNION ALL
SELECT d.deptype, p.polrelid, 0, p.polname::text, NULL, NULL, NULL
FROM dependencies AS d
JOIN pg_policy AS p ON p.oid = d.objid
JOIN relations AS r ON r.oid = p.polrelid AND r.known
WHERE d.classid = 'pg_policy'::regclass
UNION ALL
SELECT d.deptype, NULL, 0, NULL, pg_describe_object(d.classid, d.objid, d.objsubid), i.type, i.identity
FROM (
    SELECT d.classid, d.objid, d.objsubid, d.deptype
    FROM dependencies AS d
    WHERE d.classid NOT IN ('pg_class'::regclass, 'pg_policy'::regclass)
    UNION ALL
    SELECT d.classid, d.objid, d.objsubid, d.deptype
    FROM dependencies AS d
    JOIN relations AS r ON r.oid = d.objid AND NOT r.known
    WHERE d.classid = 'pg_class'::regclass
) AS d
CROSS JOIN pg_identify_object(d.classid, d.objid, d.objsubid) AS i
