"""docs/other-languages.md does what it says: its blocks are read from the page and run, without any code of ours."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from psycopg import pq

from rlsgen.catalog.connect import open_connection
from rlsgen.demo.shop import CONVERSATION
from rlsgen.provision.keys import create_key
from rlsgen.runtime.wire import READ
from tests.cli.runner import ROOT, SPEC
from tests.support.postgres import Database, Server

PAGE = (ROOT / "docs" / "other-languages.md").read_text()
BEGIN, SEAL, TEXT, ROLLBACK, DISCARD, CHECK = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
HEADER, CLAIMS = (json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL))
CODE = dict(re.findall(r"```(?:js|go)\n// (\S+)\n(.*?)```", PAGE, re.DOTALL))

Run = Callable[..., pq.abc.PGresult]


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def mint(signing_key: str, **claims: object) -> bytes:
    """A token as the page describes it, with Python's standard library."""
    _, kid, audience, secret = signing_key.split(".")
    filled = {**CLAIMS, "aud": audience, "exp": int(time.time()) + 30, **claims}
    parts = ({**HEADER, "kid": kid}, filled)
    signed = ".".join(base64url(json.dumps(part).encode()) for part in parts)
    key = base64.urlsafe_b64decode(secret + "=")
    return f"{signed}.{base64url(hmac.new(key, signed.encode(), hashlib.sha256).digest())}".encode()


@pytest.fixture(scope="module")
def signing_key(provisioned: Database) -> str:
    with open_connection(provisioned.dsn()) as owner:
        return create_key(owner).reveal()


@pytest.fixture
def conn(provisioned: Database) -> Iterator[pq.abc.PGconn]:
    made = pq.PGconn.connect(provisioned.dsn(CONVERSATION).encode())
    yield made
    made.finish()


@pytest.fixture
def run(conn: pq.abc.PGconn) -> Run:
    """One unnamed statement of the extended protocol."""

    def extended(sql: str, values: Sequence[bytes] = ()) -> pq.abc.PGresult:
        return conn.exec_params(sql.encode(), list(values))

    return extended


def ok(result: pq.abc.PGresult) -> pq.abc.PGresult:
    assert result.status in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK), result.error_message
    return result


def answer(run: Run, text: str, token: bytes) -> list[bytes | None]:
    """The first row of a text, by the protocol of the page."""
    ok(run(BEGIN))
    ok(run(SEAL, [token]))
    result = ok(run(text))
    row = [result.get_value(0, column) for column in range(result.nfields)]
    ok(run(ROLLBACK))
    ok(run(DISCARD))
    return row


def owner(database: Database, sql: str) -> Any:
    with open_connection(database.dsn()) as connection:
        row = connection.execute(sql.encode()).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize("organisation", [1, 2])
def test_the_documented_steps_answer_for_one_organisation(
    run: Run, signing_key: str, provisioned: Database, organisation: int
) -> None:
    token = mint(signing_key, context={**CLAIMS["context"], "organisationId": organisation})
    expected = owner(provisioned, f"SELECT count(*) FROM orders WHERE organisation_id = {organisation}")
    assert answer(run, TEXT, token) == [str(expected).encode()]


def test_the_claims_of_the_page_are_exact(run: Run, signing_key: str) -> None:
    """A list for an audience, a claim more, a fraction: refused, as the page says."""
    audience = signing_key.split(".")[2]
    wrong: list[dict[str, object]] = [{"aud": [audience]}, {"sub": "user_1"}, {"exp": time.time() + 30}, {"exp": None}]
    for claims in wrong:
        ok(run(BEGIN))
        refused = run(SEAL, [mint(signing_key, **claims)])
        assert refused.error_field(pq.DiagnosticField.SQLSTATE) == b"42501", claims
        ok(run(ROLLBACK))


def test_the_settings_are_those_of_the_runtime(provisioned: Database, signing_key: str) -> None:
    from rlsgen import ConversationPool

    settings = r"set_config\('(\w+)', '(.*?)', true\)"
    with ConversationPool(provisioned.dsn(CONVERSATION), SPEC, signing_key, known_holes="warn") as pool:
        ours = pool._core.sealed.decode()
    assert dict(re.findall(settings, SEAL)) == dict(re.findall(settings, ours))
    assert BEGIN.strip().encode() == READ


def test_one_text_is_one_statement(conn: pq.abc.PGconn, run: Run, signing_key: str) -> None:
    """And the simple protocol, which the page warns of, is not: the control."""
    ok(run(BEGIN))
    ok(run(SEAL, [mint(signing_key)]))
    assert run("COMMIT; SELECT 1").error_field(pq.DiagnosticField.SQLSTATE) == b"42601"
    ok(run(ROLLBACK))
    ok(run(BEGIN))
    ok(conn.exec_(b"COMMIT; SET application_name = 'stays'"))
    ok(run(ROLLBACK))
    assert ok(run("SHOW application_name")).get_value(0, 0) == b"stays"
    ok(run(DISCARD))
    assert ok(run("SHOW application_name")).get_value(0, 0) != b"stays"


@pytest.mark.parametrize("text", ["PREPARE mine AS SELECT 1", "SELECT pg_advisory_lock(7)"])
def test_what_a_text_leaves_behind_goes_with_the_reset(run: Run, signing_key: str, text: str) -> None:
    left = (
        "SELECT (SELECT count(*) FROM pg_prepared_statements)"
        " + (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())"
    )
    ok(run(BEGIN))
    ok(run(SEAL, [mint(signing_key)]))
    ok(run(text))
    ok(run(ROLLBACK))
    assert ok(run(left)).get_value(0, 0) == b"1"
    ok(run(DISCARD))
    assert ok(run(left)).get_value(0, 0) == b"0"


def test_the_reset_shows_a_transaction_that_is_still_open(run: Run) -> None:
    ok(run(BEGIN))
    assert run(DISCARD).error_field(pq.DiagnosticField.SQLSTATE) == b"25001"


def test_nothing_writes_and_no_second_context(run: Run, signing_key: str) -> None:
    for text, state in [
        ("SET TRANSACTION READ WRITE", b"25001"),
        ("DELETE FROM notes", b"25006"),
        (f"SELECT rlsgen.set_context('{mint(signing_key).decode()}')", b"42501"),
    ]:
        ok(run(BEGIN))
        ok(run(SEAL, [mint(signing_key)]))
        assert run(text).error_field(pq.DiagnosticField.SQLSTATE) == state, text
        ok(run(ROLLBACK))


def test_the_check_at_start_up_tells_roles_apart(run: Run, server: Server, provisioned: Database) -> None:
    assert ok(run(CHECK)).get_value(0, 0) == b"t"
    superuser = pq.PGconn.connect(provisioned.dsn(server.superuser).encode())
    assert ok(superuser.exec_params(CHECK.encode(), None)).get_value(0, 0) == b"f"
    superuser.finish()


def test_code_and_sql_of_the_page_are_the_same() -> None:
    """The blocks for Node and Go were run by hand; here, that they say what the page says."""
    assert set(CODE) == {"token.js", "token.go", "conversation.js", "conversation.go"}
    for name in ("conversation.js", "conversation.go"):
        for sql in (BEGIN, ROLLBACK, DISCARD):
            assert f'"{sql.strip()}"' in CODE[name], name
    assert 'queryMode = "extended"' in CODE["conversation.js"]
    assert not re.search(r"\.query\((?!\{ text, values, queryMode|\"SELECT pg_cancel_backend)", CODE["conversation.js"])
    for name in ("token.js", "token.go"):
        assert "HS256" in CODE[name]
        assert "30" in CODE[name]
