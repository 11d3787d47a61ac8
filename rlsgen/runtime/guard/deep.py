"""Threads with a stack so large that no text within the guard's bounds can overflow it.

libpg_query recurses over syntax trees on the C stack, and a stack that overflows ends the process: 44 KB of `1+1+…` do
on a main thread's 8 MB. So everything that parses or deparses runs here. The memory is only reserved; what is touched
counts. tests/guard/test_deep.py finds that a quarter of it is enough for the deepest texts.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, TypeVar

STACK_BYTES = 512 * 1024 * 1024
SHORT = 4_000
"""Characters of a text that is done at once, in milliseconds; a longer one can take up to a second."""
T = TypeVar("T")
_Job = tuple[Future[Any], Callable[[], Any]]


class _Jobs:
    """What is to be done: the keys take turns, so that one's thousand jobs delay another's by one at a time."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: OrderedDict[Hashable, deque[_Job]] = OrderedDict()

    def put(self, key: Hashable, job: _Job) -> None:
        with self._changed:
            self._waiting.setdefault(key, deque()).append(job)
            self._changed.notify()

    def take(self) -> _Job:
        with self._changed:
            while not self._waiting:
                self._changed.wait()
            key, jobs = self._waiting.popitem(last=False)
            job = jobs.popleft()
            if jobs:
                self._waiting[key] = jobs
            return job


class _Lane:
    """A thread, made at its first use, and its jobs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: _Jobs | None = None
        self._thread: threading.Thread | None = None

    def run(self, function: Callable[[], T], key: Hashable) -> T:
        done: Future[T] = Future()
        (self._jobs or self._start()).put(key, (done, function))
        return done.result()

    def _start(self) -> _Jobs:
        with self._lock:
            if self._jobs is None:
                jobs = _Jobs()
                with _stacks:
                    before = threading.stack_size(STACK_BYTES)
                    try:
                        thread = threading.Thread(target=_work, args=(jobs,), name="rlsgen-guard", daemon=True)
                        thread.start()
                    finally:
                        threading.stack_size(before)
                self._jobs, self._thread = jobs, thread
            return self._jobs

    @property
    def current(self) -> bool:
        """Whether this is its thread."""
        return threading.current_thread() is self._thread


def _work(jobs: _Jobs) -> None:
    while True:
        done, function = jobs.take()
        try:
            done.set_result(function())
        except BaseException as error:  # noqa: BLE001 - it is raised where somebody waits for it
            done.set_exception(error)
        del done, function


_stacks = threading.Lock()
_lanes = _Lane(), _Lane()  # for short texts, which must not wait behind long ones, and for these


def deep(function: Callable[[], T], *, key: Hashable = None, size: int = 0) -> T:
    """Run a function on a large stack, wait for it, and give back what it gives or raises.

    Args:
        function: what to do.
        key: for whom: one organisation, as a rule. Keys take turns.
        size: of the text, in characters.
    """
    if any(lane.current for lane in _lanes):
        return function()
    return _lanes[size > SHORT].run(function, key)


def _forked() -> None:
    global _stacks, _lanes
    _stacks, _lanes = threading.Lock(), (_Lane(), _Lane())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
