-- The sequences that defaults depend on: serial columns, and defaults written as nextval('...'::regclass).
SELECT d.adrelid, d.adnum, min(s.oid)
FROM pg_attrdef AS d
JOIN pg_depend AS uses
    ON uses.classid = 'pg_attrdef'::regclass AND uses.objid = d.oid AND uses.refclassid = 'pg_class'::regclass
JOIN pg_class AS s ON s.oid = uses.refobjid AND s.relkind = 'S'
GROUP BY d.adrelid, d.adnum
