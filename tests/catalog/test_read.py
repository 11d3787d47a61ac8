"""How the catalog is read: one snapshot, by an ordinary role, leaving nothing behind, whatever the session is like."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from rlsgen.catalog import read
from rlsgen.catalog.assemble import Rows
from rlsgen.catalog.model import Catalog, LedgerEntry, Provision
from rlsgen.catalog.read import fix_output, read_catalog
from rlsgen.demo.shop import APPLICATION, CONVERSATION, OWNER
from rlsgen.errors import ServerError
from rlsgen.identifiers import Name, fill, identifier
from tests.catalog.shapes import Shapes
from tests.support.postgres import Connection, Database, Roles

LEDGER = """
    CREATE SCHEMA rlsgen;
    CREATE TABLE rlsgen.object (
        kind text, schema_name text, relation_name text, object_name text, source text, live text, before jsonb
    );
    CREATE TABLE rlsgen.provision (
        singleton boolean, id uuid, format integer, spec_hash text, fingerprint text, system_identifier text,
        seal boolean
    );
"""
Interrupt = Callable[[Callable[[], object]], None]


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Interrupt:
    """`between(action)`: the next read does `action` when its transaction is open, before it reads the tables."""
    original = read._run

    def interrupt(action: Callable[[], object]) -> None:
        def run(*arguments: Any) -> dict[str, Rows]:
            monkeypatch.setattr(read, "_run", original)
            action()
            return original(*arguments)

        monkeypatch.setattr(read, "_run", run)

    return interrupt


# The snapshot


def test_what_is_made_meanwhile_is_not_seen(database: Database, between: Interrupt) -> None:
    other = database.connect()
    between(lambda: other.execute("CREATE TABLE late (id integer)"))
    assert Name("public", "late") not in read_catalog(database.connect(), CONVERSATION).relations


def test_it_is_the_snapshot_that_hides_it(
    database: Database, between: Interrupt, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = database.connect()
    between(lambda: other.execute("CREATE TABLE late (id integer)"))
    monkeypatch.setattr(read, "_BEGIN", b"BEGIN")
    assert Name("public", "late") in read_catalog(database.connect(), CONVERSATION).relations


def test_it_cannot_write(database: Database, between: Interrupt) -> None:
    connection = database.connect()
    between(lambda: connection.execute("CREATE TABLE written (id integer)"))
    with pytest.raises(ServerError, match="read-only transaction"):
        read_catalog(connection, CONVERSATION)


def _sent(database: Database, trace: Path) -> tuple[int, int]:
    """How many statements one read sends, and how many round trips it takes, from libpq's own record."""
    connection = database.connect()
    with trace.open("wb") as record:
        connection.pgconn.trace(record.fileno())
        read_catalog(connection, CONVERSATION)
        connection.pgconn.untrace()
    messages = [line.split("\t")[3:4] for line in trace.read_text(errors="replace").splitlines() if "\tF\t" in line]
    kinds = [kind for (kind,) in messages]
    return kinds.count("Parse") + kinds.count("Query"), kinds.count("Sync") + kinds.count("Query")


def test_the_number_of_queries_is_constant(database: Database, tmp_path: Path) -> None:
    connection = database.connect()
    few = _sent(database, tmp_path / "few")
    for number in range(60):
        connection.execute(
            fill(
                "CREATE TABLE {0} (id serial PRIMARY KEY, b text); CREATE VIEW {1} AS SELECT * FROM {0};"
                "ALTER TABLE {0} ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON {0} USING (id = 1)",
                identifier(f"t{number}"),
                identifier(f"v{number}"),
            ).encode()
        )
    assert _sent(database, tmp_path / "many") == few
    assert few[0] <= 31
    if psycopg.Pipeline.is_supported():
        assert few[1] <= 4


# The connection


@pytest.mark.parametrize("autocommit", [True, False])
def test_the_connection_is_left_as_it_was(shapes: Shapes, autocommit: bool) -> None:
    connection = shapes.database.connect(shapes.owner, autocommit=autocommit)
    connection.execute("SET search_path = shop, public")
    connection.execute("SET DateStyle = 'German'")
    connection.commit()
    before = connection.execute("SELECT name, setting FROM pg_settings ORDER BY name").fetchall()
    connection.rollback()
    read_catalog(connection, shapes.conversation)
    assert connection.autocommit is autocommit
    assert connection.info.transaction_status == TransactionStatus.IDLE
    assert connection.execute("SELECT name, setting FROM pg_settings ORDER BY name").fetchall() == before


def test_an_open_transaction_is_not_joined(database: Database) -> None:
    connection = database.connect(autocommit=False)
    connection.execute("CREATE TABLE mine (id integer)")
    with pytest.raises(ServerError, match="a transaction of its own") as caught:
        read_catalog(connection, CONVERSATION)
    assert "commit or roll back" in caught.value.hint
    connection.commit()  # what was open is still open, and whole
    assert Name("public", "mine") in read_catalog(connection, CONVERSATION).relations


def test_a_failed_read_leaves_the_connection_usable(database: Database) -> None:
    connection = database.connect(autocommit=False)
    connection.execute("CREATE SCHEMA rlsgen CREATE TABLE object (kind text)")
    connection.commit()
    with pytest.raises(ServerError, match=r"cannot read the catalog: column .* does not exist"):
        read_catalog(connection, CONVERSATION)
    assert not connection.autocommit
    assert connection.info.transaction_status == TransactionStatus.IDLE
    assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_closed_connection(database: Database) -> None:
    connection = database.connect()
    connection.close()
    with pytest.raises(ServerError):
        read_catalog(connection, CONVERSATION)


def test_a_connection_that_is_lost_meanwhile(database: Database, between: Interrupt) -> None:
    connection = database.connect()
    with database.server.administer() as administrator:
        backend = connection.info.backend_pid
        between(lambda: administrator.execute("SELECT pg_terminate_backend(%s, 10000)", [backend]))
        with pytest.raises(ServerError, match="cannot read the catalog: ") as caught:
            read_catalog(connection, CONVERSATION)
    assert "lost" in caught.value.hint
    assert isinstance(caught.value.__cause__, psycopg.OperationalError)


def test_a_statement_timeout(database: Database) -> None:
    connection = database.connect()
    blocker = database.connect(autocommit=False)
    blocker.execute("CREATE TABLE t (id integer)")
    blocker.execute("CREATE POLICY p ON t USING (id = 1)")
    blocker.commit()
    blocker.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")  # expressions cannot be shown without a look at the table
    connection.execute("SET statement_timeout = '200ms'")
    with pytest.raises(ServerError, match="cannot read the catalog: ") as caught:
        read_catalog(connection, CONVERSATION)
    assert "statement_timeout" in caught.value.hint
    blocker.rollback()
    assert read_catalog(connection, CONVERSATION).relations


def _twist(connection: Connection) -> None:
    """Settings that change what Postgres shows, and objects in front of its own."""
    for statement in (
        "SET search_path = pg_temp, shop, pg_catalog, public",
        "SET quote_all_identifiers = on",
        "SET standard_conforming_strings = off",
        "SET DateStyle = 'German'",
        "SET IntervalStyle = 'iso_8601'",
        "SET TimeZone = 'Asia/Tokyo'",
        "SET extra_float_digits = -15",
        "SET bytea_output = 'escape'",
        "SET client_encoding = 'SQL_ASCII'",
        "CREATE TEMPORARY TABLE pg_class (oid oid)",
        "CREATE TEMPORARY VIEW pg_roles AS SELECT 1 AS one",
    ):
        connection.execute(statement.encode())


def test_the_sessions_settings_change_nothing(shapes: Shapes, catalog: Catalog) -> None:
    connection = shapes.database.connect(shapes.owner)
    _twist(connection)
    assert read_catalog(connection, shapes.conversation) == catalog


@pytest.mark.parametrize(
    "expression",
    [
        "at > timestamptz '2024-01-01 12:00:00+00'",
        "day > date '2024-02-01'",
        "length > interval '1 day 2 hours'",
        "note = E'back\\\\slash'",
        "bytes = '\\xff'::bytea",
        "(SELECT count(*) FROM public.plain) > 0",
        "\"MixedCase\" = float8 '1.1'",
        "price > 1000.5::money",
    ],
)
def test_an_expression_reads_the_same_in_every_session(database: Database, expression: str) -> None:
    plain, twisted = database.connect(), database.connect()
    plain.execute(
        "CREATE TABLE public.plain"
        ' (at timestamptz, day date, length interval, note text, bytes bytea, "MixedCase" float8, price money)'
    )
    plain.execute(f"CREATE POLICY p ON public.plain USING ({expression})".encode())
    _twist(twisted)
    name = Name("public", "plain")
    expected = read_catalog(plain, CONVERSATION).relations[name].policies
    assert expected[0].using
    assert read_catalog(twisted, CONVERSATION).relations[name].policies == expected


def test_fix_output_shows_what_a_catalog_shows(shapes: Shapes, catalog: Catalog) -> None:
    connection = shapes.database.connect(shapes.owner)
    _twist(connection)
    query = (
        "SELECT pg_catalog.pg_get_expr(polwithcheck, polrelid) FROM pg_catalog.pg_policy"
        " WHERE polname = 'several' AND polrelid = 'public.secured'::pg_catalog.regclass"
    )
    policies = catalog.relations[Name("public", "secured")].policies
    expected = next(policy.check for policy in policies if policy.name == "several")
    with connection.transaction():
        assert connection.execute(query.encode()).fetchone() != (expected,)
        fix_output(connection)
        assert connection.execute(query.encode()).fetchone() == (expected,)
    assert connection.execute(query.encode()).fetchone() != (expected,)
    with pytest.raises(ServerError, match="need a transaction"):
        fix_output(connection)


# Who reads


def test_an_ordinary_owner_reads_what_a_superuser_reads(shapes: Shapes, catalog: Catalog) -> None:
    superuser = shapes.database.server.superuser
    everything = read_catalog(shapes.database.connect(superuser), shapes.conversation)
    assert everything.current_user == superuser
    assert dataclasses.replace(everything, current_user=shapes.owner) == catalog


def test_a_role_without_any_right_reads_it_too(shapes: Shapes, catalog: Catalog) -> None:
    found = read_catalog(shapes.database.connect(shapes.conversation), shapes.conversation)
    assert dataclasses.replace(found, current_user=shapes.owner, can_create=True) == catalog
    assert not found.can_create


def test_without_a_right_to_the_system_identifier(database: Database) -> None:
    with database.server.administer(database.name) as administrator:
        administrator.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
    found = read_catalog(database.connect(), CONVERSATION)
    assert found.system_identifier == ""
    assert found.database_owner == OWNER


def test_a_conversation_role_that_does_not_exist(shapes: Shapes, catalog: Catalog) -> None:
    found = read_catalog(shapes.database.connect(shapes.owner), 'nobody\'s "role" %s')
    unreached = tuple(dataclasses.replace(each, reachable=False) for each in catalog.extensions)
    assert any(each.reachable for each in catalog.extensions)
    assert found == dataclasses.replace(catalog, dependencies=(), extensions=unreached)


def test_only_this_databases_dependencies_and_the_clusters(database: Database, shapes: Shapes) -> None:
    (found,) = read_catalog(database.connect(), shapes.conversation).dependencies
    assert (found.kind, found.type, found.object) == ("acl", "database", f"database {shapes.database.name}")


def test_dependencies_of_temporary_tables_are_left_out(database: Database) -> None:
    connection = database.connect()
    connection.execute("CREATE TEMPORARY TABLE t (id integer)")
    connection.execute(fill("GRANT SELECT ON t TO {}", identifier(CONVERSATION)).encode())
    connection.execute(fill("CREATE POLICY p ON t TO {} USING (true)", identifier(CONVERSATION)).encode())
    assert read_catalog(connection, CONVERSATION).dependencies == ()


def test_an_empty_database(database: Database) -> None:
    found = read_catalog(database.connect(), CONVERSATION)
    assert (found.relations, set(found.schemas), found.functions) == ({}, {"public"}, ())
    assert (found.ledger, found.provision) == ((), None)


def test_a_database_that_is_read_only_by_default(database: Database) -> None:
    connection = database.connect()
    assert not read_catalog(connection, CONVERSATION).read_only
    connection.execute("SET default_transaction_read_only = on")
    assert read_catalog(connection, CONVERSATION).read_only


def test_temporary_tables_are_left_out(database: Database) -> None:
    connection = database.connect()
    connection.execute("CREATE TABLE kept (id integer)")
    connection.execute("CREATE TEMPORARY TABLE gone (id serial PRIMARY KEY) INHERITS (kept)")
    connection.execute("ALTER TABLE gone ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON gone USING (true)")
    found = read_catalog(connection, CONVERSATION)
    assert [name.name for name in found.relations] == ["kept"]
    assert found.relations[Name("public", "kept")].children == ()


def test_a_role_that_was_granted_by_several(database: Database, role_factory: Roles) -> None:
    """PostgreSQL 16 keeps one grant for each grantor: what any of them allows is allowed."""
    group, member, grantor = role_factory("NOLOGIN"), role_factory(), role_factory("LOGIN CREATEROLE")
    names = {"group": identifier(group), "member": identifier(member), "grantor": identifier(grantor)}
    several = database.server.version >= 16
    with database.server.administer() as administrator:
        if several:
            administrator.execute(
                fill(
                    "GRANT {group} TO {grantor} WITH ADMIN OPTION;"
                    "GRANT {group} TO {member} WITH INHERIT FALSE, SET FALSE GRANTED BY CURRENT_USER;"
                    "GRANT {group} TO {member} WITH INHERIT TRUE, SET FALSE GRANTED BY {grantor}",
                    **names,
                ).encode()
            )
        else:
            administrator.execute(fill("GRANT {group} TO {member}", **names).encode())
    (found,) = [each for each in read_catalog(database.connect(), CONVERSATION).memberships if each.member == member]
    assert (found.inherit, found.set_role) == (True, not several)
    with database.server.administer() as administrator:
        if several:
            administrator.execute(fill("REVOKE {group} FROM {member} GRANTED BY {grantor}", **names).encode())


def test_a_not_null_that_was_never_validated_is_none(database: Database) -> None:
    connection = database.connect()
    connection.execute("CREATE TABLE t (a integer, b integer NOT NULL)")
    if database.server.version >= 18:
        connection.execute("ALTER TABLE t ADD CONSTRAINT later NOT NULL a NOT VALID")
    columns = read_catalog(connection, CONVERSATION).relations[Name("public", "t")].columns
    assert [column.not_null for column in columns] == [False, True]


# Statistics


def test_statistics(database: Database) -> None:
    connection = database.connect()
    connection.execute("CREATE TABLE t (kept text, stale text, clean text)")
    connection.execute("INSERT INTO t SELECT 'a', 'b', 'c' FROM generate_series(1, 10)")
    connection.execute("ALTER TABLE t ALTER clean SET STATISTICS 0")
    connection.execute("ANALYZE t")
    connection.execute("ALTER TABLE t ALTER stale SET STATISTICS 0, ALTER kept SET STATISTICS 50")
    columns = read_catalog(connection, CONVERSATION).relations[Name("public", "t")].columns
    assert [(column.name, column.statistics, column.has_statistics) for column in columns] == [
        ("kept", 50, True),
        ("stale", 0, True),
        ("clean", 0, False),
    ]


def test_columns_that_analyze_would_give_statistics_count_as_having_them(database: Database) -> None:
    connection = database.connect()
    connection.execute("CREATE TABLE t (fresh text)")
    (column,) = read_catalog(connection, CONVERSATION).relations[Name("public", "t")].columns
    assert (column.statistics, column.has_statistics) == (-1, True)


# The ledger


def test_ledger_and_provision(database: Database) -> None:
    connection = database.connect()
    connection.execute(LEDGER.encode())
    empty = read_catalog(connection, CONVERSATION)
    assert (empty.ledger, empty.provision) == ((), None)
    connection.execute(
        "INSERT INTO rlsgen.object VALUES"
        " ('policy', 'public', 'It''s \"odd\"', 'rlsgen_select', 'hash', '(a = 1)',"
        '  \'{"force": true, "n": [1, null]}\'),'
        " ('grant', 'public', 't', '', NULL, NULL, NULL)"
    )
    connection.execute(
        "INSERT INTO rlsgen.provision VALUES"
        " (true, '00000000-0000-4000-8000-000000000001', 3, 'spec', 'finger', '7', true)"
    )
    found = read_catalog(connection, CONVERSATION)
    assert found.ledger == (
        LedgerEntry("grant", Name("public", "t"), "", "", "", {}),
        LedgerEntry(
            "policy", Name("public", 'It\'s "odd"'), "rlsgen_select", "hash", "(a = 1)", {"force": True, "n": [1, None]}
        ),
    )
    assert found.provision == Provision("00000000-0000-4000-8000-000000000001", 3, "spec", "finger", "7", True)


@pytest.mark.parametrize(
    ("grants", "missing"),
    [
        ("", "rlsgen.object"),
        ("GRANT SELECT ON ALL TABLES IN SCHEMA rlsgen TO {0}", "rlsgen.object"),
        ("GRANT USAGE ON SCHEMA rlsgen TO {0}", "rlsgen.object"),
        ("GRANT USAGE ON SCHEMA rlsgen TO {0}; GRANT SELECT ON rlsgen.object TO {0}", "rlsgen.provision"),
    ],
)
def test_a_ledger_that_may_not_be_read(database: Database, grants: str, missing: str) -> None:
    owner = database.connect()
    owner.execute(LEDGER.encode())
    owner.execute(grants.format('"' + APPLICATION + '"').encode())
    reader = database.connect(APPLICATION)
    with pytest.raises(ServerError, match=f"{missing} exists, but {APPLICATION} may not read it") as caught:
        read_catalog(reader, CONVERSATION)
    assert "grant USAGE" in caught.value.hint
    owner.execute(f'GRANT USAGE ON SCHEMA rlsgen TO "{APPLICATION}"'.encode())
    owner.execute(f'GRANT SELECT ON ALL TABLES IN SCHEMA rlsgen TO "{APPLICATION}"'.encode())
    assert read_catalog(reader, CONVERSATION).provision is None


def test_the_collector_runs_again_afterwards(database: Database) -> None:
    import gc

    assert gc.isenabled()
    read_catalog(database.connect(), CONVERSATION)
    assert gc.isenabled()
    gc.disable()
    try:
        read_catalog(database.connect(), CONVERSATION)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_queries_are_in_the_package() -> None:
    names = {name for name, _ in (entry.rsplit(".", 1) for entry in os.listdir(Path(read.__file__).parent / "queries"))}
    optional = {"system_identifier", "ledger", "provision", "keys"}
    assert names == {"settings", *read._ALWAYS, *optional}
    assert all(read._query(name).strip() for name in names)
