"""The attack catalogue on the raw connection: nothing foreign is seen or written, and no context is forged."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hostile.attacks import ATTACKS, COVERING, FORGING, TELLING, WRITING, Attack
from tests.hostile.support import ALL_TABLES, Reply, Sandbox, hostile_spec, spec_text


@pytest.fixture(scope="module")
def unchanged(shared: Sandbox) -> Iterator[Sandbox]:
    """After all of this module's attacks, every foreign row of every table is as it was."""
    before = shared.foreign(ALL_TABLES)
    yield shared
    assert shared.foreign(ALL_TABLES) == before


@pytest.fixture(scope="module")
def partitions(shared: Sandbox) -> dict[str, str]:
    with shared.database.connect() as owner:
        query = (
            "SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid WHERE c.relkind = 'r' AND "
        )
        first = owner.execute(query + "i.inhparent = 'events'::regclass ORDER BY 1").fetchone()
        leaf = owner.execute(query + "c.relname ~ '^events_.*_0$' ORDER BY 1").fetchone()
    assert first is not None
    assert leaf is not None
    return {"<partition>": first[0], "<leaf>": leaf[0]}


def adapted(attack: Attack, names: dict[str, str], token: str) -> str:
    text = attack.text.replace("<token>", token)
    for place, name in names.items():
        text = text.replace(place, name)
    return text


def ending(reply: Reply) -> str:
    return reply.state or ("rows" if any(value is not None for row in reply.rows for value in row) else "none")


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.id)
def test_no_attack_gets_through(unchanged: Sandbox, partitions: dict[str, str], attack: Attack) -> None:
    if attack.since > unchanged.database.server.version:
        pytest.skip(f"needs PostgreSQL {attack.since}")
    verdict = unchanged.attack(adapted(attack, partitions, unchanged.token()))
    assert verdict.leaks == ()
    assert ending(verdict.reply) in attack.endings, verdict.reply


@pytest.mark.parametrize("attack", [*COVERING, *WRITING, *TELLING], ids=lambda attack: attack.id)
def test_without_a_context_nothing_is_there(unchanged: Sandbox, partitions: dict[str, str], attack: Attack) -> None:
    """The same texts, on a connection that never had a context."""
    verdict = unchanged.attack(adapted(attack, partitions, "x.y.z"), seal=False)
    assert verdict.leaks == ()
    assert "own " not in verdict.reply.text


def test_under_force_it_is_the_same(sandbox: Sandbox, partitions: dict[str, str]) -> None:
    """With row security for the owner too, whose functions look at hidden parents and up trees."""
    sandbox.apply(hostile_spec(spec_text() + "\nforce: true\n"))
    for attack in (*WRITING, *TELLING):
        if attack.since <= sandbox.database.server.version:
            verdict = sandbox.attack(adapted(attack, partitions, sandbox.token()))
            assert verdict.leaks == (), attack
            assert ending(verdict.reply) in attack.endings, (attack, verdict.reply)


def test_without_the_seal_forging_works(sandbox: Sandbox) -> None:
    """What `seal: off` gives up, and that these tests can fail."""
    unsealed = hostile_spec(spec_text() + "\nseal: off\n")
    sandbox.apply(unsealed)
    assert any("seal is off" in problem.message for problem in sandbox.plan(unsealed).advice)
    worked = [each for each in FORGING[::2] if sandbox.attack(adapted(each, {}, sandbox.token())).leaks]
    assert len(worked) >= 12, [each.id for each in worked]
    sandbox.apply()
    assert not [each for each in worked if sandbox.attack(adapted(each, {}, sandbox.token())).leaks]


def test_ids_are_unique() -> None:
    ids = [attack.id for attack in ATTACKS]
    assert len(ids) == len(set(ids))
