-- Only columns that every role may read; the connection string is not among them.
SELECT s.subname, s.subowner, ARRAY(SELECT r.srrelid FROM pg_subscription_rel AS r WHERE r.srsubid = s.oid)
FROM pg_subscription AS s
WHERE s.subdbid = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
ORDER BY s.subname
