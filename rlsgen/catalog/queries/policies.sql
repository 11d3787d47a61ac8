-- A policy that is dropped while this runs has no expression any more: '' then, which equals nothing that was ever made.
-- The last column has the functions of users that its expressions call, also as operators, each with a hash of its definition;
-- rlsgen_private.calls_text in templates/ledger.sql.j2 gives the same text.
WITH used (policy, function) AS (
    SELECT DISTINCT d.objid, coalesce(o.oprcode::oid, d.refobjid)
    FROM pg_depend AS d
    LEFT JOIN pg_operator AS o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
    WHERE d.classid = 'pg_policy'::regclass AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass)
),

calls (policy, functions) AS (
    SELECT
        used.policy,
        jsonb_object_agg(
            f.oid::regprocedure::text, encode(sha256(convert_to(pg_get_functiondef(f.oid), 'UTF8')), 'hex')
        )::text
    FROM used
    JOIN pg_proc AS f ON f.oid = used.function AND f.prokind <> 'a'
    JOIN pg_namespace AS n ON n.oid = f.pronamespace AND n.nspname NOT IN ('rlsgen', 'rlsgen_private', 'pg_catalog')
    WHERE NOT EXISTS (
        SELECT FROM pg_depend AS e WHERE e.classid = 'pg_proc'::regclass AND e.objid = f.oid AND e.deptype = 'e'
    )
    GROUP BY used.policy
)

SELECT
    p.polrelid,
    p.polname,
    p.polcmd,
    p.polpermissive,
    p.polroles::text,
    CASE WHEN p.polqual IS NOT NULL THEN coalesce(pg_get_expr(p.polqual, p.polrelid), '') END,
    CASE WHEN p.polwithcheck IS NOT NULL THEN coalesce(pg_get_expr(p.polwithcheck, p.polrelid), '') END,
    coalesce(calls.functions, '')
FROM pg_policy AS p
LEFT JOIN calls ON calls.policy = p.oid
ORDER BY p.polrelid, p.polname
