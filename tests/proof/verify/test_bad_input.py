"""What goes wrong on the way: a clear end, nothing left behind, and never a silent pass."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace

import psycopg
import pytest

from rlsgen.errors import ServerError, SpecError
from rlsgen.proof.verify import Options, verify
from rlsgen.proof.verify.sides import Context
from tests.proof.verify.harness import SHOP, Stage, attacks, failing, leaking, table
from tests.support.postgres import Roles

ONE: Context = {"organisationId": 1, "teamId": 1, "userId": "user_1"}


def test_a_database_that_was_not_provisioned(stage: Stage) -> None:
    stage.owner("DROP SCHEMA rlsgen CASCADE; DROP SCHEMA rlsgen_private CASCADE")
    with pytest.raises(ServerError, match="has not provisioned"):
        stage.verify()


def test_a_half_provisioned_database_is_named_table_by_table(stage: Stage) -> None:
    """As an apply that was killed leaves it: tables without policies and grants."""
    stage.owner(
        "REVOKE ALL ON orders FROM nl_conversation; DROP POLICY rlsgen_only_select ON orders;"
        " DROP POLICY rlsgen_allow_select ON orders; ALTER TABLE orders DISABLE ROW LEVEL SECURITY"
    )
    result = stage.verify()
    assert {"public.orders", "public.order_items"} <= failing(result)
    assert not leaking(result)


def test_the_key_of_another_database(stage: Stage) -> None:
    stage.key = replace(stage.key, audience="00000000-0000-0000-0000-000000000000")
    with pytest.raises(ServerError, match="signing key belongs to another database"):
        stage.verify()


def test_the_unrestricted_role_must_read_everything(stage: Stage, role_factory: Roles) -> None:
    role = role_factory("LOGIN")
    stage.unrestricted = role
    ours = f"GRANT USAGE ON SCHEMA rlsgen TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA rlsgen TO {role}"
    stage.administrator(ours)
    with pytest.raises(ServerError, match=r"may not read public\.\w+"):
        stage.verify()
    stage.administrator(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    with pytest.raises(ServerError, match="row security applies to"):
        stage.verify()
    stage.administrator(f"ALTER ROLE {role} BYPASSRLS")
    assert stage.verify(Options(tenants=2)).complete


def test_forced_row_security_hides_rows_from_the_owner(stage: Stage) -> None:
    stage.owner("ALTER TABLE orders FORCE ROW LEVEL SECURITY")
    with pytest.raises(ServerError, match=r"row security applies to shop_owner on public\.orders"):
        stage.verify()


def test_the_conversation_role_must_be_the_one(shop_shared: Stage) -> None:
    owner, conversation = shop_shared.database.dsn(), shop_shared.database.dsn("nl_conversation")
    with pytest.raises(ServerError, match="--conversation-dsn is shop_owner's"):
        verify(SHOP, shop_shared.key, owner, owner)
    with pytest.raises(ServerError, match="the conversation role's own"):
        verify(SHOP, shop_shared.key, conversation, conversation)


def test_a_table_that_is_gone_before(stage: Stage) -> None:
    stage.owner("DROP TABLE notes")
    with pytest.raises(SpecError, match="notes does not exist"):
        stage.verify()


def _meanwhile(stage: Stage, does: str) -> Callable[[str, int, int], None]:
    """Runs SQL as the owner, once, when the first rows have been compared."""
    done: list[str] = []

    def progress(title: str, number: int, total: int) -> None:
        if not done and number:
            done.append(title)
            stage.owner(does)

    return progress


def test_a_table_that_is_dropped_meanwhile(stage: Stage) -> None:
    result = verify(
        SHOP, stage.key, stage.database.dsn(), stage.database.dsn("nl_conversation"),
        options=Options(tenants=3), progress=_meanwhile(stage, "SET lock_timeout = '5s'; DROP TABLE notes"),
    )  # fmt: skip
    assert table(result, "public.notes").status == "uncovered"
    assert any(each.what == "table public.notes" and "dropped" in each.why for each in result.uncovered)
    assert not leaking(result)
    assert not failing(result)


def test_a_tenant_who_is_deleted_meanwhile(stage: Stage) -> None:
    result = verify(
        SHOP, stage.key, stage.database.dsn(), stage.database.dsn("nl_conversation"),
        options=Options(tenants=3), progress=_meanwhile(stage, "DELETE FROM notes; DELETE FROM projects"),
    )  # fmt: skip
    assert not leaking(result)
    assert not failing(result)


def test_rows_that_change_all_the_time(stage: Stage) -> None:
    """Both sides see one moment, so nothing differs."""
    stop = threading.Event()
    writer = threading.Thread(target=_write_until, args=(stage, stop))
    writer.start()
    try:
        for _ in range(3):
            result = stage.verify()
            assert result.snapshot
            assert not leaking(result)
            assert not failing(result)
    finally:
        stop.set()
        writer.join()


def _write_until(stage: Stage, stop: threading.Event) -> None:
    with psycopg.connect(stage.database.dsn(), autocommit=True) as owner:
        while not stop.is_set():
            owner.execute("INSERT INTO teams (organisation_id, name) SELECT g, 'x' FROM generate_series(1, 20) AS g")
            owner.execute("UPDATE products SET organisation_id = 1 + (organisation_id + 1) % 20 WHERE id % 7 = 0")


def test_a_locked_table_is_not_waited_for(stage: Stage) -> None:
    with psycopg.connect(stage.database.dsn()) as migration:
        migration.execute("LOCK TABLE notes IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(ServerError, match="lock timeout"):
            stage.verify()


def test_a_table_that_is_locked_meanwhile_is_uncovered(stage: Stage) -> None:
    with psycopg.connect(stage.database.dsn()) as migration:

        def progress(title: str, number: int, total: int) -> None:
            if title == "public.users":
                migration.execute("LOCK TABLE notes IN ACCESS EXCLUSIVE MODE")

        result = verify(
            SHOP, stage.key, stage.database.dsn(), stage.database.dsn("nl_conversation"),
            options=Options(tenants=1), contexts=[ONE], progress=progress,
        )  # fmt: skip
    assert table(result, "public.notes").status == "uncovered"
    assert not leaking(result)


def test_time_that_is_up_is_said(shop_shared: Stage) -> None:
    result = shop_shared.verify(Options(time_budget=0.05), attacks())
    assert result.uncovered
    assert any("time budget" in each.why for each in result.uncovered)
    assert {table.status for table in result.tables} & {"uncovered"}
    assert result.seconds < 5


def test_a_statement_that_takes_too_long(stage: Stage) -> None:
    stage.owner(
        "CREATE FUNCTION slow() RETURNS integer LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(30); RETURN 1; END $$;"
        " CREATE OR REPLACE VIEW monthly_revenue WITH (security_invoker = true) AS"
        " SELECT organisation_id, now()::date AS month, count(*) AS orders, sum(total) AS revenue"
        " FROM orders WHERE slow() = 1 GROUP BY 1"
    )
    result = stage.verify(Options(tenants=1, statement_seconds=0.5))
    assert table(result, "public.monthly_revenue").status in ("uncovered", "failed")
    assert not leaking(result)


def test_a_lost_connection_ends_it(stage: Stage) -> None:
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'nl_conversation'"

    def progress(title: str, number: int, total: int) -> None:
        if number == 1:
            stage.administrator(kill)

    with pytest.raises(ServerError, match=r"connection .*lost"):
        verify(SHOP, stage.key, stage.database.dsn(), stage.database.dsn("nl_conversation"), progress=progress)


def test_interrupted_it_leaves_nothing(stage: Stage) -> None:
    def progress(title: str, number: int, total: int) -> None:
        if number == 5:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        verify(SHOP, stage.key, stage.database.dsn(), stage.database.dsn("nl_conversation"), progress=progress)
    with psycopg.connect(stage.database.dsn(stage.database.server.superuser), autocommit=True) as observer:
        here = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        while observer.execute(here).fetchone() != (0,):
            pass  # backends end a moment after their connections
