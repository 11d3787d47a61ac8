"""The self-check is quiet on every shape that a provisioned database may have."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from rlsgen.runtime.health import health_parameters, health_query, judge
from tests.shapes.harness import Case, Change, changed


def check(case: Case) -> tuple[list[str], list[str]]:
    """Problems, and warnings but for those about the server."""
    query = psycopg.RawCursor(case.talker).execute(health_query(), health_parameters(case.spec))
    row: Any = query.fetchone()
    health = judge(case.spec, row[0], known_holes="warn")
    warnings = [each.message for each in health.warnings if not each.message.startswith("PostgreSQL")]
    return [each.message for each in health.problems], warnings


def test_all_shapes_are_healthy(provisioned: Case) -> None:
    assert check(provisioned) == ([], [])


@pytest.mark.parametrize(
    "change",
    [lambda document: document.update(force=True), lambda document: document.update(seal=False)],
    ids=["force", "without seal"],
)
def test_so_they_are_under_other_settings(own: Case, change: Change) -> None:
    own.apply(changed(change))
    assert check(own) == ([], [])


def test_it_looks_at_every_shape(own: Case) -> None:
    """Row security of one scoped table after the other: each is seen, under its own name."""
    superuser = own.database.connect(own.database.server.superuser)
    found = superuser.execute(
        "SELECT c.oid::regclass::text FROM pg_class c WHERE EXISTS"
        " (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = 'rlsgen_only_select') ORDER BY 1"
    ).fetchall()
    for (table,) in found:
        superuser.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY".encode())
    problems, _ = check(own)
    switched_off = [each for each in problems if each.endswith("is switched off")]
    assert len(found) == len(switched_off) == len(problems) > 20
