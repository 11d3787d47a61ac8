"""Both kinds of pools behind one blocking interface, so that every test is for both."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from rlsgen import AsyncConversationPool, ConversationPool
from rlsgen.runtime.async_pool import AsyncConversation
from rlsgen.runtime.health import Health
from rlsgen.runtime.result import Result

T = TypeVar("T")
ALDER: Mapping[str, object] = {"organisationId": 1, "teamId": 1, "userId": "user_1"}
BIRCH: Mapping[str, object] = {"organisationId": 2, "teamId": 4, "userId": "user_301"}


class Talk(Protocol):
    """A conversation."""

    id: str

    def query(self, text: str, parameters: Sequence[object] = ()) -> Result: ...
    def stream(self, text: str, parameters: Sequence[object] = ()) -> Any: ...
    def close(self) -> None: ...


class Pool(Protocol):
    """A pool."""

    def conversation(self, context: Mapping[str, object], user: str = "") -> Talk: ...
    def health(self) -> Health: ...
    def check(self) -> Health: ...
    def close(self) -> None: ...


def synchronous(*arguments: Any, **options: Any) -> Pool:
    return ConversationPool(*arguments, **options)  # type: ignore[return-value]


def asynchronous(*arguments: Any, **options: Any) -> Pool:
    return Behind(*arguments, **options)


class Behind:
    """An asynchronous pool in a loop of its own, in another thread."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.slow_callback_duration = 0.3
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.ended = False
        try:
            self.pool = AsyncConversationPool(*arguments, **options)
            self.do(self.pool.open())
        except BaseException:
            self._end()
            raise

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(120)

    def conversation(self, context: Mapping[str, object], user: str = "") -> Talk:
        return BehindTalk(self, self.pool.conversation(context, user))

    def health(self) -> Health:
        return self.do(self.pool.health())

    def check(self) -> Health:
        return self.do(self.pool.check())

    def close(self) -> None:
        if not self.ended:
            self.do(self.pool.close())
            self._end()

    def _end(self) -> None:
        self.ended = True
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


class BehindTalk:
    def __init__(self, pool: Behind, talk: AsyncConversation) -> None:
        self._pool = pool
        self.talk = talk
        self.id = talk.id

    def query(self, text: str, parameters: Sequence[object] = ()) -> Result:
        if self._pool.ended:
            return asyncio.run(self.talk.query(text, parameters))
        return self._pool.do(self.talk.query(text, parameters))

    @contextmanager
    def stream(self, text: str, parameters: Sequence[object] = ()) -> Iterator[Any]:
        manager = self.talk.stream(text, parameters)
        stream = self._pool.do(manager.__aenter__())
        try:
            yield BehindStream(self._pool.do, stream)
        except BaseException as error:
            if not self._pool.do(manager.__aexit__(type(error), error, None)):
                raise
        else:
            self._pool.do(manager.__aexit__(None, None, None))

    def close(self) -> None:
        self._pool.do(self.talk.close())


class BehindStream:
    def __init__(self, do: Callable[..., Any], stream: Any) -> None:
        self._do = do
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Iterator[Any]:
        rows = self._stream.__aiter__()
        try:
            while True:
                try:
                    yield self._do(rows.__anext__())
                except StopAsyncIteration:
                    return
        finally:
            self._do(rows.aclose())
