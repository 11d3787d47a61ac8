"""What surrounds the statements of a frozen operation: the same for every release that can run it.

A revision file holds its statements word for word. All that this module adds to them is a session in which they mean
what they meant when they were written: the search path, and the settings that literals depend on. None of it reads the
spec, the catalog or anything else of rlsgen's.

A change here changes what old revisions run; a test pins it byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rlsgen.identifiers import Sql, dollar_quoted, fill, join, literal
from rlsgen.provision.portable import portable

# The advisory lock of rlsgen apply, so that a migration and an apply do not interleave.
_LOCK = 0x1E9C_4B7A_52D3_0F61

# As rlsgen apply sets them, and fixed here on purpose.
_SETTINGS = (
    ("standard_conforming_strings", "on"),
    ("DateStyle", "ISO, YMD"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("check_function_bodies", "on"),
    ("row_security", "on"),
    ("client_min_messages", "warning"),
)

# Whoever waits for a table makes everybody wait who comes after: a moment, unless the project has its own idea. Below
# the deadlock_timeout of one second, so that the migration gives way before the application is chosen as the victim.
_LOCK_TIMEOUT = Sql(
    "CASE pg_catalog.current_setting('lock_timeout') WHEN '0' THEN '800ms'"
    " ELSE pg_catalog.current_setting('lock_timeout') END"
)

_NO_TRANSACTION = Sql(
    """DO $rlsgen$
BEGIN
  IF pg_catalog.current_setting('rlsgen_was.within', true) IS DISTINCT FROM 'a transaction' THEN
    RAISE no_active_sql_transaction USING
      MESSAGE = 'operations of rlsgen need a transaction: between two of their statements a table could be open',
      HINT = 'take them out of autocommit_block(), and leave transactional_ddl on';
  END IF;
END
$rlsgen$"""
)


def entrance() -> Iterator[Sql]:
    """What an operation begins with: it is in a transaction, and no apply is at work."""
    yield Sql("SELECT pg_catalog.set_config('rlsgen_was.within', 'a transaction', true)")
    yield _NO_TRANSACTION
    yield fill("SELECT pg_catalog.pg_advisory_xact_lock({})", literal(_LOCK))


def framed(statements: Iterable[Sql], search_path: Sql) -> Iterator[Sql]:
    """The statements of one operation with everything before and after them, one statement each.

    The session's own settings are kept in settings of the transaction, so that the same text works in a script.
    """
    settings = [("search_path", literal(search_path)), ("lock_timeout", _LOCK_TIMEOUT)]
    settings += [(name, literal(value)) for name, value in _SETTINGS]
    yield fill(
        "SELECT pg_catalog.set_config(pg_catalog.concat('rlsgen_was.', s.name),"
        " pg_catalog.current_setting(s.name), true), pg_catalog.set_config(s.name, s.value, true)\n"
        "FROM (VALUES {}) AS s (name, value)",
        join(", ", [fill("({}, {})", literal(name), value) for name, value in settings]),
    )
    for statement in statements:
        yield portable(statement)
    yield fill(
        "SELECT pg_catalog.set_config(s.name, pg_catalog.current_setting(pg_catalog.concat('rlsgen_was.', s.name)),"
        " true)\nFROM (VALUES {}) AS s (name)",
        join(", ", [fill("({})", literal(name)) for name, _ in settings]),
    )


def every_row(tables: Sequence[str], key: str) -> tuple[Sql, Sql]:
    """What switches forced row security off for the owner, and what switches it on again.

    The first fails where row security would hide rows from the current role all the same. `key` names the setting that
    remembers which tables were forced.
    """
    names = join(", ", [literal(table) for table in tables])
    setting = literal(f"rlsgen_was.forced_{key}")
    off = fill(
        """
DECLARE
  one regclass;
  forced text := '';
BEGIN
  FOREACH one IN ARRAY ARRAY[{}]::regclass[] LOOP
    IF (SELECT c.relforcerowsecurity FROM pg_catalog.pg_class AS c WHERE c.oid = one) THEN
      EXECUTE pg_catalog.format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY', one);
      forced := pg_catalog.concat(forced, one::oid, ' ');
    END IF;
    IF pg_catalog.row_security_active(one) THEN
      RAISE insufficient_privilege USING
        MESSAGE = pg_catalog.format('row security of %s applies to %I, who may not see every row', one, current_user),
        HINT = 'run the migration as the owner of the table';
    END IF;
  END LOOP;
  PERFORM pg_catalog.set_config({}, forced, true);
END
""",
        names,
        setting,
    )
    on = fill(
        """
DECLARE
  one text;
BEGIN
  FOREACH one IN ARRAY pg_catalog.string_to_array(pg_catalog.btrim(pg_catalog.current_setting({})), ' ') LOOP
    EXECUTE pg_catalog.format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', one::oid::regclass);
  END LOOP;
END
""",
        setting,
    )
    return fill("DO {}", dollar_quoted(off)), fill("DO {}", dollar_quoted(on))
