"""The attack catalogue on the raw connection: nothing foreign is seen or written, and no context is forged."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hostile.attacks import ATTACKS, Attack
from tests.hostile.support import ALL_TABLES, Reply, Sandbox


@pytest.fixture(scope="module")
def unchanged(shared: Sandbox) -> Iterator[Sandbox]:
    """After all of this module's attacks, every foreign row of every table is as it was."""
    before = shared.foreign(ALL_TABLES)
    yield shared
    assert shared.foreign(ALL_TABLES) == before


@pytest.fixture(scope="module")
def partitions(shared: Sandbox) -> dict[str, str]:
    with shared.database.connect() as owner:
        query = "SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid WHERE c.relkind = 'r' AND "
        first = owner.execute(query + "i.inhparent = 'events'::regclass ORDER BY 1").fetchone()
        leaf = owner.execute(query + "c.relname ~ '^events_.*_0$' ORDER BY 1").fetchone()
    assert first and leaf
    return {"<partition>": first[0], "<leaf>": leaf[0]}


def ending(reply: Reply) -> str:
    return reply.state or ("rows" if any(value is not None for row in reply.rows for value in row) else "none")


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.id)
def test_no_attack_gets_through(unchanged: Sandbox, partitions: dict[str, str], attack: Attack) -> None:
    if attack.since > unchanged.database.server.version:
        pytest.skip(f"needs PostgreSQL {attack.since}")
    text = attack.text.replace("<token>", unchanged.token())
    for place, name in partitions.items():
        text = text.replace(place, name)
    verdict = unchanged.attack(text)
    assert verdict.leaks == ()
    assert ending(verdict.reply) in attack.endings, verdict.reply


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.id)
def test_without_a_context_nothing_is_there(unchanged: Sandbox, partitions: dict[str, str], attack: Attack) -> None:
    """The same texts, on a connection that never had a context."""
    text = attack.text.replace("<token>", "x.y.z")
    for place, name in partitions.items():
        text = text.replace(place, name)
    verdict = unchanged.attack(text, seal=False)
    assert verdict.leaks == ()
    assert "own " not in verdict.reply.text


def test_ids_are_unique() -> None:
    ids = [attack.id for attack in ATTACKS]
    assert len(ids) == len(set(ids))
