"""Each ring with the others switched off: the database (test_attacks.py, on raw connections), the guard, the session."""

from __future__ import annotations

import contextlib
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import psycopg_pool
import pytest
import yaml
from psycopg import pq

from rlsgen import ConversationPool
from rlsgen.demo.shop import CONVERSATION
from rlsgen.errors import QueryFailed, RlsgenError, StatementRefused, Unhealthy
from rlsgen.identifiers import fill, identifier
from rlsgen.runtime import session
from rlsgen.spec.model import Limits
from tests.hostile.attacks import FORGING
from tests.hostile.support import ALDER, BIRCH, Sandbox, send
from tests.support.postgres import Database

Context = Mapping[str, object]
_RINGS = yaml.safe_load(Path(__file__).with_name("rings.yaml").read_text(encoding="utf-8"))
TEXTS: dict[str, str] = {f"{group}-{name}": text for group, texts in _RINGS.items() for name, text in texts.items()}
TEXTS |= {attack.id: attack.text for attack in FORGING}


def open_pool(sandbox: Sandbox, **options: Any) -> ConversationPool:
    """One connection, and no self-check after the first: the tests take the other rings away behind its back."""
    options = {
        "known_holes": "warn",
        "min_size": 1,
        "max_size": 1,
        "self_check_seconds": 3_600,
        "limits": Limits(),
        **options,
    }
    pool = ConversationPool(sandbox.database.dsn(CONVERSATION), sandbox.spec, sandbox.key, **options)
    pool._core.suspect = lambda: False  # type: ignore[method-assign]
    return pool


def take_ring_1_away(sandbox: Sandbox) -> None:
    """No row security, accessors that believe what the session says, and every right that there is to have."""
    tables = ("products", "orders", "order_items", "notes", "users", "events", "api_keys", "vaults", "projects")
    sandbox.owner("; ".join(f"ALTER TABLE {each} DISABLE ROW LEVEL SECURITY" for each in tables))
    sandbox.owner(
        "CREATE OR REPLACE FUNCTION rlsgen.organisation_id() RETURNS integer LANGUAGE sql STABLE AS $$ SELECT"
        " current_setting('app.organisation_id')::integer $$"
    )
    rights = (
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO {0}; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {0};"
        " GRANT ALL ON SCHEMA public TO {0}; GRANT TEMP ON DATABASE {1} TO {0}"
    )
    sandbox.administrator(fill(rights, identifier(CONVERSATION), identifier(sandbox.database.name)))


@pytest.fixture
def _superuser(sandbox: Sandbox) -> Iterator[None]:
    role = identifier(CONVERSATION)
    sandbox.administrator(fill("ALTER ROLE {} SUPERUSER", role))
    yield
    sandbox.administrator(fill("ALTER ROLE {} NOSUPERUSER", role))


class TestGuardAlone:
    """In front of a database without policies, seal or privileges, whose conversation role is a superuser."""

    def activity(self, sandbox: Sandbox) -> list[tuple[object, ...]]:
        """The pool's backend, and when it last got anything to do."""
        query = "SELECT pid, query_start, state_change FROM pg_stat_activity WHERE usename = %s AND datname = %s"
        with psycopg.connect(sandbox.database.dsn(sandbox.database.server.superuser)) as administrator:
            return administrator.execute(query, [CONVERSATION, sandbox.database.name]).fetchall()

    def test_none_of_the_texts_reaches_the_database(self, sandbox: Sandbox, request: pytest.FixtureRequest) -> None:
        with open_pool(sandbox, twins=False) as pool, pool.conversation(ALDER) as conversation:
            take_ring_1_away(sandbox)
            request.getfixturevalue("_superuser")
            names = conversation.query("SELECT name FROM products").rows
            assert any("CANARY" in name for (name,) in names), "ring 1 is gone: nothing but the guard is left"
            before = self.activity(sandbox)
            assert len(before) == 1
            passed = []
            for name, text in TEXTS.items():
                try:
                    conversation.query(text)
                    passed.append(name)
                except StatementRefused as refused:
                    if refused.reason in ("privilege", "row"):  # those are Postgres' own
                        passed.append(f"{name}: {refused!r}")
                except RlsgenError as error:
                    passed.append(f"{name}: {error!r}")
            assert passed == []
            assert self.activity(sandbox) == before
            conversation.query("SELECT 1")
            assert self.activity(sandbox) != before, "or this looked at nothing"

    def test_they_would_have_run(self, sandbox: Sandbox, request: pytest.FixtureRequest) -> None:
        """Without the guard many of them do, and forge a context that this database then believes."""
        with open_pool(sandbox, guard=False) as pool, pool.conversation(ALDER) as conversation:
            take_ring_1_away(sandbox)
            request.getfixturevalue("_superuser")
            answered = 0
            for name, text in TEXTS.items():
                if name.startswith("inference"):
                    with contextlib.suppress(RlsgenError):
                        answered += bool(conversation.query(text).rows)
            assert answered > 40
            forged = "SELECT rlsgen.organisation_id() FROM (SELECT set_config('app.organisation_id', '2', true)) AS s"
            assert conversation.query(forged).rows == [(2,)]


# Ring 3: what is left on a connection, looked at by the next conversation, without the guard.

LEFT = {
    "prepared statements": "SELECT count(*) FROM pg_prepared_statements",
    "advisory locks": "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
    "cursors": "SELECT count(*) FROM pg_cursors WHERE name <> ''",
    "channels": "SELECT count(*) FROM pg_listening_channels()",
    "settings": "SELECT count(*) FROM pg_settings WHERE source = 'session'",
    "temporary tables": "SELECT count(*) FROM pg_class WHERE relpersistence = 't' AND relnamespace = pg_my_temp_schema()",
    "own settings": "SELECT count(*) FROM (VALUES ('mine.x'), ('mine.token'), ('app.note')) AS s(name)"
                    " WHERE current_setting(name, true) <> ''",
}  # fmt: skip
LEAVES = {
    "prepare": "PREPARE mine AS SELECT 1",
    "prepare-drivers-name": "PREPARE _pg3_0 (text) AS SELECT set_config('mine.token', $1, false)",
    "advisory-lock": "SELECT pg_advisory_lock(n) FROM generate_series(1, 100) AS n",
    "cursor": "DECLARE held CURSOR WITH HOLD FOR SELECT name FROM products",
    "listen": "LISTEN channel",
    "set": "SET search_path = pg_temp",
    "set-many": "SELECT set_config('DateStyle', 'SQL', false), set_config('TimeZone', 'Asia/Tokyo', false),"
                " set_config('extra_float_digits', '-15', false), set_config('row_security', 'off', false)",
    "set-own": "SELECT set_config('mine.x', 'a message to the next one', false)",
    "set-role": "SET ROLE NONE",
    "temporary-table": "CREATE TEMP TABLE products AS SELECT 'x' AS name",
    "temporary-table-as": "SELECT 'x' AS name INTO TEMP products",
    "do": "DO $$ BEGIN EXECUTE 'PREPARE mine AS SELECT 1'; PERFORM pg_advisory_lock(1);"
          " PERFORM set_config('mine.x', 'a message', false); END $$",
    "do-and-fail": "DO $$ BEGIN EXECUTE 'PREPARE mine AS SELECT 1'; PERFORM pg_advisory_lock(1); RAISE 'x'; END $$",
    "commit": "COMMIT", "commit-and-chain": "COMMIT AND CHAIN", "rollback-and-chain": "ROLLBACK AND CHAIN",
    "begin": "BEGIN", "savepoint": "SAVEPOINT mine", "read-write": "SET TRANSACTION READ WRITE",
    "characteristics": "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
    "several": "COMMIT; SET search_path = pg_temp; PREPARE mine AS SELECT 1",
    "copy-out": "COPY products TO STDOUT", "copy-in": "COPY notes (title) FROM STDIN",
    "slow-to-discard": "DO $$ BEGIN PERFORM set_config('statement_timeout', '1', false); FOR n IN 1..3000 LOOP EXECUTE"
                       " 'PREPARE p' || n || ' AS SELECT name FROM products'; END LOOP; END $$",
}  # fmt: skip


class TestSessionAlone:
    """Without the guard, on a database without row security whose role may do anything with its tables."""

    @pytest.fixture(params=[False, True], ids=["read only", "writes"])
    def pool(self, sandbox: Sandbox, request: pytest.FixtureRequest) -> Iterator[ConversationPool]:
        with open_pool(sandbox, guard=False, writes=request.param) as pool:
            take_ring_1_away(sandbox)
            yield pool

    def test_nothing_is_left_on_the_connection(self, pool: ConversationPool) -> None:
        pid = "SELECT pg_backend_pid()"
        with pool.conversation(ALDER) as hostile, pool.conversation(BIRCH) as next_one:
            clean = {what: next_one.query(query).rows for what, query in LEFT.items()}
            for name, text in LEAVES.items():
                for what, query in LEFT.items():
                    before = next_one.query(pid).rows
                    with contextlib.suppress(RlsgenError):
                        hostile.query(text)
                    # On a new connection there is nothing either; most are the same, which were cleaned.
                    assert next_one.query(query).rows == clean[what], f"{what} after {name}, on {before}"

    def test_most_connections_are_cleaned_not_closed(self, pool: ConversationPool) -> None:
        pid = "SELECT pg_backend_pid()"
        with pool.conversation(ALDER) as conversation:
            before = conversation.query(pid).rows
            for name in ("prepare", "advisory-lock", "set", "set-own", "listen", "do-and-fail"):
                with contextlib.suppress(RlsgenError):
                    conversation.query(LEAVES[name])
                assert conversation.query(pid).rows == before, name

    @pytest.mark.parametrize("text", ["SELECT 1; SELECT 2", "COMMIT; SELECT 1", "COMMIT; BEGIN", "SELECT 1;; SELECT 2"])
    def test_several_statements_do_not_run(self, pool: ConversationPool, text: str) -> None:
        with pool.conversation(ALDER) as conversation, pytest.raises(RlsgenError, match="multiple commands"):
            conversation.query(text)

    def test_a_conversation_gets_its_own_context(self, pool: ConversationPool) -> None:
        for _ in range(3):
            for context in (ALDER, BIRCH):
                with pool.conversation(context) as conversation:
                    found = conversation.query("SELECT rlsgen.organisation_id()").rows
                    assert found == [(context["organisationId"],)]
                    with contextlib.suppress(RlsgenError):
                        conversation.query("SELECT set_config('app.organisation_id', '99', false)")

    def test_no_token_is_to_be_read_by_others(self, pool: ConversationPool, sandbox: Sandbox) -> None:
        """Conversations share a role, so without the guard they see each other's texts; the tokens are not in them."""
        with pool.conversation(ALDER) as conversation:
            text = "SELECT string_agg(query, ' ') FROM pg_stat_activity WHERE usename = current_user"
            (seen,) = conversation.query(text).rows[0]
        assert "pg_stat_activity" in seen
        assert "eyJ" not in seen
        assert sandbox.key.kid not in seen


def test_an_unprovisioned_database_is_refused(plain: Callable[[], Database], sandbox: Sandbox) -> None:
    """There is no ring 3 without ring 1: such a pool does not open."""
    with pytest.raises(Unhealthy):
        open_pool(Sandbox(plain(), sandbox.spec, sandbox.key), guard=False)


class TestHijack:
    """THREATS D: the text takes the name that the driver prepared the next conversation's token under."""

    STEAL = "PREPARE _pg3_0 (text) AS SELECT set_config('mine.token', $1, false)"

    def test_it_fails_against_ours(self, sandbox: Sandbox) -> None:
        with open_pool(sandbox, guard=False) as pool:
            for _ in range(10):
                with pool.conversation(BIRCH) as victim:
                    assert victim.query("SELECT rlsgen.organisation_id()").rows == [(2,)]
                with pool.conversation(ALDER) as attacker:
                    for text in ("DEALLOCATE ALL", "DEALLOCATE _pg3_0", self.STEAL):
                        with contextlib.suppress(RlsgenError):
                            attacker.query(text)
            with pool.conversation(ALDER) as attacker:
                assert attacker.query("SELECT current_setting('mine.token', true)").rows[0][0] in (None, "")

    def test_it_succeeds_against_a_naive_pool(self, sandbox: Sandbox) -> None:
        """psycopg as it comes: a transaction per statement, the context first; six times, and it is lost."""
        dsn = sandbox.database.dsn(CONVERSATION)
        with psycopg_pool.ConnectionPool(dsn, min_size=1, max_size=1, open=True) as naive:

            def run(context: Context, text: str) -> list[tuple[Any, ...]]:
                with naive.connection() as connection:
                    try:
                        connection.execute("SET TRANSACTION READ ONLY")
                        connection.execute("SELECT rlsgen.set_context(%s)", [sandbox.token(context)])
                        return connection.execute(text.encode()).fetchall()
                    except psycopg.ProgrammingError:
                        return []
                    finally:
                        connection.commit()

            for _ in range(8):
                assert run(BIRCH, "SELECT rlsgen.organisation_id()") == [(2,)]
            # set_context is now _pg3_1 or so; the attacker looks it up, as naive conversations may.
            prepared = dict(run(ALDER, "SELECT statement, name FROM pg_prepared_statements"))
            name = next(name for statement, name in prepared.items() if "set_context" in statement)
            run(ALDER, f"DEALLOCATE {name}; PREPARE {name} (text) AS SELECT set_config('mine.token', $1, false)")
            with naive.connection() as victim:
                victim.execute("SELECT rlsgen.set_context(%s)", [sandbox.token(BIRCH)])
                stolen = victim.execute("SELECT current_setting('mine.token', true)").fetchone()
                victim.commit()  # a naive runtime that also writes
            assert stolen is not None
            assert stolen[0].startswith("eyJ")
            with naive.connection() as attacker:
                token = attacker.execute("SELECT current_setting('mine.token')").fetchone()
                assert token == stolen
                attacker.rollback()
                send(attacker, "BEGIN")
                send(attacker, f"SELECT rlsgen.set_context('{stolen[0]}')")
                assert send(attacker, "SELECT rlsgen.organisation_id()").rows == [("2",)]
                send(attacker, "ROLLBACK")


# Mutations: one protection of the session core taken away, and what then goes wrong.


def mutate(monkeypatch: pytest.MonkeyPatch, method: str, old: str, new: str) -> None:
    """Flight with one line of one method changed; it must be there, once."""
    source = textwrap.dedent(inspect.getsource(getattr(session.Flight, method)))
    assert source.count(old) == 1, f"{old!r} stands {source.count(old)} times in {method}"
    names: dict[str, Any] = dict(vars(session))
    exec(source.replace(old, new), names)
    monkeypatch.setattr(session.Flight, method, names[method])


class TestMutations:
    def test_without_discard_all(self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("rlsgen.runtime.run.Run.order", _undiscarded())
        with open_pool(sandbox, guard=False) as pool, pool.conversation(ALDER) as hostile:
            hostile.query(LEAVES["prepare"])
            hostile.query(LEAVES["advisory-lock"])
            with pool.conversation(BIRCH) as next_one:
                assert next_one.query(LEFT["prepared statements"]).rows == [(1,)]
                assert next_one.query(LEFT["advisory locks"]).rows == [(100,)]

    def test_with_a_named_statement_for_the_context(self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        """And nothing discarded, which would be the second protection: the hijack works."""
        monkeypatch.setattr(session, "NAMED", set(), raising=False)
        mutate(
            monkeypatch, "_send", "pgconn.send_query_params(order.context, [order.token], _TEXT_OID)",
            '(pgconn.backend_pid in NAMED or pgconn.send_prepare(b"named", order.context, _TEXT_OID),'
            ' NAMED.add(pgconn.backend_pid), pgconn.send_query_prepared(b"named", [order.token]))',
        )  # fmt: skip
        monkeypatch.setattr(session.Flight, "_step", _patient_step)
        mutate(monkeypatch, "begin", "!= token[-SIGNATURE:]", "== b''")  # the third: it would be noticed
        monkeypatch.setattr("rlsgen.runtime.run.Run.order", _undiscarded())
        steal = "PREPARE named (text) AS SELECT set_config('mine.token', $1, false), set_config('mine.x', 'x', false)"
        with open_pool(sandbox, guard=False, writes=True) as pool:
            with pool.conversation(ALDER) as attacker:
                attacker.query("SELECT 1")
                attacker.query(f"DO $do$ BEGIN EXECUTE 'DEALLOCATE named'; EXECUTE $$ {steal} $$; END $do$")
            with pool.conversation(BIRCH) as victim:
                victim.query("SELECT 1")
            with pool.conversation(ALDER) as attacker:
                (token,) = attacker.query("SELECT current_setting('mine.token', true)").rows[0]
        assert token.startswith("eyJ")

    def test_without_looking_at_what_the_text_did(self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        """A text that ends our transaction is an error; else the model would take it for an answer."""
        with open_pool(sandbox, guard=False) as pool, pool.conversation(ALDER) as conversation:
            with pytest.raises(StatementRefused, match="left its transaction"):
                conversation.query("COMMIT")
            mutate(monkeypatch, "end", "if self.command.encode() in _ENDS:", "if False:")
            assert conversation.query("COMMIT").rows == []

    def test_an_answer_to_somebody_else(self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        """PgBouncer 1.18 was seen to give the answer to one client's flight to another: tests/pooled, without the guard."""
        with open_pool(sandbox, guard=False) as pool, pool.conversation(ALDER) as conversation:
            pool._core.sealed = b"SELECT rlsgen.set_context($1), right($1, 42) || '?'"
            with pytest.raises(QueryFailed, match="lost"):
                conversation.query("SELECT name FROM products")
            mutate(monkeypatch, "begin", "!= token[-SIGNATURE:]", "== b''")
            assert conversation.query("SELECT name FROM products").rows

    def test_a_discard_that_fails(self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        """The answer stands, and the connection goes."""
        mutate(monkeypatch, "_send", 'b"DISCARD ALL"', 'b"DISCARD NOTHING"')
        with open_pool(sandbox, guard=False) as pool, pool.conversation(ALDER) as conversation:
            first, second = (conversation.query("SELECT pg_backend_pid()").rows for _ in range(2))
            assert first != second

    def test_without_rolling_back(self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        """COMMIT instead, and nothing discarded: what a text set is there for the next conversation."""
        mutate(monkeypatch, "_send", 'b"COMMIT" if order.commit else b"ROLLBACK"', 'b"COMMIT"')
        monkeypatch.setattr("rlsgen.runtime.run.Run.order", _undiscarded())
        with open_pool(sandbox, guard=False) as pool, pool.conversation(ALDER) as hostile:
            hostile.query(LEAVES["set-own"])
            with pool.conversation(BIRCH) as next_one:
                assert next_one.query(LEFT["own settings"]).rows == [(1,)]

    def test_without_read_only(self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        with open_pool(sandbox, guard=False) as pool, pool.conversation(ALDER) as conversation:
            with pytest.raises(StatementRefused, match="may only read"):
                conversation.query("UPDATE notes SET title = 'x'")
            monkeypatch.setattr("rlsgen.runtime.run.READ", b"BEGIN")
            assert conversation.query("UPDATE notes SET title = 'x'").row_count > 0

    def test_without_settings_of_our_own(self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        """What the text set for the session, were it not discarded, decides how the next one's text is read."""
        text, setting = r"SELECT 'a\'::text || 'b'", "SELECT set_config('standard_conforming_strings', 'off', false)"
        monkeypatch.setattr("rlsgen.runtime.run.Run.order", _undiscarded())
        with open_pool(sandbox, guard=False, writes=True) as pool, pool.conversation(ALDER) as hostile:
            hostile.query(setting)
            with pool.conversation(BIRCH) as next_one:
                assert next_one.query(text).rows == [("a\\b",)]  # set locally, again, by us
        with open_pool(sandbox, guard=False, writes=True) as pool, pool.conversation(ALDER) as hostile:
            pool._core.sealed = b"SELECT rlsgen.set_context($1), right($1, 43)"
            hostile.query(setting)
            with pool.conversation(BIRCH) as next_one, pytest.raises(RlsgenError):
                next_one.query(text)


def _patient_step(self: session.Flight, name: str) -> Any:
    """As it is, but for the answer to the preparing that the mutation sends."""
    pgconn = self._pgconn
    result = yield from self._result()
    while result is not None and name == "context" and not result.nfields and result.status == pq.ExecStatus.COMMAND_OK:
        yield from self._result()
        result = yield from self._result()
    assert result is not None, pgconn.error_message
    if result.status in session._BAD and self._failure is None:
        self._failure = session.Failed(name, session.Diagnosis.of(result))
    elif name == "end" and not self.ended:
        self.ended = result.command_status or b""
    yield from self._result()
    return result


def _undiscarded() -> Callable[..., session.Order]:
    from dataclasses import replace

    from rlsgen.runtime.run import Run

    original = Run.order
    return lambda self: replace(original(self), discard=False)
