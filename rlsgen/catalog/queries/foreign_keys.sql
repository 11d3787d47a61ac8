-- Foreign keys, without the copies that partitions have of their parent's.
SELECT k.conrelid, k.conname, k.conkey, k.confrelid, k.confkey
FROM pg_constraint AS k
WHERE k.contype = 'f' AND k.conparentid = 0
ORDER BY k.conrelid, k.conname
