"""Admission: fair, never more than allowed, no turn lost; by examples, by a state machine, and by threads."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Hashable
from itertools import count
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rlsgen.errors import LimitReached
from rlsgen.runtime.limits import WINDOW_SECONDS, Admission, Ticket, limit_key
from rlsgen.spec.model import Limits

NOTHING: Callable[[], object] = lambda: None  # noqa: E731
PER = Limits(per="organisationId")


def enter(admission: Admission, key: Hashable, times: int = 1, now: float = 0.0) -> list[Ticket]:
    return [admission.enter(key, now, NOTHING) for _ in range(times)]


def held(tickets: list[Ticket]) -> int:
    return sum(ticket.granted for ticket in tickets)


@pytest.mark.parametrize("turns", [1, 2, 8])
def test_a_storm_delays_another_key_by_one_statement_at_most(turns: int) -> None:
    admission = Admission(PER, turns, reserve=0)
    storm = enter(admission, "A", 1_000 + turns)
    order: list[str] = []
    other = admission.enter("B", 0.0, lambda: order.append("B"))
    assert held(storm) == turns
    assert not other.granted
    admission.leave(storm[0])
    admission.leave(storm[1])
    assert other.granted, "next but one of a thousand"
    assert order == ["B"]
    admission.leave(other)
    assert held(storm[2:]) == turns


def test_turns_go_round_robin_and_within_a_key_in_order() -> None:
    admission = Admission(PER, turns=1)
    (running,) = enter(admission, "A")
    order: list[str] = []
    waiting: dict[str, Ticket] = {}

    def queue(key: str, name: str) -> None:
        waiting[name] = admission.enter(key, 0.0, lambda: order.append(name))

    for key, name in [("A", "A1"), ("A", "A2"), ("A", "A3"), ("B", "B1"), ("B", "B2"), ("C", "C1")]:
        queue(key, name)
    admission.leave(running)
    while len(order) < 6:
        admission.leave(waiting[order[-1]])
    assert order == ["B1", "C1", "A1", "B2", "A2", "A3"]


def test_one_key_never_holds_all_turns() -> None:
    admission = Admission(PER, turns=4)
    storm = enter(admission, "A", 100)
    assert held(storm) == 3
    (other,) = enter(admission, "B")
    assert other.granted, "at once, though A waits"


@pytest.mark.parametrize(("limits", "turns", "expected"), [
    (PER, 1, 1),  # nothing to keep free
    (Limits(), 4, 4),  # all are one key
    (Limits(per="organisationId", concurrent=2), 4, 2),
    (Limits(per="organisationId", concurrent=9), 4, 3),
    (Limits(concurrent=2), 4, 2),
])  # fmt: skip
def test_how_many_turns_a_key_may_hold(limits: Limits, turns: int, expected: int) -> None:
    assert held(enter(Admission(limits, turns), "A", 20)) == expected


def test_the_reserve_can_be_chosen() -> None:
    assert held(enter(Admission(PER, 8, reserve=0), "A", 20)) == 8
    assert held(enter(Admission(PER, 8, reserve=6), "A", 20)) == 2


def test_no_turns_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Admission(PER, 0)


def test_a_queue_that_is_full_refuses() -> None:
    admission = Admission(Limits(per="organisationId", concurrent=2), turns=8, queue=3)
    tickets = enter(admission, "A", 5)
    with pytest.raises(LimitReached, match="2 statements at a time are allowed, and 3 more wait already") as caught:
        enter(admission, "A")
    assert (caught.value.limit, caught.value.retry_after) == ("concurrent", None)
    assert enter(admission, "B")[0].granted
    admission.abandon(tickets[-1])
    enter(admission, "A")


class TestStatementsPerMinute:
    LIMITS = Limits(per="organisationId", per_minute=3)

    def test_more_are_refused_at_once_and_told_when(self) -> None:
        admission = Admission(self.LIMITS, turns=8)
        for now in (100.0, 110.0, 120.0):
            admission.leave(admission.enter("A", now, NOTHING))
        with pytest.raises(LimitReached, match="3 statements a minute") as caught:
            admission.enter("A", 125.0, NOTHING)
        assert (caught.value.limit, caught.value.retry_after) == ("per_minute", 35.0)
        assert admission.enter("B", 125.0, NOTHING).granted
        with pytest.raises(LimitReached):
            admission.enter("A", 159.9, NOTHING)
        assert admission.enter("A", 160.0, NOTHING).granted, "after exactly the seconds that were told"
        with pytest.raises(LimitReached):
            admission.enter("A", 160.0, NOTHING)

    def test_what_is_refused_does_not_count(self) -> None:
        admission = Admission(self.LIMITS, turns=8)
        enter(admission, "A", 3, now=0.0)
        for tick in range(59):
            with pytest.raises(LimitReached):
                admission.enter("A", float(tick), NOTHING)
        enter(admission, "A", 3, now=60.0)

    def test_what_waited_in_vain_counts(self) -> None:
        admission = Admission(self.LIMITS, turns=1)
        tickets = enter(admission, "A", 3)
        admission.abandon(tickets[2])
        with pytest.raises(LimitReached):
            enter(admission, "A")

    def test_any_sixty_seconds(self) -> None:
        """A sliding window, not one that begins with the minute."""
        admission = Admission(self.LIMITS, turns=8)
        let_in = []
        for tick in range(2_000):
            now = tick / 10
            try:
                admission.leave(admission.enter("A", now, NOTHING))
            except LimitReached:
                continue
            let_in.append(now)
        assert len(let_in) == 12
        assert all(sum(start <= each < start + WINDOW_SECONDS for each in let_in) <= 3 for start in let_in)


def test_idle_keys_are_forgotten() -> None:
    admission = Admission(Limits(per="organisationId", per_minute=100), turns=4)
    for number in range(10_000):
        admission.leave(admission.enter(number, number / 100, NOTHING))  # 100 keys a second
    assert admission.keys <= 60 * 100 + 2
    for number in range(10_000):
        admission.leave(admission.enter("A", 1_000.0 + number, NOTHING))
    assert admission.keys == 1


def test_keys_without_a_limit_per_minute_are_forgotten_at_once() -> None:
    admission = Admission(PER, turns=4)
    for number in range(1_000):
        admission.leave(admission.enter(number, 0.0, NOTHING))
    assert admission.keys <= 2


def test_a_key_that_runs_is_never_forgotten() -> None:
    admission = Admission(Limits(per="organisationId", concurrent=1), turns=50)
    tickets = enter(admission, "A", 2)
    for number in range(1_000):
        admission.leave(admission.enter(number, 1e6 + number, NOTHING))
    assert not admission.enter("A", 2e6, NOTHING).granted
    admission.leave(tickets[0])
    assert tickets[1].granted


def test_a_turn_that_came_too_late_goes_on() -> None:
    """The race of a grant and a timeout: whoever gives up after all gives the turn to the next."""
    admission = Admission(PER, turns=1)
    (running,) = enter(admission, "A")
    (late,) = enter(admission, "B")
    woken: list[str] = []
    after = admission.enter("C", 0.0, lambda: woken.append("C"))
    admission.leave(running)
    assert late.granted
    assert admission.abandon(late), "there was a turn"
    assert after.granted
    assert woken == ["C"]
    assert not admission.abandon(late)
    admission.leave(late)
    assert admission.running == 1, "giving back twice gives nothing away"


@pytest.mark.parametrize(("per", "context", "key"), [
    (None, {"organisationId": 1}, None),
    ("organisationId", {"organisationId": 1}, 1),
    ("organisationId", {}, None),
    ("organisationIds", {"organisationIds": [1, 2]}, (1, 2)),
    ("userId", {"userId": "a"}, "a"),
])  # fmt: skip
def test_the_key_of_a_context(per: str | None, context: dict[str, object], key: Hashable) -> None:
    assert limit_key(Limits(per=per), context) == key
    hash(limit_key(Limits(per=per), context))


class Machine(RuleBasedStateMachine):
    """Anything may happen in any order; what must hold is checked after every step."""

    @initialize(
        turns=st.integers(1, 5),
        concurrent=st.none() | st.integers(1, 4),
        reserve=st.integers(0, 2),
        queue=st.integers(1, 6),
    )
    def start(self, turns: int, concurrent: int | None, reserve: int, queue: int) -> None:
        self.turns, self.queue = turns, queue
        self.share = min(max(1, turns - reserve), concurrent or turns)
        limits = Limits(per="organisationId", concurrent=concurrent)
        self.admission = Admission(limits, turns, reserve=reserve, queue=queue)
        self.running: dict[Ticket, str] = {}
        self.waiting: dict[str, deque[Ticket]] = {}
        self.passed_over: Counter[str] = Counter()  # turns given to others since a key began to wait
        self.woken: list[Ticket] = []

    @rule(key=st.sampled_from("ABCD"))
    def come(self, key: str) -> None:
        mine = self.waiting.setdefault(key, deque())
        box: list[Ticket] = []
        try:
            ticket = self.admission.enter(key, 0.0, lambda: self.woken.append(box[0]))
        except LimitReached:
            assert len(mine) == self.queue
            return
        box.append(ticket)
        if ticket.granted:
            assert not mine, "nobody of the same key is overtaken"
            self.running[ticket] = key
        else:
            assert len(mine) < self.queue
            if not mine:
                self.passed_over[key] = 0
            mine.append(ticket)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def go(self, data: Any) -> None:
        ticket = data.draw(st.sampled_from(list(self.running)))
        del self.running[ticket]
        self.admission.leave(ticket)
        self.settle()

    @precondition(lambda self: any(self.waiting.values()))
    @rule(data=st.data())
    def give_up(self, data: Any) -> None:
        key = data.draw(st.sampled_from([key for key, mine in self.waiting.items() if mine]))
        ticket = data.draw(st.sampled_from(list(self.waiting[key])))
        self.waiting[key].remove(ticket)
        assert not self.admission.abandon(ticket)
        self.settle()

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def give_up_too_late(self, data: Any) -> None:
        ticket = data.draw(st.sampled_from(list(self.running)))
        del self.running[ticket]
        assert self.admission.abandon(ticket)
        self.settle()

    def settle(self) -> None:
        for ticket in self.woken:
            key = next(key for key, mine in self.waiting.items() if ticket in mine)
            assert self.waiting[key].popleft() is ticket, "first come, first served"
            self.running[ticket] = key
            self.passed_over[key] = 0
            for other, mine in self.waiting.items():
                may_run = sum(each == other for each in self.running.values()) < self.share
                if other != key and mine and may_run:
                    self.passed_over[other] += 1
        self.woken.clear()

    @invariant()
    def never_too_many(self) -> None:
        if not hasattr(self, "admission"):
            return
        by_key = Counter(self.running.values())
        assert self.admission.running == len(self.running) <= self.turns
        assert all(number <= self.share for number in by_key.values())
        assert all(ticket.granted for ticket in self.running)
        assert not any(ticket.granted for mine in self.waiting.values() for ticket in mine)
        assert self.admission.waiting == sum(map(len, self.waiting.values()))

    @invariant()
    def no_turn_is_lost(self) -> None:
        if not hasattr(self, "admission") or len(self.running) == self.turns:
            return
        by_key = Counter(self.running.values())
        assert not any(mine and by_key[key] < self.share for key, mine in self.waiting.items()), (
            "free turns, and a wait"
        )

    @invariant()
    def nobody_starves(self) -> None:
        if hasattr(self, "admission"):
            assert all(number <= 4 for number in self.passed_over.values()), "each other key once, and then this one"


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)


def test_threads_that_wait_give_up_and_work() -> None:
    """Hundreds of waits with timeouts that are over at any moment: no turn is lost, and never are there too many."""
    admission = Admission(Limits(per="organisationId", concurrent=3), turns=4)
    inside: Counter[int] = Counter()
    most: Counter[str] = Counter()
    lock = threading.Lock()
    served, gave_up = count(), count()

    def work(number: int) -> None:
        key = number % 3
        for turn in range(60):
            ready = threading.Event()
            ticket = admission.enter(key, 0.0, ready.set)
            if not ticket.granted and not ready.wait(0.0005 * ((number + turn) % 4)):
                # The grant may come just now: then the turn goes on from here.
                admission.abandon(ticket)
                next(gave_up)
                continue
            with lock:
                inside[key] += 1
                most["key"] = max(most["key"], inside[key])
                most["all"] = max(most["all"], inside.total())
            with lock:
                inside[key] -= 1
            admission.leave(ticket)
            next(served)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (admission.running, admission.waiting) == (0, 0)
    assert most["key"] <= 3
    assert most["all"] <= 4
    assert next(served) + next(gave_up) == 24 * 60
    assert held(enter(admission, "A", 10)) == 3
