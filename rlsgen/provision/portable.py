"""Plans for other databases than the one they were made on: its name and its cluster's identifier are left open.

A script or a migration is written on a developer's database and runs on all of them.
"""

from __future__ import annotations

from dataclasses import replace

from rlsgen.catalog.model import Catalog
from rlsgen.identifiers import Sql, dollar_quoted, fill, identifier, literal

# Words that need no quotes in any place where a statement may have them: a name, a literal, JSON in a literal.
THIS_DATABASE = "rlsgen_this_database"
THIS_CLUSTER = "rlsgen_this_cluster"


def anywhere(catalog: Catalog) -> Catalog:
    """The catalog with words for what differs from database to database."""
    here = (catalog.database, identifier(catalog.database))
    dependencies = tuple(
        replace(each, address=THIS_DATABASE) if each.type == "database" and each.address in here else each
        for each in catalog.dependencies
    )
    return replace(catalog, database=THIS_DATABASE, system_identifier=THIS_CLUSTER, dependencies=dependencies)


def portable(statement: Sql) -> Sql:
    """The statement itself, or a block that runs it with this database's name and this cluster's identifier in it."""
    if THIS_DATABASE not in statement and THIS_CLUSTER not in statement:
        return statement
    body = fill(
        """
DECLARE
  statement text := {};
  cluster text := '';
BEGIN
  IF pg_catalog.current_database() ~ '["''\\\\]' THEN
    RAISE invalid_name USING
      MESSAGE = 'the name of this database has a quote or a backslash, which migrations cannot carry',
      HINT = 'rename the database, or use rlsgen apply here';
  END IF;
  IF pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE') THEN
    cluster := (SELECT c.system_identifier::text FROM pg_catalog.pg_control_system() AS c);
  END IF;
  statement := pg_catalog.replace(statement, {}, pg_catalog.current_database());
  EXECUTE pg_catalog.replace(statement, {}, cluster);
END
""",
        dollar_quoted(statement),
        literal(THIS_DATABASE),
        literal(THIS_CLUSTER),
    )
    return fill("DO {}", dollar_quoted(body))
