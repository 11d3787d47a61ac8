"""What conversations may write, table by table: their own rows, never shared ones or another tenant's, never a move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from psycopg import errors

from tests.shapes.harness import SPEC, Case, rows
from tests.shapes.truth import CONTEXTS

DENIED = errors.InsufficientPrivilege


@dataclass(frozen=True)
class Write:
    """A statement under the first context (organisation 1, user_1): how many rows it touches, or that it is refused."""

    sql: str
    outcome: int | None  # None: refused

    def __str__(self) -> str:
        return self.sql


def own(sql: str, count: int) -> Write:
    return Write(sql, count)


def none(sql: str) -> Write:
    """The rows are not there, for the conversation."""
    return Write(sql, 0)


def refused(sql: str) -> Write:
    return Write(sql, None)


# In s_null and w_templates: ids 1, 5, 9 are organisation 1's, 4, 8, 12 shared, 2 is organisation 2's.
# s_null_child n has parent 1 + n % 12: child 12 has parent 1, child 3 parent 4 (shared), child 1 parent 2 (foreign).
# p_orders: 3, 6, 9, 12 are organisation 1's; w_items n has order 1 + n % 12: item 2 has order 3, item 1 order 2.
WRITES = [
    own("UPDATE s_null SET title = 'mine' WHERE id = 1", 1),
    own("UPDATE s_null SET title = 'all'", 3),
    own("DELETE FROM s_null WHERE id = 5", 1),
    own("DELETE FROM s_null", 3),
    own("INSERT INTO s_null (organisation_id, title) VALUES (1, 'mine')", 1),
    own("INSERT INTO s_null (organisation_id, title) VALUES (1, 'mine') RETURNING id, organisation_id, title", 1),
    none("UPDATE s_null SET title = 'stolen' WHERE id = 4"),
    none("UPDATE s_null SET organisation_id = 1 WHERE id = 4"),
    none("UPDATE s_null SET organisation_id = 1 WHERE id = 2"),
    none("DELETE FROM s_null WHERE id IN (2, 4, 8, 12)"),
    refused("UPDATE s_null SET organisation_id = NULL WHERE id = 1"),
    refused("UPDATE s_null SET organisation_id = 2 WHERE id = 1"),
    refused("INSERT INTO s_null (organisation_id, title) VALUES (NULL, 'for everybody')"),
    refused("INSERT INTO s_null (title) VALUES ('for everybody')"),
    refused("INSERT INTO s_null (organisation_id, title) VALUES (2, 'foreign')"),
    refused("INSERT INTO s_null (id, organisation_id, title) VALUES (900, 1, 'an id of my own')"),
    refused("UPDATE s_null SET id = 900 WHERE id = 1"),
    none("SELECT FROM s_null WHERE id = 4 FOR UPDATE"),
    own("INSERT INTO s_null_child (parent_id, body) VALUES (1, 'mine')", 1),
    refused("INSERT INTO s_null_child (parent_id, body) VALUES (4, 'under a shared one')"),
    refused("INSERT INTO s_null_child (parent_id, body) VALUES (2, 'under a foreign one')"),
    refused("INSERT INTO s_null_child (parent_id, body) VALUES (777, 'under nothing')"),
    own("UPDATE s_null_child SET body = 'mine' WHERE id = 12", 1),
    none("UPDATE s_null_child SET body = 'stolen' WHERE id IN (3, 1)"),
    none("DELETE FROM s_null_child WHERE id IN (3, 1)"),
    own("DELETE FROM s_null_child", 6),
    own("UPDATE s_null_child SET parent_id = 5 WHERE id = 12", 1),
    refused("UPDATE s_null_child SET parent_id = 4 WHERE id = 12"),
    refused("UPDATE s_null_child SET parent_id = 2 WHERE id = 12"),
    none("UPDATE s_null_child SET parent_id = 1 WHERE id = 3"),
    own("INSERT INTO s_null_grandchild (child_id, body) VALUES (12, 'mine')", 1),
    refused("INSERT INTO s_null_grandchild (child_id, body) VALUES (3, 'under a shared one')"),
    refused("INSERT INTO s_null_grandchild (child_id, body) VALUES (1, 'under a foreign one')"),
    none("DELETE FROM s_null_grandchild WHERE id IN (3, 1)"),
    refused("UPDATE s_null_grandchild SET child_id = 3 WHERE id = 12"),
    own("UPDATE s_sentinel SET title = 'all'", 3),
    none("UPDATE s_sentinel SET title = 'stolen' WHERE organisation_id = 0"),
    none("DELETE FROM s_sentinel WHERE organisation_id = 0"),
    refused("UPDATE s_sentinel SET organisation_id = 0 WHERE id = 1"),
    refused("INSERT INTO s_sentinel VALUES (900, 0, 'for everybody')"),
    own("INSERT INTO s_sentinel VALUES (900, 1, 'mine')", 1),
    own("DELETE FROM s_sentinel_child", 6),
    refused("INSERT INTO s_sentinel_child VALUES (900, 4, 'under the sentinel')"),
    # h_secrets, the parent, is hidden: writes go through a function.
    own("INSERT INTO h_uses (secret_id, body) VALUES (1, 'mine')", 1),
    refused("INSERT INTO h_uses (secret_id, body) VALUES (4, 'under a shared one')"),
    refused("INSERT INTO h_uses (secret_id, body) VALUES (2, 'under a foreign one')"),
    none("UPDATE h_uses SET body = 'stolen' WHERE id IN (3, 1)"),
    refused("UPDATE h_uses SET secret_id = 4 WHERE id = 12"),
    own("DELETE FROM h_uses", 6),
    own("INSERT INTO w_notes (user_id, body) VALUES ('user_1', 'mine')", 1),
    refused("INSERT INTO w_notes (user_id, body) VALUES ('user_2', 'foreign')"),
    refused("INSERT INTO w_notes (id, user_id, body) OVERRIDING SYSTEM VALUE VALUES (900, 'user_1', 'my own id')"),
    own("UPDATE w_notes SET body = 'all'", 4),
    refused("UPDATE w_notes SET user_id = 'user_2'"),
    own("DELETE FROM w_notes", 4),
    own("UPDATE w_templates SET title = 'all'", 3),
    none("UPDATE w_templates SET title = 'stolen' WHERE organisation_id IS NULL"),
    refused("UPDATE w_templates SET organisation_id = NULL"),
    refused("INSERT INTO w_templates VALUES (900, 1, 'mine')"),
    refused("DELETE FROM w_templates WHERE id = 1"),
    own("INSERT INTO w_items (order_id, quantity) VALUES (3, 1)", 1),
    refused("INSERT INTO w_items (order_id, quantity) VALUES (2, 1)"),
    refused("INSERT INTO w_items (id, order_id, quantity) VALUES (900, 3, 1)"),
    refused("UPDATE w_items SET order_id = 2 WHERE id = 2"),
    own("UPDATE w_items SET order_id = 6 WHERE id = 2", 1),
    own("UPDATE w_items SET quantity = 0", 8),
    none("DELETE FROM w_items WHERE id = 1"),
    own("INSERT INTO w_folders VALUES (900, 1, 2)", 1),
    own("INSERT INTO w_folders VALUES (900, 1, NULL)", 1),
    refused("INSERT INTO w_folders VALUES (900, 1, 3)"),
    refused("INSERT INTO w_folders VALUES (900, 2, NULL)"),
    refused("UPDATE w_folders SET parent_id = 3 WHERE id = 2"),
    none("UPDATE w_folders SET parent_id = NULL WHERE id = 5"),
    refused("TRUNCATE w_notes"),
    refused("MERGE INTO s_null t USING (VALUES (4)) v (id) ON t.id = v.id WHEN MATCHED THEN UPDATE SET title = 'x'"
            " WHEN NOT MATCHED THEN INSERT (organisation_id, title) VALUES (2, 'x')"),
    refused("WITH moved AS (INSERT INTO s_null (organisation_id, title) SELECT 2, 'x' RETURNING id) SELECT FROM moved"),
]  # fmt: skip


@pytest.mark.parametrize("write", WRITES, ids=str)
def test_write(provisioned: Case, write: Write) -> None:
    with provisioned.conversation(CONTEXTS[0]) as talker:
        if write.outcome is None:
            with pytest.raises(DENIED) as refusal, talker.transaction():
                talker.execute(write.sql.encode())
            assert "no tenant context" not in str(refusal.value)
        else:
            assert talker.execute(write.sql.encode()).rowcount == write.outcome


def test_no_table_that_is_for_reading_can_be_written(provisioned: Case) -> None:
    """Not even where somebody had granted it: see test_drift for the grants; here, that there are none."""
    writable = {"s_null", "s_null_child", "s_null_grandchild", "s_sentinel", "s_sentinel_child", "h_uses", "w_notes",
                "w_templates", "w_items", "w_folders"}  # fmt: skip
    assert {table.ref.name for table in SPEC.tables if len(table.allow) > 1} == writable
    held = rows(
        provisioned.admin,
        """
        SELECT DISTINCT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^(pg_|information_schema)' AND (
          has_table_privilege('nl_conversation', c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
          OR has_any_column_privilege('nl_conversation', c.oid, 'INSERT, UPDATE, REFERENCES'))""",
    )
    assert {name for (name,) in held} == writable
    whole = rows(
        provisioned.admin,
        """
        SELECT c.relname FROM pg_class c, aclexplode(c.relacl) a
        WHERE a.grantee = 'nl_conversation'::regrole AND c.relkind <> 'S' AND a.privilege_type <> 'DELETE'""",
    )
    assert whole == []


@pytest.mark.parametrize(
    "command",
    [
        "INSERT INTO k_integer VALUES (900, 2, 900)",
        "UPDATE k_integer SET number = -id WHERE organisation_id = 2",
        "UPDATE k_integer SET organisation_id = 2",
        "DELETE FROM k_integer WHERE organisation_id = 2",
    ],
)
def test_restrictive_policies_stop_writes_that_others_permit_and_grant(own: Case, command: str) -> None:
    """Somebody else's permissive policy and a grant of everything: still nothing of another tenant is written."""
    own.admin.execute(
        "CREATE POLICY generous ON k_integer USING (true) WITH CHECK (true); GRANT ALL ON k_integer TO nl_conversation"
    )
    with own.conversation(CONTEXTS[0]) as talker:
        assert _touched(talker, command) == 0
    # Without them it would be written: the test can fail.
    for name in ("select", "insert", "update", "delete"):
        own.admin.execute(f"DROP POLICY rlsgen_only_{name} ON k_integer".encode())
    with own.conversation(CONTEXTS[0]) as talker:
        assert _touched(talker, command) > 0


def _touched(talker: Any, command: str) -> int:
    try:
        with talker.transaction():
            return int(talker.execute(command.encode()).rowcount)
    except DENIED:
        return 0


def test_explicit_values_for_what_postgres_fills_are_refused_but_it_is_filled(provisioned: Case) -> None:
    with provisioned.conversation(CONTEXTS[0]) as talker:
        first = talker.execute("INSERT INTO w_items (order_id) VALUES (3) RETURNING id").fetchone()
        second = talker.execute("INSERT INTO w_items (order_id) VALUES (3) RETURNING id").fetchone()
        assert first
        assert second
        assert second[0] > first[0]
        for statement in ("SELECT last_value FROM w_items_id_seq", "SELECT setval('w_items_id_seq', 1)"):
            with pytest.raises(DENIED), talker.transaction():
                talker.execute(statement.encode())
