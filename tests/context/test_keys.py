"""Signing keys: made inside the database, several at a time, retired for good, and told from a copy's."""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Callable
from datetime import timedelta

import psycopg
import pytest

from rlsgen.errors import KeyProblem
from rlsgen.identifiers import fill, identifier
from rlsgen.provision.functions import key_tables
from rlsgen.provision.keys import create_key, list_keys, renew_seal_key, retire, rotate
from tests.context.stage import ABSENT, SPEC, Stage, run, visible
from tests.support.postgres import Database, Roles

MakeStage = Callable[..., Stage]


def test_a_key_signs(make_stage: MakeStage) -> None:
    stage = make_stage()
    key = create_key(stage.owner())
    assert len(key.secret) == 32
    first, second = list_keys(stage.owner())
    assert (first.kid, second.kid) == (stage.key.kid, key.kid)
    assert first.valid
    assert second.age < timedelta(minutes=5)
    assert second.copied is False
    stage.key = key
    assert stage.accepts(stage.token())


def test_pads_are_those_of_hmac(make_stage: MakeStage) -> None:
    """RFC 2104, with Python's own implementation as the judge."""
    stage = make_stage()
    row = (
        stage.owner()
        .execute("SELECT sha256(outer_pad || sha256(inner_pad || 'message'::bytea)) FROM rlsgen_private.signing_key")
        .fetchone()
    )
    assert row == (hmac.new(stage.key.secret, b"message", hashlib.sha256).digest(),)


def test_the_secret_is_in_no_statement_and_not_kept(make_stage: MakeStage) -> None:
    """A statement log that writes everything sees statements and parameters, not results."""
    stage = make_stage()
    owner = stage.owner()
    sent: list[bytes] = []

    class Listening(psycopg.Cursor[tuple[object, ...]]):
        def execute(self, query, params=None, **options):  # type: ignore[no-untyped-def]
            sent.append(f"{query!r} {params!r}".encode())
            return super().execute(query, params, **options)

    owner.cursor_factory = Listening
    key = create_key(owner)
    assert any(b"signing_key" in each for each in sent)
    rows = str(owner.execute("SELECT * FROM rlsgen_private.signing_key").fetchall()).encode()
    for spelling in (key.secret.hex().encode(), key.secret, repr(key.secret)[2:-1].encode()):
        assert spelling not in b"".join(sent)
        assert spelling not in rows


def test_rotation_keeps_old_keys_until_they_are_retired(make_stage: MakeStage) -> None:
    stage = make_stage()
    old = stage.token()
    new = rotate(stage.owner())
    assert stage.accepts(old)
    retire(stage.owner(), stage.key.kid)
    assert not stage.accepts(old)
    retire(stage.owner(), stage.key.kid)
    listed = list_keys(stage.owner())
    assert [each.valid for each in listed] == [False, True]
    stage.key = new
    assert stage.accepts(stage.token())


def test_a_retired_key_is_destroyed(make_stage: MakeStage) -> None:
    """Even if somebody clears the mark."""
    stage = make_stage()
    token = stage.token()
    retire(stage.owner(), stage.key.kid, force=True)
    stage.owner().execute("UPDATE rlsgen_private.signing_key SET retired_at = NULL")
    assert not stage.accepts(token)


def test_a_mark_alone_retires(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.owner().execute("UPDATE rlsgen_private.signing_key SET retired_at = now()")
    assert not stage.accepts(stage.token())
    careless = make_stage(lambda sql: sql.replace("AND k.retired_at IS NULL", ""))
    careless.owner().execute("UPDATE rlsgen_private.signing_key SET retired_at = now()")
    assert careless.accepts(careless.token())


def test_the_last_key_stays(make_stage: MakeStage) -> None:
    stage = make_stage()
    with pytest.raises(KeyProblem, match="is the last valid signing key") as raised:
        retire(stage.owner(), stage.key.kid)
    assert "rotate" in raised.value.hint
    assert stage.accepts(stage.token())
    with pytest.raises(KeyProblem, match="there is no signing key 'nobody'"):
        retire(stage.owner(), "nobody")
    retire(stage.owner(), stage.key.kid, force=True)
    assert not any(each.valid for each in list_keys(stage.owner()))


def test_two_do_not_retire_the_last_two_at_once(make_stage: MakeStage) -> None:
    stage = make_stage()
    kids = [stage.key.kid, create_key(stage.owner()).kid]
    start, refused = threading.Barrier(2), []

    def one(kid: str, connection: psycopg.Connection[object]) -> None:
        start.wait(timeout=30)
        try:
            retire(connection, kid)
        except KeyProblem as problem:
            refused.append(problem)

    threads = [threading.Thread(target=one, args=(kid, stage.owner())) for kid in kids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(refused) == 1
    assert sum(each.valid for each in list_keys(stage.owner())) == 1


def test_a_copy_is_told_and_gets_its_own_seal_key(make_stage: MakeStage) -> None:
    stage = make_stage()
    owner = stage.owner()
    seal = owner.execute("SELECT inner_pad FROM rlsgen_private.seal_key").fetchone()
    rotate(owner)
    assert owner.execute("SELECT inner_pad FROM rlsgen_private.seal_key").fetchone() == seal, "here, seals stay valid"
    for table in (b"signing_key", b"seal_key"):
        owner.execute(b"UPDATE rlsgen_private." + table + b" SET system_identifier = '1'")
    assert [each.copied for each in list_keys(owner)] == [True, True]
    rotate(owner)
    assert [each.copied for each in list_keys(owner)] == [True, True, False]
    assert owner.execute("SELECT inner_pad FROM rlsgen_private.seal_key").fetchone() != seal


def test_where_the_system_identifier_may_not_be_seen(make_stage: MakeStage) -> None:
    stage = make_stage()
    with stage.superuser() as superuser:
        superuser.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
    owner = stage.owner()
    create_key(owner)
    assert [each.copied for each in list_keys(owner)] == [None, None]
    rotate(owner)
    owner.execute("DELETE FROM rlsgen_private.seal_key")
    run(owner, key_tables())
    assert owner.execute("SELECT system_identifier FROM rlsgen_private.seal_key").fetchone() == ("",)


def test_a_new_seal_key_voids_open_contexts_only(make_stage: MakeStage) -> None:
    stage = make_stage()
    token = stage.token()
    connection = stage.sealed()
    renew_seal_key(stage.owner())
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match=ABSENT):
        visible(connection)
    assert stage.accepts(token)


def test_making_the_tables_again_changes_nothing(make_stage: MakeStage) -> None:
    stage = make_stage()
    owner = stage.owner()
    question = (
        "SELECT k::text FROM rlsgen_private.seal_key k UNION ALL SELECT k::text FROM rlsgen_private.signing_key k"
    )
    before = owner.execute(question).fetchall()
    reader = stage.sealed()
    assert visible(reader) == [1]
    owner.execute("SET lock_timeout = '2s'")
    run(owner, key_tables())
    assert owner.execute(question).fetchall() == before


def test_the_tables_protections_are_put_back(make_stage: MakeStage, role_factory: Roles) -> None:
    stage, reader = make_stage(), role_factory()
    owner = stage.owner()
    owner.execute("ALTER TABLE rlsgen_private.seal_key DISABLE ROW LEVEL SECURITY, ALTER inner_pad SET STATISTICS -1")
    run(owner, fill("GRANT SELECT ON rlsgen_private.seal_key TO {} WITH GRANT OPTION", identifier(reader)))
    owner.execute("GRANT SELECT ON rlsgen_private.seal_key TO PUBLIC")
    run(owner, key_tables())
    row = owner.execute(
        "SELECT c.relrowsecurity, a.attstattarget,"
        " (SELECT count(*) FROM aclexplode(c.relacl) AS g WHERE g.grantee <> c.relowner)"
        " FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'inner_pad'"
        " WHERE c.oid = 'rlsgen_private.seal_key'::regclass"
    ).fetchone()
    assert row == (True, 0, 0)


def test_default_privileges_do_not_open_the_tables(database: Database, role_factory: Roles) -> None:
    reader = role_factory()
    with database.connect() as owner:
        run(owner, fill("ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO {}", identifier(reader)))
    stage = Stage(database, SPEC)
    row = (
        stage.owner()
        .execute("SELECT has_table_privilege(%s, 'rlsgen_private.seal_key', 'SELECT')", [reader])
        .fetchone()
    )
    assert row == (False,)


def test_a_database_without_keys(database: Database) -> None:
    with pytest.raises(KeyProblem, match="not provisioned"):
        list_keys(database.connect())
    with pytest.raises(KeyProblem, match="not provisioned"):
        create_key(database.connect())


def test_a_database_whose_provision_is_gone(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.owner().execute("DELETE FROM rlsgen.provision")
    with pytest.raises(KeyProblem, match="not provisioned"):
        create_key(stage.owner())
    assert len(list_keys(stage.owner())) == 1
    assert not stage.accepts(stage.token())


def test_a_role_that_may_not(stage: Stage) -> None:
    for use in (list_keys, create_key, rotate, renew_seal_key):
        with pytest.raises(KeyProblem, match="may not use the keys") as raised:
            use(stage.conversation())
        assert "apply" in raised.value.hint


def test_a_read_only_session(stage: Stage) -> None:
    connection = stage.owner()
    connection.execute("SET default_transaction_read_only = on")
    with pytest.raises(KeyProblem, match="read-only"):
        create_key(connection)
    assert list_keys(connection)


@pytest.mark.parametrize("factory", [psycopg.rows.dict_row, psycopg.rows.namedtuple_row])
def test_whatever_the_connection_makes_of_rows(make_stage: MakeStage, factory: object) -> None:
    owner = make_stage().database.connect(row_factory=factory)
    kid = rotate(owner).kid
    retire(owner, kid)
    assert [each.valid for each in list_keys(owner)] == [True, False]
