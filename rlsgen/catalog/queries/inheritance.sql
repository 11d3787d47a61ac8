SELECT i.inhrelid, i.inhparent
FROM pg_inherits AS i
ORDER BY i.inhrelid, i.inhseqno
