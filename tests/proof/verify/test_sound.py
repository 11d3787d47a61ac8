"""On databases that are as they should be, verify finds nothing, covers everything, and leaves nothing behind."""

from __future__ import annotations

from typing import Any

import psycopg

from rlsgen.proof.verify import Options
from tests.proof.verify.harness import CATALOGUE, FULL, Stage, failing, leaking


def state(observer: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    """Every row that could be written, every relation, policy, function, grant and role."""
    queries = [
        "SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM notes AS t",
        "SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM templates AS t",
        "SELECT md5(string_agg(concat(c.relname, c.relacl, c.relrowsecurity), '|' ORDER BY c.oid)) FROM pg_class AS c"
        " WHERE relnamespace >= 16384 OR relnamespace = 'public'::regnamespace",
        "SELECT md5(string_agg(p::text, '|' ORDER BY p.oid)) FROM pg_policy AS p",
        "SELECT md5(string_agg(p::text, '|' ORDER BY p.oid)) FROM pg_proc AS p WHERE oid >= 16384",
        "SELECT md5(string_agg(r::text, '|' ORDER BY r.oid)) FROM pg_authid AS r",
        "SELECT count(*) FROM pg_largeobject_metadata",
    ]
    return [row for query in queries for row in observer.execute(query.encode()).fetchall()]


def test_the_shop_is_isolated_and_stays_as_it_was(shop_shared: Stage) -> None:
    database = shop_shared.database
    with psycopg.connect(database.dsn(database.server.superuser), autocommit=True) as observer:
        before = state(observer)
        result = shop_shared.verify(FULL, CATALOGUE)
        others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        while observer.execute(others).fetchone() != (0,):
            pass  # backends end a moment after their connections
        assert state(observer) == before
    assert not leaking(result)
    assert not failing(result)
    assert result.uncovered == ()
    assert {table.status for table in result.tables} == {"isolated"}
    assert {attack.status for attack in result.attacks} == {"blocked"}
    assert result.snapshot
    scoped = [table for table in result.tables if table.kind in ("scoped", "view")]
    assert len(scoped) == 11
    assert all(table.rows and table.pairs and len(table.tenants) > 2 for table in scoped)


def test_every_shape_is_isolated(shapes: Stage) -> None:
    result = shapes.verify(FULL, CATALOGUE)
    assert not leaking(result)
    assert not failing(result)
    assert result.uncovered == ()
    assert len(result.tables) == 93
    assert all(table.rows and table.pairs for table in result.tables if table.kind == "scoped")


def test_more_tenants_more_pairs(shop_shared: Stage) -> None:
    few, many = shop_shared.verify(Options(tenants=2)), shop_shared.verify(Options(tenants=12))
    assert len(few.contexts) < len(many.contexts)
    assert sum(table.pairs for table in few.tables) * 8 < sum(table.pairs for table in many.tables)
