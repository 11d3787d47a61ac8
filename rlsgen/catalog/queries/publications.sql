-- Tables by publication; NULL for a publication of all tables. A publication of nothing has no row.
SELECT p.pubname, NULL AS relation FROM pg_publication AS p WHERE p.puballtables
UNION
SELECT p.pubname, r.prrelid FROM pg_publication AS p JOIN pg_publication_rel AS r ON r.prpubid = p.oid
UNION
SELECT p.pubname, c.oid
FROM pg_publication AS p
JOIN pg_publication_namespace AS s ON s.pnpubid = p.oid
JOIN pg_class AS c ON c.relnamespace = s.pnnspid
WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p'
