-- Every distinct ACL once, under its text: thousands of tables share a handful.
WITH acls (items) AS (
    SELECT coalesce(c.relacl, acldefault((CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END)::"char", c.relowner))
    FROM pg_class AS c
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    UNION
    SELECT a.attacl FROM pg_attribute AS a WHERE a.attacl IS NOT NULL
    UNION
    SELECT coalesce(n.nspacl, acldefault('n', n.nspowner)) FROM pg_namespace AS n
    UNION
    SELECT coalesce(p.proacl, acldefault('f', p.proowner))
    FROM pg_proc AS p
    WHERE p.prosecdef OR (p.proleakproof AND p.oid >= 16384) OR p.pronamespace IN (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname IN ('rlsgen', 'rlsgen_private'))
    UNION
    SELECT coalesce(d.datacl, acldefault('d', d.datdba)) FROM pg_database AS d WHERE d.datname = current_database()
)

SELECT acls.items::text, entry.grantee, entry.privilege_type, entry.grantor, entry.is_grantable
FROM acls, aclexplode(acls.items) AS entry
