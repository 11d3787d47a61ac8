-- Large objects that everybody may read or write, a few of them, and how many there are. With lo_compat_privileges everybody
-- may read and write all of them. (What one role was granted is among its dependencies.)
WITH open (oid) AS (
    SELECT m.oid
    FROM pg_largeobject_metadata AS m
    WHERE current_setting('lo_compat_privileges')::boolean
        OR EXISTS (SELECT FROM aclexplode(m.lomacl) AS a WHERE a.grantee = 0)
)

SELECT current_setting('lo_compat_privileges')::boolean, count(*), (array_agg(open.oid ORDER BY open.oid))[1:3]
FROM open
