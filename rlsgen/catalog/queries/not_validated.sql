-- PostgreSQL 18: columns whose NOT NULL was added as NOT VALID; attnotnull is true for them although NULLs may be stored.
SELECT c.conrelid, c.conkey[1]
FROM pg_constraint AS c
WHERE c.contype = 'n' AND NOT c.convalidated AND c.conrelid <> 0
