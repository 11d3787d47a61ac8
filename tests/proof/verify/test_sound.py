"""On databases that are as they should be, verify finds nothing, covers everything, and leaves nothing behind."""

from __future__ import annotations

import psycopg

from rlsgen.proof.verify import Options
from tests.proof.verify.harness import CATALOGUE, FULL, Stage, failing, leaking


def test_the_shop_is_isolated(shop_shared: Stage) -> None:
    result = shop_shared.verify(FULL, CATALOGUE)
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


def test_it_reads_only_and_leaves_nothing(shop_shared: Stage) -> None:
    database = shop_shared.database
    with psycopg.connect(database.dsn(database.server.superuser), autocommit=True) as observer:
        count = "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_xact_user_tables"
        before = observer.execute("SELECT count(*), max(id) FROM notes").fetchone(), observer.execute(count).fetchone()
        shop_shared.verify(FULL, CATALOGUE)
        after = observer.execute("SELECT count(*), max(id) FROM notes").fetchone(), observer.execute(count).fetchone()
        left = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        assert before == after
        while observer.execute(left).fetchone() != (0,):
            pass  # backends end a moment after their connections
        assert observer.execute("SELECT to_regclass('public.rlsgen_mine')").fetchone() == (None,)
