-- What sessions of every role begin with, in this database and in all.
SELECT
    s.setdatabase = 0,
    split_part(setting, '=', 1),
    substr(setting, strpos(setting, '=') + 1)
FROM pg_db_role_setting AS s, unnest(s.setconfig) AS setting
WHERE s.setrole = 0
    AND s.setdatabase IN (0, (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database()))
ORDER BY 1, 2
