"""A thread with a stack so large that no text within the guard's bounds can overflow it.

libpg_query recurses over syntax trees on the C stack, and a stack that overflows ends the process: 44 KB of `1+1+…` do
on a main thread's 8 MB. So everything that parses or deparses runs here. The memory is only reserved; what is touched
counts. tests/guard/test_deep.py finds that a quarter of it is enough for the deepest texts.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

STACK_BYTES = 512 * 1024 * 1024
T = TypeVar("T")
_Job = tuple[Future[Any], Callable[[], Any]]


class _Deep:
    """The thread, made at its first use and again in a process that was forked."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: SimpleQueue[_Job] | None = None
        self._thread: threading.Thread | None = None

    def run(self, function: Callable[[], T]) -> T:
        if threading.current_thread() is self._thread:
            return function()
        done: Future[T] = Future()
        (self._jobs or self._start()).put((done, function))
        return done.result()

    def _start(self) -> SimpleQueue[_Job]:
        with self._lock:
            if self._jobs is None:
                jobs: SimpleQueue[_Job] = SimpleQueue()
                before = threading.stack_size(STACK_BYTES)
                try:
                    thread = threading.Thread(target=_work, args=(jobs,), name="rlsgen-guard", daemon=True)
                    thread.start()
                finally:
                    threading.stack_size(before)
                self._jobs, self._thread = jobs, thread
            return self._jobs


def _work(jobs: SimpleQueue[_Job]) -> None:
    while True:
        done, function = jobs.get()
        try:
            done.set_result(function())
        except BaseException as error:  # noqa: BLE001 - it is raised where somebody waits for it
            done.set_exception(error)
        del done, function


_deep = _Deep()


def deep(function: Callable[[], T]) -> T:
    """Run a function on the large stack, wait for it, and give back what it gives or raises."""
    return _deep.run(function)


def _forked() -> None:
    global _deep  # noqa: PLW0603 - a fork copies the value, but not the thread
    _deep = _Deep()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
