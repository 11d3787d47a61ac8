"""All tables of a revision locked together before anything else: all of them, or none.

A migration keeps its locks until its end. If it took them one by one, a transaction of the application that has written
one table and wants another, locked already, would wait for the migration, and the migration for it: a deadlock. What is
not to be had after a moment is waited for with all the others free.
"""

from __future__ import annotations

from collections.abc import Collection

from rlsgen.catalog.model import Catalog, Relation
from rlsgen.identifiers import Name, Sql, fill, join
from rlsgen.migrations.operations import ApplyOp

TITLE = "the locks of all tables at once"

# For each table. The sum must stay below the deadlock_timeout of whoever waits for the first of them; and who has a
# table for longer than this has it for long, or waits for us.
_PATIENCE = Sql(
    "SELECT pg_catalog.set_config('lock_timeout', '100ms', true)"
    " WHERE pg_catalog.current_setting('rlsgen_was.lock_timeout') = '0'"
)
_RIGHTS = ("UPDATE", "DELETE", "TRUNCATE", "MAINTAIN")


def locking(
    used: Collection[Name], before: Catalog, after: Catalog, search_path: Sql
) -> tuple[ApplyOp, ApplyOp] | None:
    """Operations for the beginning and the end of an upgrade; undone, the last one begins the downgrade.

    Args:
        used: relations that operations of rlsgen change.
        before: the database before the upgrade.
        after: the database after it.
        search_path: as operations have it.
    """
    up, down = _statements(used, before), _statements(used, after)
    if not (up or down):
        return None
    first = ApplyOp(TITLE, up, search_path=search_path, follows=False)
    return first, ApplyOp(TITLE, (), search_path=search_path, undo=down)


def _statements(used: Collection[Name], catalog: Catalog) -> tuple[Sql, ...]:
    """Nothing for a single table, which its own operation locks first."""
    there = [catalog.relations[name] for name in sorted(used) if name in catalog.relations]
    tables = [each.name.sql for each in there if each.kind in ("table", "partitioned") and _lockable(each)]
    if len(tables) < 2:
        return ()
    return _PATIENCE, fill("LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE", join(", ONLY ", tables))


def _lockable(table: Relation) -> bool:
    """LOCK wants a right to change rows, which owners of journals take from themselves; ALTER TABLE does not."""
    return any(grant.grantee == table.owner and grant.privilege in _RIGHTS for grant in table.grants)
