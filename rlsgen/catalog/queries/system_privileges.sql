-- What everybody may do with Postgres' own functions and relations although initdb, or the extension that brought them, kept it
-- from everybody.
WITH own (kind, shown, privileges, initial) AS (
    SELECT
        'function',
        p.oid::regprocedure::text,
        coalesce(p.proacl, acldefault('f', p.proowner)),
        i.initprivs
    FROM pg_init_privs AS i
    JOIN pg_proc AS p ON p.oid = i.objoid
    WHERE i.classoid = 'pg_proc'::regclass AND i.objsubid = 0
    UNION ALL
    SELECT
        'relation',
        c.oid::regclass::text,
        coalesce(c.relacl, acldefault('r', c.relowner)),
        i.initprivs
    FROM pg_init_privs AS i
    JOIN pg_class AS c ON c.oid = i.objoid AND c.relkind IN ('r', 'v', 'm', 'f', 'p')
    WHERE i.classoid = 'pg_class'::regclass AND i.objsubid = 0
)

SELECT own.kind, own.shown, now.privilege_type
FROM own, aclexplode(own.privileges) AS now
WHERE now.grantee = 0
    AND NOT EXISTS (
        SELECT
        FROM aclexplode(own.initial) AS before
        WHERE before.grantee = 0 AND before.privilege_type = now.privilege_type
    )
ORDER BY own.kind, own.shown, now.privilege_type
