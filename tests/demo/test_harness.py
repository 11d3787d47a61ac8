"""The fixtures do what the other tests rely on."""

from __future__ import annotations

import psycopg
import pytest

from rlsgen.demo.shop import APPLICATION, CONVERSATION, OWNER
from tests.support.postgres import Database, Databases, Roles, Server


def test_a_database_is_empty_and_belongs_to_an_ordinary_owner(database: Database) -> None:
    owner = database.connect()
    row = owner.execute(
        "SELECT current_database(), current_user::text, rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb,"
        " (SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace)"
        " FROM pg_roles WHERE rolname = current_user"
    ).fetchone()
    assert row == (database.name, OWNER, False, 0)


def test_connections_are_of_the_role_that_was_asked_for(database: Database, server: Server) -> None:
    for role, superuser, bypasses in [
        (CONVERSATION, False, False),
        (APPLICATION, False, True),
        (server.superuser, True, None),
    ]:
        row = (
            database.connect(role)
            .execute("SELECT session_user::text, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = session_user")
            .fetchone()
        )
        assert row is not None
        assert row[:2] == (role, superuser)
        assert bypasses is None or row[2] is bypasses


def test_the_version_is_the_servers(database: Database, server: Server) -> None:
    assert database.connect().info.server_version // 10000 == server.version


def test_databases_go_while_they_are_in_use(server: Server) -> None:
    databases = Databases(server, "harness_in_use")
    database = databases()
    with psycopg.connect(database.dsn()) as stranger:
        databases.drop()
        with pytest.raises(psycopg.OperationalError):
            stranger.execute("SELECT 1")
    with server.administer() as administrator:
        assert not administrator.execute("SELECT FROM pg_database WHERE datname = %s", [database.name]).fetchall()


def test_roles_go_with_what_they_hold(server: Server) -> None:
    roles = Roles(server, "harness_role")
    names = [roles(), roles("LOGIN BYPASSRLS"), roles("NOLOGIN", name='a "quoted" Rôle')]
    with server.administer() as administrator:
        administrator.execute('GRANT "harness_role_2" TO "harness_role_1"')
        administrator.execute('GRANT TEMPORARY ON DATABASE postgres TO "harness_role_1"')
        known = "SELECT count(*) FROM pg_roles WHERE rolname = ANY(%s)"
        assert administrator.execute(known, [names]).fetchone() == (3,)
        roles.drop()
        assert administrator.execute(known, [names]).fetchone() == (0,)
