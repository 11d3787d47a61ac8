"""THREATS G: whatever is provoked, no error, audit event or traceback tells a foreign value, a hidden name or a policy."""

from __future__ import annotations

import json
import logging
import re
import traceback
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import yaml

from rlsgen import ConversationPool
from rlsgen.errors import RlsgenError
from rlsgen.spec.model import Limits
from tests.hostile.support import ALDER, Sandbox
from tests.hostile.test_rings import open_pool

PROVOKING: list[str] = yaml.safe_load(Path(__file__).with_name("provoking.yaml").read_text(encoding="utf-8"))
HIDDEN = {
    "api_keys", "key_hash", "last_used_at", "vaults", "secret", "password_hash", "rlsgen_only", "rlsgen_allow",
    "rlsgen_private", "rlsgen_seal", "seal_key", "inner_pad", "shop_owner", "shop_app", "userContext", "nl_conversation",
    "security policy", "row-level", "set_context", "app.organisation_id", "user_301", "CANARY", "987654",
}  # fmt: skip


def telling(said: str, text: str) -> list[str]:
    """What must not be said, and was, though the text did not contain it."""
    return [word for word in sorted(HIDDEN) if word.lower() in said.lower() and word.lower() not in text.lower()]


@pytest.fixture(scope="module", params=[(True, True), (False, False), (False, True)],
                ids=["guard", "no guard", "no guard, writes"])  # fmt: skip
def pool(shared: Sandbox, request: pytest.FixtureRequest) -> Iterator[ConversationPool]:
    guard, writes = request.param
    with open_pool(shared, guard=guard, writes=writes, limits=Limits(seconds=2)) as opened:
        yield opened


@pytest.fixture
def partitions(shared: Sandbox) -> set[str]:
    with psycopg.connect(shared.database.dsn()) as owner:
        return {name for (name,) in owner.execute("SELECT inhrelid::regclass::text FROM pg_inherits").fetchall()}


@pytest.mark.parametrize("text", PROVOKING)
def test_nothing_is_told(
    pool: ConversationPool, text: str, caplog: pytest.LogCaptureFixture, partitions: set[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with pool.conversation(ALDER, "ann") as conversation:
        try:
            said = repr(conversation.query(text).rows)
            shown = ""
        except RlsgenError as error:
            said = f"{error!r} {error} {vars(error)} {error.hint}"
            shown = "".join(traceback.format_exception(error))
    assert said
    assert telling(said, text) == []
    assert not [name for name in partitions if name in said and name not in text]
    # The traceback shows our own source, not what the server said.
    source = re.compile(r'^    .*$|^  File ".*$', re.MULTILINE)
    assert telling(source.sub("", shown), text) == []
    for record in caplog.records:
        line = record.getMessage()
        if record.name == "rlsgen.audit":
            event = json.loads(line)
            assert event["conversation"] == conversation.id
            # Constants of the text are not in it either.
            assert telling(line, text) == []
            assert "CANARY" not in line
        elif record.name.startswith("rlsgen"):
            assert telling(line, text) == []


def test_it_would_be_seen(shared: Sandbox) -> None:
    """Postgres itself says a lot of it, to the same role."""
    said = ""
    with psycopg.connect(shared.database.dsn(shared.spec.conversation), autocommit=True) as raw:
        for text in PROVOKING:
            shared.begin(raw, ALDER)
            try:
                raw.execute(text.encode())
            except psycopg.Error as error:
                told = telling(f"{error} {error.diag.message_detail} {error.diag.message_hint}", text)
                said += " ".join(told) + " "
            finally:
                raw.rollback() if raw.info.transaction_status else None
    assert "password_hash" in said
    assert "security policy" in said
