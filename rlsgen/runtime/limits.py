"""Whose statement runs next: turns, fair among keys, within what a spec's limits allow. No clock, no I/O, no waiting.

A key is the value of `limits.per` (one organisation, as a rule) and a turn is the right to use one connection. Limits
hold per process: each process that has a pool counts for itself.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Mapping
from threading import Lock

from rlsgen.errors import LimitReached
from rlsgen.spec.model import Limits

WINDOW_SECONDS = 60.0
DEFAULT_QUEUE = 1_000
"""Statements of one key that may wait at a time."""

Wake = Callable[[], object]


class Ticket:
    """One statement's place: waiting, then granted, then done. Made by `Admission.enter` alone."""

    __slots__ = ("_key", "_state", "_wake")

    def __init__(self, key: _Key, wake: Wake) -> None:
        self._key = key
        self._wake = wake
        self._state = "waiting"

    @property
    def granted(self) -> bool:
        """Whether it holds a turn now."""
        return self._state == "granted"


class _Key:
    """What is known of one key: who runs, who waits, and when statements came in."""

    __slots__ = ("entered", "ready", "running", "value", "waiting")

    def __init__(self, value: Hashable) -> None:
        self.value = value
        self.running = 0
        self.ready = False  # whether it stands in the queue of keys
        # In order of arrival; a dict, since a ticket may leave from the middle.
        self.waiting: OrderedDict[Ticket, None] = OrderedDict()
        self.entered: deque[float] = deque()  # times within the last minute, if statements per minute are limited


class Admission:
    """Hands out turns. Safe to use from many threads: it locks itself, and calls `wake` outside of its lock.

    - Freed turns go round-robin to the keys that wait, so a key that queues a thousand statements delays another's
      one by at most one statement per turn. Within a key it is first come, first served.
    - One key never holds all turns where there are two or more and a context field tells keys apart: `reserve` of
      them stay free for others, so that nobody has to wait for a storm's running statements to end.
    - Statements per minute are counted exactly, in a sliding window: never more in any sixty seconds. A statement
      counts when it comes in, also if it then waits in vain; one that is refused here does not.
    - Memory: a few hundred bytes for a key that was seen in the last minute, and 32 for each of its statements in it
      where `per_minute` is limited. Idle keys are forgotten.
    """

    def __init__(self, limits: Limits, turns: int, *, reserve: int = 1, queue: int = DEFAULT_QUEUE) -> None:
        """`turns` in all, `queue` waiting statements per key; `reserve` turns are never one key's alone."""
        if turns < 1:
            raise ValueError("turns must be at least 1")
        self._turns = turns
        self._per_minute = limits.per_minute
        share = turns if limits.per is None else max(1, turns - reserve)
        self._share = share if limits.concurrent is None else min(share, limits.concurrent)
        self._queue = queue
        self._lock = Lock()
        self._running = 0
        self._keys: OrderedDict[Hashable, _Key] = OrderedDict()  # the one that came in longest ago first
        self._ready: deque[_Key] = deque()  # keys that have a statement waiting, and may run one more; each once

    @property
    def running(self) -> int:
        """Turns that are held now."""
        return self._running

    @property
    def waiting(self) -> int:
        """Statements that wait now."""
        with self._lock:
            return sum(len(key.waiting) for key in self._keys.values())

    @property
    def keys(self) -> int:
        """Keys that are remembered now."""
        return len(self._keys)

    def enter(self, key: Hashable, now: float, wake: Wake) -> Ticket:
        """A ticket that is granted, or waits and is granted later: then `wake` is called, once, from whoever leaves.

        Args:
            key: as `limit_key` gives it.
            now: seconds of a clock that never goes back, `time.monotonic()`.
            wake: must not block nor raise: `Event.set`, or `loop.call_soon_threadsafe` of something.

        Raises:
            LimitReached: `per_minute` with the seconds after which there is room, or `concurrent` where too many
                statements of this key wait already.
        """
        with self._lock:
            self._forget_idle(now)
            mine = self._keys.get(key)
            if mine is None:
                mine = self._keys[key] = _Key(key)
            self._check(mine, now)
            self._keys.move_to_end(key)
            if self._per_minute is not None:
                mine.entered.append(now)
            ticket = Ticket(mine, wake)
            if self._running < self._turns and mine.running < self._share:
                # Whoever waits then waits for its own key's share, which this does not touch.
                self._grant(ticket)
            else:
                mine.waiting[ticket] = None
                self._line_up(mine)
            return ticket

    def leave(self, ticket: Ticket) -> None:
        """Give a turn back, and on to the next who waits. Doing it twice changes nothing."""
        self.abandon(ticket)

    def abandon(self, ticket: Ticket) -> bool:
        """Stop waiting; a turn that was granted at this very moment goes on to the next. True if there was one."""
        with self._lock:
            state, ticket._state = ticket._state, "done"
            mine = ticket._key
            mine.waiting.pop(ticket, None)
            if state != "granted":
                return False
            self._running -= 1
            mine.running -= 1
            self._line_up(mine)
            woken = self._next()
        if woken is not None:
            woken._wake()
        return True

    def _check(self, key: _Key, now: float) -> None:
        if self._per_minute is not None:
            while key.entered and key.entered[0] <= now - WINDOW_SECONDS:
                key.entered.popleft()
            if len(key.entered) >= self._per_minute:
                after = key.entered[0] + WINDOW_SECONDS - now if key.entered else WINDOW_SECONDS
                message = f"{self._per_minute:,} statements a minute are allowed, and were used"
                raise LimitReached(message, limit="per_minute", retry_after=after, hint=f"try again in {after:.0f} s")
        if len(key.waiting) >= self._queue:
            message = f"{self._share:,} statements at a time are allowed, and {len(key.waiting):,} more wait already"
            raise LimitReached(message, limit="concurrent", hint="try again when some of them are done")

    def _grant(self, ticket: Ticket) -> None:
        ticket._state = "granted"
        ticket._key.running += 1
        self._running += 1

    def _line_up(self, key: _Key) -> None:
        """Put a key behind the others that wait for a turn, if it waits for nothing else and is not there already."""
        if key.waiting and not key.ready and key.running < self._share:
            key.ready = True
            self._ready.append(key)

    def _next(self) -> Ticket | None:
        """Grant the turn that was given back to the key whose turn it is; None if nobody may have it."""
        while self._ready:
            key = self._ready.popleft()
            key.ready = False
            if key.waiting:  # else all of its tickets were abandoned
                ticket, _ = key.waiting.popitem(last=False)
                self._grant(ticket)
                self._line_up(key)
                return ticket
        return None

    def _forget_idle(self, now: float) -> None:
        """Look at the two keys that came in longest ago: more go than come, and no call has much to do."""
        for _ in range(min(2, len(self._keys))):
            key = next(iter(self._keys.values()))
            if key.running or key.waiting:
                self._keys.move_to_end(key.value)
            elif key.entered and key.entered[-1] > now - WINDOW_SECONDS:
                return
            else:
                del self._keys[key.value]


def limit_key(limits: Limits, context: Mapping[str, object]) -> Hashable:
    """The key of a conversation: its value of `limits.per`; None, one key for all, where the spec names no field.

    Args:
        limits: the spec's.
        context: as `canonical_context` gives it, so that a value has one spelling.
    """
    value = context.get(limits.per) if limits.per is not None else None
    return tuple(value) if isinstance(value, list) else value
