"""A conversation with rights that rlsgen takes away: CREATE, temporary objects. Isolation does not hang on them."""

from __future__ import annotations

import pytest

from rlsgen.demo.shop import CONVERSATION
from rlsgen.identifiers import fill, identifier
from tests.hostile.attacks import GENEROUS, Attack
from tests.hostile.support import Sandbox
from tests.hostile.test_attacks import ending


@pytest.fixture(scope="module")
def generous(shared: Sandbox) -> Sandbox:
    role, database = identifier(CONVERSATION), identifier(shared.database.name)
    shared.administrator(
        fill("GRANT CREATE ON SCHEMA public TO {0}; GRANT TEMPORARY ON DATABASE {1} TO {0}", role, database)
    )
    return shared


@pytest.mark.parametrize("attack", GENEROUS, ids=lambda attack: attack.id)
def test_own_objects_give_nothing(generous: Sandbox, attack: Attack) -> None:
    verdict = generous.attack(attack.text)
    assert verdict.leaks == ()
    assert ending(verdict.reply) in attack.endings, verdict.reply


def test_the_spy_sees_what_it_may(generous: Sandbox) -> None:
    """The spies do report: own rows, every one. Otherwise silence above would prove nothing."""
    spying = next(attack for attack in GENEROUS if attack.id == "spy-folders")
    assert generous.attack(spying.text).reply.notices
    owner = generous.database.connect()
    owner.execute("CREATE FUNCTION public.trusted(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS"
                  " $$ BEGIN RAISE NOTICE '%', $1; RETURN true; END $$")  # fmt: skip
    generous.administrator("ALTER FUNCTION public.trusted(text) LEAKPROOF")
    assert generous.attack("SELECT 1 FROM vehicles WHERE trusted(plate)").leaks


def test_the_plan_takes_them_away(generous: Sandbox) -> None:
    taken = [step.object for step in generous.plan().steps if step.action == "revoke"]
    assert any("CREATE on schema public" in each for each in taken)
    assert any("TEMPORARY on database" in each for each in taken)
