"""Both pools behind one face, so that a test is written once: threads', and asyncio's on a loop of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from rlsgen import AsyncConversationPool, ConversationPool
from rlsgen.runtime.health import Health
from rlsgen.runtime.result import Result
from tests.pooled.place import Place, context

T = TypeVar("T")
Row = tuple[Any, ...]


class Asker:
    """A pool that answers one organisation's question at a time."""

    def __init__(self, pool: ConversationPool) -> None:
        self._pool = pool

    def query(self, own: int, text: str, parameters: Sequence[object] = ()) -> Result:
        with self._pool.conversation(context(own)) as conversation:
            return conversation.query(text, parameters)

    def stream(self, own: int, text: str, each: Callable[[Row], None]) -> None:
        """Show every row to somebody, one after the other."""
        with self._pool.conversation(context(own)) as conversation, conversation.stream(text) as rows:
            for row in rows:
                each(row)

    def check(self) -> Health:
        return self._pool.check()


class AsyncAsker(Asker):
    """The same with asyncio; from any thread."""

    def __init__(self, pool: AsyncConversationPool, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self._async_pool = pool
        self._run = run

    def query(self, own: int, text: str, parameters: Sequence[object] = ()) -> Result:
        async def ask() -> Result:
            async with self._async_pool.conversation(context(own)) as conversation:
                return await conversation.query(text, parameters)

        found: Result = self._run(ask())
        return found

    def stream(self, own: int, text: str, each: Callable[[Row], None]) -> None:
        async def ask() -> None:
            async with self._async_pool.conversation(context(own)) as conversation, conversation.stream(text) as rows:
                async for row in rows:
                    await asyncio.to_thread(each, row)

        self._run(ask())

    def check(self) -> Health:
        found: Health = self._run(self._async_pool.check())
        return found


@contextmanager
def asker(kind: str, place: Place, **options: Any) -> Iterator[Asker]:
    """`kind`: threads or tasks."""
    if kind == "threads":
        with place.pool(**options) as pool:
            yield Asker(pool)
        return
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(120)

    pool_of_tasks = place.async_pool(**options)
    try:
        run(pool_of_tasks.__aenter__())
        try:
            yield AsyncAsker(pool_of_tasks, run)
        finally:
            run(pool_of_tasks.close())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
