-- What everybody may do with Postgres' own functions, relations and their columns, although initdb, or the extension that brought
-- them, kept it from everybody; with what somebody made in the system's schemas; with schemas, parameters and foreign servers,
-- which nobody may use until it is granted. And system columns (ctid, tableoid) that everybody or a role was granted by name.
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
    UNION ALL
    -- Numbers below 16384 are initdb's; functions of its own never run with their owner's rights.
    SELECT 'function', p.oid::regprocedure::text, coalesce(p.proacl, acldefault('f', p.proowner)), NULL
    FROM pg_proc AS p
    WHERE p.pronamespace IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) AND p.prosecdef
        AND NOT EXISTS (SELECT FROM pg_init_privs AS i WHERE i.classoid = 'pg_proc'::regclass AND i.objoid = p.oid)
    UNION ALL
    SELECT 'relation', c.oid::regclass::text, c.relacl, NULL
    FROM pg_class AS c
    WHERE c.relacl IS NOT NULL AND (c.oid >= 16384 OR c.relkind = 't')
        AND c.relnamespace IN (
            'pg_catalog'::regnamespace, 'information_schema'::regnamespace, 'pg_toast'::regnamespace
        )
        AND NOT EXISTS (SELECT FROM pg_init_privs AS i WHERE i.classoid = 'pg_class'::regclass AND i.objoid = c.oid)
    UNION ALL
    SELECT 'parameter', a.parname, a.paracl, NULL
    FROM pg_parameter_acl AS a
    UNION ALL
    SELECT 'foreign-data wrapper', quote_ident(w.fdwname), w.fdwacl, NULL
    FROM pg_foreign_data_wrapper AS w
    UNION ALL
    SELECT 'foreign server', quote_ident(s.srvname), s.srvacl, NULL
    FROM pg_foreign_server AS s
),

granted (kind, shown, privilege, everybody) AS (
    SELECT own.kind, own.shown, now.privilege_type, true
    FROM own, aclexplode(own.privileges) AS now
    WHERE now.grantee = 0
        AND NOT EXISTS (
            SELECT
            FROM aclexplode(own.initial) AS before
            WHERE before.grantee = 0 AND before.privilege_type = now.privilege_type
        )
    UNION ALL
    SELECT 'schema', quote_ident(n.nspname), now.privilege_type, true
    FROM pg_namespace AS n, aclexplode(n.nspacl) AS now
    WHERE now.grantee = 0
        AND (n.nspname IN ('pg_catalog', 'information_schema') AND now.privilege_type = 'CREATE' OR n.nspname = 'pg_toast')
    UNION ALL
    SELECT 'relation', c.oid::regclass::text, format('%%s (%%I)', now.privilege_type, a.attname), now.grantee = 0
    FROM pg_attribute AS a
    JOIN pg_class AS c ON c.oid = a.attrelid,
        aclexplode(a.attacl) AS now
    WHERE a.attacl IS NOT NULL
        AND CASE
            WHEN a.attnum < 0
                THEN now.grantee = 0 OR now.grantee = (SELECT r.oid FROM pg_roles AS r WHERE r.rolname = %(role)s)
            ELSE
                now.grantee = 0 AND c.oid < 16384
                AND NOT EXISTS (
                    SELECT
                    FROM pg_init_privs AS i, aclexplode(i.initprivs) AS before
                    WHERE i.classoid = 'pg_class'::regclass AND i.objoid = c.oid AND i.objsubid IN (0, a.attnum)
                        AND before.grantee = 0 AND before.privilege_type = now.privilege_type
                )
        END
)

SELECT DISTINCT granted.kind, granted.shown, granted.privilege, granted.everybody
FROM granted
ORDER BY granted.kind, granted.shown, granted.privilege, granted.everybody
