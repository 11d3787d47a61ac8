"""Hostile SQL on a raw connection: no context is forged, kept, moved or mixed (the first ring, alone).

An attack that fails proves nothing by itself. Each is also run where its protection is missing, and must succeed there.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import pq

from rlsgen.demo.shop import CONVERSATION
from rlsgen.identifiers import fill, identifier, literal
from rlsgen.provision.functions import accessor_versions, context_functions
from tests.context.stage import (
    ABSENT,
    CONTEXT,
    ORGANISATION,
    TEAM,
    USER,
    Stage,
    replacing,
    run,
    spec_of,
    unchanged,
    visible,
)
from tests.support.postgres import Connection, Roles

MakeStage = Callable[..., Stage]
OTHER = {**CONTEXT, "organisationId": 2, "userId": "user_2"}
FORGED = "order of 2"
LIBXML = "requires the server to be built with libxml"

# Texts that a hostile user sends in one message after BEGIN READ ONLY and a context of organisation 1.
ATTACKS: dict[str, str] = {
    "in a sub-query": "SELECT note FROM (SELECT set_config('app.organisation_id', '2', false) OFFSET 0) s, orders",
    "local": "SELECT note FROM (SELECT set_config('app.organisation_id', '2', true) OFFSET 0) s, orders",
    "in a CTE": "WITH s AS MATERIALIZED (SELECT set_config('app.organisation_id', '2', true) AS x)"
    " SELECT note FROM s, orders WHERE x IS NOT NULL",
    "in odd capitals": "SELECT set_config('App.Organisation_ID', '2', true); SELECT note FROM orders",
    "SET": "SET app.organisation_id = 2; SELECT note FROM orders",
    "SET LOCAL": "SET LOCAL app.organisation_id = 2; SELECT note FROM orders",
    "SET after COMMIT": "COMMIT; SET app.organisation_id = 2; SELECT note FROM orders",
    "a new transaction": "COMMIT; BEGIN; SET LOCAL app.organisation_id = 2; SELECT note FROM orders",
    "a chained transaction": "COMMIT AND CHAIN; SET LOCAL app.organisation_id = 2; SELECT note FROM orders",
    "DO": "DO $$ BEGIN PERFORM set_config('app.organisation_id', '2', true);"
    " PERFORM set_config('stolen.it', (SELECT string_agg(note, ',') FROM orders), true); END $$;"
    " SELECT current_setting('stolen.it')",
    "query_to_xml": "SELECT set_config('app.organisation_id', '2', true);"
    " SELECT query_to_xml('SELECT note FROM orders', true, true, '')::text",
    "hidden in query_to_xml": "SELECT query_to_xml("
    "$q$SELECT set_config('app.organisation_id', '2', true)$q$, true, true, '')::text; SELECT note FROM orders",
    "table_to_xml": "SET app.organisation_id = 2; SELECT table_to_xml('orders', true, true, '')::text",
    "schema_to_xml": "SET app.organisation_id = 2; SELECT schema_to_xml('public', true, true, '')::text",
    "cursor_to_xml": "SET app.organisation_id = 2; DECLARE c CURSOR FOR SELECT note FROM orders;"
    " SELECT cursor_to_xml('c', 500, true, true, '')::text",
    "ts_stat": "SET app.organisation_id = 2;"
    " SELECT 'order of ' || word FROM ts_stat('SELECT to_tsvector(''simple'', note) FROM orders')",
    "ts_rewrite": "SET app.organisation_id = 2;"
    " SELECT ts_rewrite('x'::tsquery, 'SELECT ''x''::tsquery, quote_literal(note)::tsquery FROM orders')::text",
    "PREPARE": "PREPARE p AS SELECT note FROM orders; EXECUTE p; SET app.organisation_id = 2; EXECUTE p",
    "a cached generic plan": "SET plan_cache_mode = force_generic_plan; PREPARE g AS SELECT note FROM orders;"
    " EXECUTE g; EXECUTE g; SET app.organisation_id = 2; EXECUTE g",
    "a cursor": "DECLARE c CURSOR FOR SELECT note FROM orders; SET app.organisation_id = 2; FETCH ALL FROM c",
    "a cursor WITH HOLD": "DECLARE h CURSOR WITH HOLD FOR SELECT note FROM orders;"
    " SET app.organisation_id = 2; COMMIT; FETCH ALL FROM h",
    "a savepoint": "SAVEPOINT s; SET LOCAL app.organisation_id = 2; RELEASE s; SELECT note FROM orders",
    "COPY": "SET app.organisation_id = 2; COPY (SELECT note FROM orders) TO STDOUT",
}  # fmt: skip


def everything(connection: Connection, text: str) -> str:
    """All that the server answers to one message of the simple protocol, rows and notices and errors."""
    answers: list[str] = []
    connection.add_notice_handler(lambda notice: answers.append(str(notice.message_primary)))
    raw = connection.pgconn
    raw.send_query(text.encode())
    while (result := raw.get_result()) is not None:
        if result.status == pq.ExecStatus.COPY_OUT:
            while (copied := raw.get_copy_data(0))[0] > 0:
                answers.append(bytes(copied[1]).decode())
        for row in range(result.ntuples):
            for column in range(result.nfields):
                answers.append((result.get_value(row, column) or b"").decode())
        answers.append(result.error_message.decode())
    return "\n".join(answers)


@pytest.mark.parametrize("name", ATTACKS)
def test_settings_do_not_make_a_context(stage: Stage, naive: Stage, name: str) -> None:
    answer = everything(stage.sealed(), ATTACKS[name])
    assert FORGED not in answer
    # A server that was built without libxml has fewer functions to attack with; Debian's has them.
    naively = everything(naive.sealed(), ATTACKS[name])
    assert FORGED in naively or LIBXML in naively, "the attack must work where there is no seal"


@pytest.mark.parametrize("name", ATTACKS)
def test_nor_without_any_context(stage: Stage, name: str) -> None:
    connection = stage.conversation()
    connection.execute("BEGIN READ ONLY")
    answer = everything(connection, ATTACKS[name])
    assert "order of" not in answer
    assert ABSENT in answer or LIBXML in answer


WITHOUT_CONTEXT: dict[str, list[str]] = {
    "nothing": [],
    "settings": ["SELECT set_config('app.organisation_id', '1', false), set_config('app.user_id', 'user_1', false)"],
    "an empty seal": ["SET app.organisation_id = 1", "SET app.rlsgen_seal = ''"],
    "a guessed seal": ["SET app.organisation_id = 1", "SELECT set_config('app.rlsgen_seal', repeat('0', 64), false)"],
    "a seal that is no hexadecimal": ["SET app.organisation_id = 1", "SET app.rlsgen_seal = 'NULL'"],
    "a computed seal": [
        "SET app.organisation_id = 1",
        "SELECT set_config('app.rlsgen_seal', encode(sha256(convert_to(jsonb_build_array(1, pg_backend_pid(),"
        " extract(epoch FROM now()), session_user, 1, NULL, NULL)::text, 'UTF8')), 'hex'), false)",
    ],
}


@pytest.mark.parametrize("name", WITHOUT_CONTEXT)
def test_absent_is_an_error_and_never_empty(stage: Stage, name: str) -> None:
    connection = stage.conversation()
    for statement in WITHOUT_CONTEXT[name]:
        connection.execute(statement.encode())
    for question in (b"SELECT count(*) FROM orders", b"SELECT rlsgen.organisation_id()", b"SELECT rlsgen.team_id()"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=ABSENT) as raised:
            connection.execute(question)
        assert raised.value.diag.message_detail is None
        assert "set_context" in str(raised.value.diag.message_hint)


def test_every_absence_looks_the_same(stage: Stage) -> None:
    seen = set()
    for statements in WITHOUT_CONTEXT.values():
        connection = stage.conversation()
        for statement in statements:
            connection.execute(statement.encode())
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as raised:
            connection.execute("SELECT rlsgen.organisation_id()")
        diagnosis = raised.value.diag
        seen.add((diagnosis.message_primary, diagnosis.message_hint, diagnosis.context))
    assert len(seen) == 1


def test_an_empty_or_null_seal_key_cannot_be(make_stage: MakeStage) -> None:
    owner = make_stage().owner()
    for statement in (
        b"UPDATE rlsgen_private.seal_key SET inner_pad = NULL",
        b"UPDATE rlsgen_private.seal_key SET outer_pad = ''",
        b"UPDATE rlsgen_private.signing_key SET inner_pad = ''",
        b"INSERT INTO rlsgen_private.signing_key (kid, outer_pad) VALUES ('x', NULL)",
        b"INSERT INTO rlsgen_private.seal_key SELECT false, inner_pad, outer_pad FROM rlsgen_private.seal_key",
    ):
        with pytest.raises(psycopg.errors.IntegrityError):
            owner.execute(statement)


def test_null_seals_fail_open_if_compared_carelessly(make_stage: MakeStage) -> None:
    """What the first prototype did: no key and no seal are `not distinct`."""
    careless = make_stage(replacing(
        "valid := hashtextextended(expected, 0) = hashtextextended(claimed, 0) AND expected = claimed",
        "valid := expected IS NOT DISTINCT FROM nullif(claimed, '')",
    ))  # fmt: skip
    careless.owner().execute("DELETE FROM rlsgen_private.seal_key")
    connection = careless.conversation()
    connection.execute("SET app.organisation_id = 2")
    assert visible(connection) == [2]


SETTINGS = ("organisation_id", "team_id", "user_id", "rlsgen_seal")


def stolen(connection: Connection) -> list[str]:
    """A transaction's context and seal, as any text can read them."""
    row = connection.execute(
        "SELECT current_setting('app.organisation_id'), current_setting('app.team_id'),"
        " current_setting('app.user_id'), current_setting('app.rlsgen_seal')"
    ).fetchone()
    assert row is not None
    return list(row)


def replay(connection: Connection, values: list[str]) -> list[int] | str:
    """Put a stolen context into a connection's session; what it sees then."""
    for name, value in zip(SETTINGS, values, strict=True):
        connection.execute("SELECT set_config('app.' || %s, %s, false)", [name, value])
    try:
        return visible(connection)
    except psycopg.errors.InsufficientPrivilege as error:
        return str(error.diag.message_primary)


def both(*mutations: Callable[[str], str]) -> Callable[[str], str]:
    def mutate(sql: str) -> str:
        for each in mutations:
            sql = each(sql)
        return sql

    return mutate


def accessor_too(old: str, new: str) -> Callable[[str], str]:
    """Replaces wherever it stands: the setter says it twice, an accessor once."""
    return lambda sql: sql.replace(old, new)


NOW = accessor_too("extract(epoch FROM now())", "0")
PID = accessor_too("pg_backend_pid()", "0")
SESSION_USER = accessor_too("session_user", "''")


def test_a_seal_does_not_outlive_its_transaction(stage: Stage, make_stage: MakeStage) -> None:
    outcomes = []
    for each in (stage, make_stage(NOW)):
        connection = each.sealed()
        values = stolen(connection)
        connection.execute("COMMIT")
        connection.execute("BEGIN")
        outcomes.append(replay(connection, values))
    assert outcomes == [ABSENT, [1]]


def test_a_seal_copied_within_one_message_gives_nothing_new(stage: Stage) -> None:
    """Transactions of one message share now(): what was there can be had again, and nothing else."""
    connection = stage.sealed()
    values = stolen(connection)
    connection.execute("ROLLBACK")
    begin = f"BEGIN; SELECT rlsgen.set_context('{stage.token(OTHER)}');"
    keep = "".join(
        f"SELECT set_config('kept.{name}', current_setting('app.{name}'), false);" for name in SETTINGS
    )  # fmt: skip
    restore = "".join(
        f"SELECT set_config('app.{name}', current_setting('kept.{name}'), false);" for name in SETTINGS
    )  # fmt: skip
    answer = everything(connection, f"{begin}{keep}COMMIT; BEGIN;{restore}SELECT note FROM orders")
    assert "order of 1" not in answer
    assert "order of 3" not in answer
    connection.execute("ROLLBACK")
    connection.execute("BEGIN")
    assert "order of" not in everything(connection, f"{restore}SELECT note FROM orders")
    connection.execute("ROLLBACK")
    assert replay(connection, values) == ABSENT


def test_a_seal_does_not_move_to_another_backend(make_stage: MakeStage) -> None:
    """Even if that one's transaction began in the same microsecond."""
    outcomes = []
    for mutation in (NOW, both(NOW, PID)):
        stage = make_stage(mutation)
        outcomes.append(replay(stage.conversation(), stolen(stage.sealed())))
    assert outcomes == [ABSENT, [1]]


def test_a_seal_does_not_move_to_another_user(make_stage: MakeStage, role_factory: Roles) -> None:
    """A superuser's session that plays the conversation role, and then another one."""
    outcomes: list[Any] = []
    for mutation in (SESSION_USER, None):
        stage = make_stage(mutation) if mutation else make_stage()
        other = role_factory()
        superuser = stage.superuser()
        run(superuser, fill("GRANT {} TO {}", identifier(CONVERSATION), identifier(other)))
        superuser.execute("BEGIN")
        run(superuser, fill("SET SESSION AUTHORIZATION {}", identifier(CONVERSATION)))
        superuser.execute("SELECT rlsgen.set_context(%s)", [stage.token()])
        assert visible(superuser) == [1]
        run(superuser, fill("SET SESSION AUTHORIZATION {}", identifier(other)))
        try:
            outcomes.append(visible(superuser))
        except psycopg.errors.InsufficientPrivilege as error:
            outcomes.append(error.diag.message_primary)
    assert outcomes == [[1], ABSENT]


@pytest.mark.parametrize("change", ["app.organisation_id", "app.team_id", "app.user_id", "app.rlsgen_seal"])
def test_any_changed_setting_voids_the_context(stage: Stage, change: str) -> None:
    connection = stage.sealed()
    connection.execute("SELECT set_config(%s, '2', true)", [change])
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match=ABSENT):
        visible(connection)


def test_absent_and_empty_and_separators_are_not_confused(stage: Stage, make_stage: MakeStage) -> None:
    """A value that contains what looks like the next ones; the first prototype joined them with a separator."""
    joined = lambda sql: sql.replace("json_build_array(", "concat_ws('|', ")  # noqa: E731
    outcomes = []
    for each in (stage, make_stage(joined)):
        # Sealed: organisation 1, no team, a user called "2|user". Claimed: team "2", a user called "user".
        connection = each.sealed({"organisationId": 1, "userId": "2|user"})
        connection.execute("SELECT set_config('app.team_id', '2', true), set_config('app.user_id', 'user', true)")
        try:
            outcomes.append(connection.execute("SELECT rlsgen.team_id()").fetchone())
        except psycopg.errors.InsufficientPrivilege as error:
            outcomes.append(error.diag.message_primary)
    assert outcomes == [ABSENT, (2,)]


SECOND = replacing("EXIT verification WHEN valid;", "")
CURSORS = replacing("NOT EXISTS (SELECT FROM pg_cursor() AS p WHERE p.name <> '')", "true")


def test_a_transaction_takes_one_context(stage: Stage, make_stage: MakeStage) -> None:
    outcomes = []
    for each in (stage, make_stage(SECOND)):
        connection = each.sealed()
        connection.execute("SAVEPOINT s")
        try:
            connection.execute("SELECT rlsgen.set_context(%s)", [each.token(OTHER)])
        except psycopg.errors.InsufficientPrivilege:
            connection.execute("ROLLBACK TO s")
        outcomes.append(visible(connection))
    assert outcomes == [[1], [2]]


def mixed(stage: Stage, forget: str) -> list[int]:
    """A cursor that begins under one context and goes on under another: the organisations that it returns."""
    connection = stage.conversation()
    connection.execute("BEGIN")
    begun = "DECLARE c CURSOR FOR SELECT organisation_id FROM orders UNION ALL SELECT organisation_id FROM orders"
    if forget == "ROLLBACK TO s":
        connection.execute(begun.encode())
        connection.execute("SAVEPOINT s")
    connection.execute("SELECT rlsgen.set_context(%s)", [stage.token()])
    if forget != "ROLLBACK TO s":
        connection.execute(begun.encode())
    rows = connection.execute("FETCH 1 FROM c").fetchall()
    connection.execute(forget.encode())
    connection.execute("SELECT rlsgen.set_context(%s)", [stage.token(OTHER)])
    rows += connection.execute("FETCH ALL FROM c").fetchall()
    return sorted({organisation for (organisation,) in rows})


@pytest.mark.parametrize("forget", ["SET LOCAL app.rlsgen_seal = ''", "ROLLBACK TO s"])
def test_an_open_cursor_does_not_mix_contexts(stage: Stage, make_stage: MakeStage, forget: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="refused"):
        mixed(stage, forget)
    assert mixed(make_stage(CURSORS), forget) == [1, 2]


def test_a_rolled_back_context_is_gone(stage: Stage) -> None:
    connection = stage.conversation()
    connection.execute("BEGIN")
    connection.execute("SAVEPOINT s")
    connection.execute("SELECT rlsgen.set_context(%s)", [stage.token()])
    connection.execute("ROLLBACK TO s")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match=ABSENT):
        visible(connection)
    connection.execute("ROLLBACK")
    connection.execute("BEGIN")
    connection.execute("SAVEPOINT s")
    connection.execute("SELECT rlsgen.set_context(%s)", [stage.token()])
    connection.execute("RELEASE s")
    assert visible(connection) == [1]


@pytest.mark.parametrize("mode", ["auto", "force_generic_plan", "force_custom_plan"])
def test_prepared_statements_follow_the_context(stage: Stage, mode: str) -> None:
    connection = stage.conversation()
    connection.execute(f"SET plan_cache_mode = {mode}".encode())
    connection.execute("PREPARE p AS SELECT DISTINCT organisation_id FROM orders")
    for organisation in (1, 2, 3) * 3:
        with connection.transaction():
            context = {**CONTEXT, "organisationId": organisation}
            connection.execute("SELECT rlsgen.set_context(%s)", [stage.token(context)])
            assert connection.execute("EXECUTE p").fetchall() == [(organisation,)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match=ABSENT):
        connection.execute("EXECUTE p")


PARALLEL = [
    "SET LOCAL max_parallel_workers_per_gather = 2",
    "SET LOCAL parallel_leader_participation = off",
    "SET LOCAL parallel_setup_cost = 0",
    "SET LOCAL parallel_tuple_cost = 0",
    "SET LOCAL min_parallel_table_scan_size = 0",
]


def test_parallel_workers(make_stage: MakeStage) -> None:
    """The seal is the leader's. Called safe, an accessor would run in workers, whose pid is another, and fail there."""
    outcomes = []
    for mutation in (unchanged, replacing("PARALLEL RESTRICTED", "PARALLEL SAFE")):
        stage = make_stage(mutation)
        owner = stage.owner()
        owner.execute("INSERT INTO orders SELECT n, 1 + n % 3, '' FROM generate_series(301, 60000) AS n")
        owner.execute("ANALYZE orders")
        connection = stage.sealed()
        for statement in PARALLEL:
            connection.execute(statement.encode())
        assert "Gather" in str(connection.execute("EXPLAIN SELECT count(*) FROM orders").fetchall())
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (20_000,)
        try:
            rows = connection.execute(
                "SELECT count(*) FROM orders WHERE organisation_id + 0 = rlsgen.organisation_id()"
            )
            outcomes.append(rows.fetchone())
        except psycopg.errors.InsufficientPrivilege as error:
            outcomes.append(error.diag.message_primary)
    assert outcomes == [(20_000,), ABSENT]


def test_roles_that_it_cannot_become(stage: Stage) -> None:
    connection = stage.sealed()
    for text in (
        "SET ROLE shop_owner",
        "SET ROLE shop_app",
        "SELECT set_config('role', 'shop_owner', true)",
        "SET SESSION AUTHORIZATION shop_owner",
        "SELECT set_config('session_authorization', 'shop_owner', true)",
    ):
        connection.execute("SAVEPOINT s")
        with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidParameterValue)):
            connection.execute(text.encode())
        connection.execute("ROLLBACK TO s")


def test_read_write_comes_too_late(stage: Stage) -> None:
    with pytest.raises(psycopg.errors.ActiveSqlTransaction):
        stage.sealed().execute("SET TRANSACTION READ WRITE")


def secrets(stage: Stage) -> list[bytes]:
    """All that must not get out: the pads of every key."""
    rows = stage.superuser().execute(
        "SELECT inner_pad, outer_pad FROM rlsgen_private.seal_key"
        " UNION ALL SELECT inner_pad, outer_pad FROM rlsgen_private.signing_key"
    )
    return [stage.key.secret, *(pad for row in rows for pad in row)]


def spellings(secret: bytes) -> list[str]:
    """How a secret could stand in a text: hexadecimal, base64, or as debug_print_plan shows the bytes of a constant."""
    some = secret[:16]
    signed = " ".join(str(byte - 256 if byte > 127 else byte) for byte in some)
    return [some.hex(), base64.b64encode(some).decode()[:20], signed]


def test_no_secret_in_the_catalog(stage: Stage) -> None:
    connection = stage.sealed()
    catalog = str(connection.execute("SELECT * FROM pg_proc WHERE pronamespace = 'rlsgen'::regnamespace").fetchall())
    catalog += str(connection.execute("SELECT * FROM pg_stats").fetchall())
    assert "json_build_array" in catalog
    assert not [each for secret in secrets(stage) for each in spellings(secret) if each in catalog]


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM rlsgen_private.seal_key",
        "SELECT count(*) FROM rlsgen_private.signing_key",
        "SELECT id FROM rlsgen.provision",
        "COPY rlsgen_private.seal_key TO STDOUT",
        "EXPLAIN SELECT FROM rlsgen_private.seal_key WHERE inner_pad > ''",
        "SELECT 'rlsgen_private.seal_key'::regclass",
        "LOCK TABLE rlsgen_private.seal_key",
    ],
)
def test_the_keys_are_out_of_reach(stage: Stage, text: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied"):
        stage.sealed().execute(text.encode())


DEBUG = """SET client_min_messages = log; SET debug_pretty_print = off;
SET debug_print_plan = on; SET debug_print_rewritten = on; SET debug_print_parse = on;
SET plan_cache_mode = force_custom_plan; SET plpgsql.print_strict_params = on; SET plpgsql.extra_errors = 'all'"""


def overheard(stage: Stage, organisation: int) -> tuple[str, str]:
    """All that the server says while a forged context is tried, and the seal that would make it a true one."""
    said: list[str] = []
    connection = stage.sealed()
    connection.execute(DEBUG.encode())
    connection.add_notice_handler(
        lambda notice: said.append(f"{notice.message_primary} {notice.message_detail} {notice.context}")
    )
    connection.execute("SELECT set_config('app.organisation_id', %s, true)", [str(organisation)])
    for question in (b"SELECT rlsgen.organisation_id()", f"SELECT rlsgen.set_context('{stage.token()}')".encode()) * 7:
        connection.execute("SAVEPOINT s")
        try:
            connection.execute(question)
        except psycopg.errors.InsufficientPrivilege as error:
            said.append(str(error.diag.message_detail))
        connection.execute("ROLLBACK TO s")
    return " ".join(" ".join(said).split()), true_seal(stage, connection, organisation)


def true_seal(stage: Stage, connection: Connection, organisation: int) -> str:
    """The seal of a context in a connection's transaction, computed with the key as only an owner could."""
    (definition,) = stage.owner().execute(
        "SELECT prosrc FROM pg_proc WHERE proname = 'organisation_id'"
    ).fetchone() or ("",)
    layout = definition.split("json_build_array('")[1].partition("'")[0]
    facts = connection.execute("SELECT pg_backend_pid(), extract(epoch FROM now())::text").fetchone()
    assert facts is not None
    row = (
        stage.owner()
        .execute(
            "SELECT encode(sha256(k.outer_pad || sha256(k.inner_pad || convert_to(json_build_array("
            "%s::text, %s::int, %s::numeric, %s::text, %s::text, '7', 'user_1')::text, 'UTF8'))), 'hex')"
            " FROM rlsgen_private.seal_key AS k",
            [layout, *facts, CONVERSATION, str(organisation)],
        )
        .fetchone()
    )
    assert row is not None
    return str(row[0])


def test_the_true_seal_would_open(stage: Stage) -> None:
    """That `true_seal` is what the next test must not find."""
    connection = stage.sealed()
    connection.execute("SELECT set_config('app.organisation_id', '2', true)")
    connection.execute("SELECT set_config('app.rlsgen_seal', %s, true)", [true_seal(stage, connection, 2)])
    assert visible(connection) == [2]


def test_nothing_secret_is_overheard(stage: Stage, make_stage: MakeStage) -> None:
    """debug_print_plan shows parameters of queries to any caller: a seal that is one, as here, is lost."""
    leaky = make_stage(
        replacing("  IF valid IS NOT TRUE THEN", "  PERFORM expected || '';\n  IF valid IS NOT TRUE THEN")
    )
    found = []
    for each in (stage, leaky):
        said, seal = overheard(each, 2)
        assert "PLANNEDSTMT" in said.upper()
        found.append(any(spelling in said for spelling in (seal, *spellings(seal.encode()))))
        assert not [text for secret in secrets(each) for text in spellings(secret) if text in said]
    assert found == [False, True]


def estimates(stage: Stage) -> set[str]:
    """Row estimates that a conversation gets for the keys, by a search over their first byte."""
    seen: set[str] = set()
    connection = stage.conversation()
    connection.execute("SET client_min_messages = log; SET debug_print_plan = on")
    said: list[str] = []
    connection.add_notice_handler(lambda notice: said.append(str(notice.message_detail)))
    for start in ("00", "40", "80", "c0", "ff"):
        said.clear()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(
                f"SELECT FROM rlsgen_private.signing_key WHERE inner_pad > decode('{start}', 'hex')".encode()
            )
        seen.update(text.partition("plan_rows ")[2].split()[0] for text in said if "plan_rows " in text)
    return seen


def test_the_planner_gives_no_key_away(make_stage: MakeStage) -> None:
    stage = make_stage()
    owner = stage.owner()
    owner.execute(
        "INSERT INTO rlsgen_private.signing_key (kid, inner_pad, outer_pad, system_identifier)"
        " SELECT n, sha256(uuid_send(gen_random_uuid())) || sha256(''), sha256('') || sha256(''), ''"
        " FROM generate_series(1, 2000) AS n"
    )
    owner.execute("ANALYZE rlsgen_private.signing_key")
    assert estimates(stage) == set(), "no USAGE, so no plan"
    run(owner, fill("GRANT USAGE ON SCHEMA rlsgen_private TO {}", identifier(CONVERSATION)))
    assert len(estimates(stage)) == 1, "no policy, so nothing to estimate"
    owner.execute("ALTER TABLE rlsgen_private.signing_key DISABLE ROW LEVEL SECURITY")
    assert len(estimates(stage)) == 1, "no statistics, so all estimates are the same"
    owner.execute("ALTER TABLE rlsgen_private.signing_key ALTER inner_pad SET STATISTICS 100")
    owner.execute("ANALYZE rlsgen_private.signing_key")
    assert len(estimates(stage)) > 2, "without the protections, a binary search finds the bytes"


def test_pg_read_all_data_reads_no_key(make_stage: MakeStage, role_factory: Roles) -> None:
    stage, reader = make_stage(), role_factory()
    run(stage.superuser(), fill("GRANT pg_read_all_data TO {}", identifier(reader)))
    connection = stage.database.connect(reader)
    for table in (b"seal_key", b"signing_key"):
        question = b"SELECT count(*) FROM rlsgen_private." + table
        assert connection.execute(question).fetchone() == (0,)
        stage.owner().execute(b"ALTER TABLE rlsgen_private." + table + b" DISABLE ROW LEVEL SECURITY")
        assert connection.execute(question).fetchone() == (1,)


SHADOWS = [
    "CREATE FUNCTION pg_temp.steal(pg_catalog.text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN"
    " PERFORM pg_catalog.set_config('stolen.key',"
    " (SELECT pg_catalog.encode(inner_pad, 'hex') FROM rlsgen_private.seal_key), false); RETURN true; END $$",
    "CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK (pg_temp.steal(VALUE))",
    "CREATE FUNCTION pg_temp.sha256(bytea) RETURNS bytea LANGUAGE sql AS $$ SELECT '\\x00'::bytea $$",
    "CREATE FUNCTION pg_temp.current_setting(pg_catalog.text, boolean) RETURNS pg_catalog.text LANGUAGE sql"
    " AS $$ SELECT '2' $$",
    "CREATE FUNCTION pg_temp.equal(pg_catalog.text, pg_catalog.text) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$",
    "CREATE OPERATOR pg_temp.= (FUNCTION = pg_temp.equal, LEFTARG = pg_catalog.text, RIGHTARG = pg_catalog.text)",
    "CREATE TEMPORARY TABLE seal_key (singleton boolean, inner_pad bytea, outer_pad bytea)",
    "INSERT INTO seal_key VALUES (true, '', '')",
    "CREATE TEMPORARY TABLE orders AS SELECT 2 AS organisation_id",
    "SET search_path = pg_temp, public, pg_catalog",
]


def test_temporary_objects_shadow_nothing(make_stage: MakeStage) -> None:
    """With TEMP, a type of the caller's making would run its CHECK as the owner of the keys."""
    outcomes = []
    for mutation in (None, lambda sql: sql.replace(" SET search_path = pg_catalog, pg_temp", "")):
        stage = make_stage(mutation) if mutation else make_stage()
        run(
            stage.superuser(),
            fill("GRANT TEMPORARY ON DATABASE {} TO {}", identifier(stage.database.name), identifier(CONVERSATION)),
        )
        connection = stage.conversation()
        for statement in SHADOWS:
            connection.execute(statement.encode())
        connection.execute("SELECT pg_catalog.set_config('app.organisation_id', '2', false)")
        for question in (b"SELECT rlsgen.organisation_id()", b"SELECT organisation_id FROM public.orders"):
            with pytest.raises(psycopg.Error):
                connection.execute(question)
        outcomes.append(connection.execute("SELECT pg_catalog.current_setting('stolen.key', true)").fetchone())
    assert outcomes[0] == (None,)
    assert outcomes[1] != (None,)


HOSTILE_SETTINGS = {
    "standard_conforming_strings": "off",
    "escape_string_warning": "on",
    "backslash_quote": "on",
    "DateStyle": "SQL, DMY",
    "TimeZone": "Pacific/Chatham",
    "timezone_abbreviations": "Australia",
    "IntervalStyle": "sql_standard",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "client_encoding": "LATIN1",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "quote_all_identifiers": "on",
    "row_security": "off",
    "search_path": "pg_temp, public, pg_catalog",
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_indexscan": "off",
    "jit_above_cost": "0",
    "work_mem": "64kB",
    "xmlbinary": "hex",
    "lc_monetary": "C",
    "check_function_bodies": "off",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "plpgsql.extra_errors": "all",
    "plpgsql.extra_warnings": "all",
    "plpgsql.print_strict_params": "on",
    "stats_fetch_consistency": "none",
}


@pytest.mark.parametrize("setting", [*HOSTILE_SETTINGS, "all of them"])
def test_whatever_the_caller_has_set(stage: Stage, setting: str) -> None:
    connection = stage.conversation()
    chosen = HOSTILE_SETTINGS if setting == "all of them" else {setting: HOSTILE_SETTINGS[setting]}
    for name, value in chosen.items():
        run(connection, fill("SELECT set_config({}, {}, false)", literal(name), literal(value)))
    connection.execute("BEGIN READ ONLY")
    connection.execute("SELECT rlsgen.set_context(%s)", [stage.token()])
    answers = connection.execute("SELECT rlsgen.organisation_id(), rlsgen.team_id(), rlsgen.user_id()").fetchone()
    assert answers == (1, 7, "user_1")
    connection.execute("SELECT set_config('app.organisation_id', '2', true)")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match=ABSENT):
        connection.execute("SELECT rlsgen.organisation_id()")


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE, READ ONLY, DEFERRABLE"])
def test_isolation_levels(stage: Stage, isolation: str) -> None:
    assert visible(stage.sealed(mode=f"ISOLATION LEVEL {isolation}")) == [1]


def test_a_seal_does_not_outlive_its_layout(make_stage: MakeStage) -> None:
    """In a transaction that is open while the context changes, a team's number must not become an organisation's."""
    outcomes: list[Any] = []
    for forget in (False, True):
        stage = make_stage()
        connection = stage.sealed({"organisationId": 1, "teamId": 2, "userId": "user_1"})
        swapped = spec_of(TEAM, ORGANISATION, USER)
        old, new = (
            str(context_functions(each, accessor_versions(each, {}))[0].create).split("json_build_array('")[1][:16]
            for each in (stage.spec, swapped)
        )
        assert old != new
        for each in context_functions(swapped, accessor_versions(swapped, {})):
            stage.owner().execute((each.create.replace(new, old) if forget else each.create).encode())
        connection.execute("SELECT set_config('app.organisation_id', '2', true), set_config('app.team_id', '1', true)")
        try:
            outcomes.append(visible(connection))
        except psycopg.errors.InsufficientPrivilege as error:
            outcomes.append(error.diag.message_primary)
    assert outcomes == [ABSENT, [2]]
