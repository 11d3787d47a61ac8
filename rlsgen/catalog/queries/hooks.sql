-- What runs when somebody writes: triggers, with their function; and rules, which run with the rights of the table's owner.
-- What partitions inherit from their parent is left out.
SELECT t.tgrelid, t.tgname, n.nspname, p.proname, pg_get_function_identity_arguments(p.oid), p.prosecdef, p.proowner, p.proconfig
FROM pg_trigger AS t
JOIN pg_proc AS p ON p.oid = t.tgfoid
JOIN pg_namespace AS n ON n.oid = p.pronamespace
WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND t.tgenabled <> 'D'
UNION ALL
SELECT r.ev_class, r.rulename, NULL, NULL, NULL, true, c.relowner, NULL
FROM pg_rewrite AS r
JOIN pg_class AS c ON c.oid = r.ev_class
WHERE r.rulename <> '_RETURN' AND c.relkind IN ('r', 'p') AND c.oid >= 16384
ORDER BY 1, 2
