"""The self-check at start, in the background and on suspicion; and a database that is provisioned anew while in use."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from rlsgen.demo.shop import APPLICATION
from rlsgen.errors import RlsgenError, Unhealthy
from rlsgen.provision.apply import apply
from rlsgen.spec.load import parse_spec
from rlsgen.spec.model import Limits, Spec
from tests.runtime.conftest import ALLOWED, POLICIES, Place
from tests.runtime.talking import ALDER, Pool
from tests.runtime.test_hygiene import until

Make = Callable[..., Pool]


def changed(old: str, new: str) -> Spec:
    text = POLICIES.read_text("utf-8")
    assert text.count(old) == 1
    return parse_spec(text.replace(old, new), "policies.yaml")


def provision(place: Place, spec: Spec) -> None:
    with place.owner() as owner:
        apply(owner, spec, allow=ALLOWED)


def test_a_database_that_is_not_provisioned(shop: object, place: Place, make_pool: Make) -> None:
    with pytest.raises(Unhealthy) as caught:
        make_pool(replace(place, database=shop))  # type: ignore[arg-type]
    assert caught.value.problems


def test_another_role_is_refused(place: Place, make_pool: Make) -> None:
    with pytest.raises(Unhealthy, match="nl_conversation"):
        make_pool(place, dsn=place.database.dsn(APPLICATION))


def test_health_is_there_without_asking_the_database(place: Place, make_pool: Make) -> None:
    pool = make_pool(place)
    assert pool.health().healthy
    assert pool.check().healthy


def test_a_new_problem_stops_conversations_until_it_is_mended(own_place: Place, make_pool: Make) -> None:
    pool = make_pool(own_place)
    talk = pool.conversation(ALDER)
    with own_place.owner() as owner:
        owner.execute("ALTER TABLE orders DISABLE ROW LEVEL SECURITY")
    health = pool.check()
    assert not health.healthy
    with pytest.raises(Unhealthy) as caught:
        talk.query("SELECT 1")
    assert "orders" in str(caught.value.problems)
    # A layer may show the message to a model: what it must not know is not in it.
    assert "orders" not in str(caught.value) + caught.value.hint
    with own_place.owner() as owner:
        owner.execute("ALTER TABLE orders ENABLE ROW LEVEL SECURITY")
    assert pool.check().healthy
    assert talk.query("SELECT 1").rows == [(1,)]


def test_the_background_sees_it_too(own_place: Place, make_pool: Make, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "rlsgen"):
        pool = make_pool(own_place, self_check_seconds=0.1, max_size=1)
        talk = pool.conversation(ALDER)
        with own_place.owner() as owner:
            owner.execute("ALTER TABLE orders DISABLE ROW LEVEL SECURITY")
        until(lambda: not pool.health().healthy)
        with pytest.raises(Unhealthy):
            talk.query("SELECT 1")
        with own_place.owner() as owner:
            owner.execute("ALTER TABLE orders ENABLE ROW LEVEL SECURITY")
        until(lambda: pool.health().healthy)
        assert talk.query("SELECT 1").rows == [(1,)]
    assert any("orders" in each.getMessage() for each in caplog.records)
    assert any("used again" in each.getMessage() for each in caplog.records)


def test_an_incompatible_apply_while_running(own_place: Place, make_pool: Make) -> None:
    pool = make_pool(own_place)
    talk = pool.conversation(ALDER)
    other = changed("  notes:\n    filter: user_id", "  notes:\n    filter: length(title) > 0 AND user_id")
    provision(own_place, other)
    assert not pool.check().healthy
    with pytest.raises(Unhealthy) as caught:
        talk.query("SELECT 1")
    assert caught.value.problems[0].hint
    provision(own_place, own_place.spec)
    assert pool.check().healthy
    assert talk.query("SELECT 1").rows == [(1,)]


def test_a_compatible_apply_while_running(own_place: Place, make_pool: Make) -> None:
    """A column that was added and granted can be used after the next check; an optional field may come or go."""
    pool = make_pool(own_place)
    talk = pool.conversation(ALDER)
    with own_place.owner() as owner:
        owner.execute("ALTER TABLE orders ADD COLUMN weight integer DEFAULT 7")
    with pytest.raises(RlsgenError):
        talk.query("SELECT weight FROM orders LIMIT 1")
    provision(own_place, own_place.spec)
    assert pool.check().healthy
    assert talk.query("SELECT weight FROM orders LIMIT 1").rows == [(7,)]
    more = changed("  userId: ", "  region: {type: text, required: false}\n  userId: ")
    newer = make_pool(own_place, spec=more).conversation({**ALDER, "region": "north"})  # the database knows no region
    assert newer.query("SELECT 1").rows == [(1,)]
    provision(own_place, more)
    assert pool.check().healthy
    assert talk.query("SELECT 1").rows == [(1,)]


def test_a_statement_that_fails_strangely_brings_the_check_forward(own_place: Place, make_pool: Make) -> None:
    pool = make_pool(own_place, self_check_seconds=3600, limits=Limits())
    talk = pool.conversation(ALDER)
    assert len(talk.query("SELECT * FROM projects").columns) == 7
    with own_place.owner() as owner:
        owner.execute("ALTER TABLE projects DROP COLUMN budget")
    with pytest.raises(RlsgenError):
        talk.query("SELECT * FROM projects")

    def works() -> bool:
        try:
            return len(talk.query("SELECT * FROM projects").columns) == 6
        except RlsgenError:
            return False

    until(works)


def test_a_pool_that_nobody_closed_ends_with_its_last_reference(place: Place) -> None:
    import gc
    import threading

    from rlsgen import ConversationPool

    pool = ConversationPool(place.dsn, place.spec, place.key, known_holes="warn", self_check_seconds=0.05)
    watch = pool._watch
    pool._connections.close()
    del pool
    gc.collect()
    end = time.monotonic() + 10
    while watch.is_alive() and time.monotonic() < end:
        time.sleep(0.05)
    assert watch not in threading.enumerate()
