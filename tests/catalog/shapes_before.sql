-- As superuser: what an ordinary owner may not make. Places in braces are names of roles and of odd objects.
CREATE EXTENSION citext;
CREATE FOREIGN DATA WRAPPER handmade;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER handmade;
GRANT USAGE ON FOREIGN SERVER elsewhere TO {owner};
GRANT {group} TO {reader};
GRANT {parent} TO {group} {without_inherit};
GRANT pg_read_all_stats TO {reader};
ALTER ROLE {conversation} SET statement_timeout = '5s';
ALTER ROLE {conversation} IN DATABASE {database} SET work_mem = '8MB';
ALTER ROLE {conversation} IN DATABASE postgres SET work_mem = '9MB';
ALTER ROLE {reader} SET search_path = 'a b', 'c"d';
GRANT CREATE, TEMPORARY ON DATABASE {database} TO {group} WITH GRANT OPTION;
