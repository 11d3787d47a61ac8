"""How a crowd talks: in threads or in tasks, over one pool, while somebody kills backends and the pooler."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from rlsgen import AsyncConversationPool, ConversationPool
from rlsgen.errors import RlsgenError
from rlsgen.runtime.async_pool import AsyncConversation
from rlsgen.runtime.pool import Conversation
from tests.pooled.crowd import HONEST, Honest, Script, Tally
from tests.pooled.place import ORGANISATIONS, Place, context
from tests.support.pooler import PgBouncer

_KILL = (
    "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity WHERE usename = 'nl_conversation'"
    " AND datname = %s AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1) AS victim"
)
AFTERWARDS = [each for each in HONEST if each.rows <= 2_000][-8:]
_STREAMED = 0.15  # of the honest questions
_CANCELLED = 0.08  # of the statements of tasks


class _Left(Exception):
    """A caller that leaves a stream by an error of its own."""


@dataclass(slots=True)
class Trouble:
    """What was done to a crowd's connections."""

    kills: int = 0
    restarts: int = 0


@contextmanager
def trouble(place: Place, pooler: PgBouncer | None = None, every: float = 0.25) -> Iterator[Trouble]:
    """Backends are killed from outside every so often, and the pooler sometimes with them."""
    done, stop, dice = Trouble(), threading.Event(), random.Random(1)
    broken: list[BaseException] = []

    def harass() -> None:
        try:
            with place.administer() as administrator:
                while not stop.wait(dice.uniform(0, 2 * every)):
                    done.kills += administrator.execute(_KILL, [place.name]).rowcount
                    if pooler is not None and dice.random() < 0.1:
                        pooler.restart()
                        done.restarts += 1
        except (psycopg.Error, AssertionError) as error:
            broken.append(error)

    thread = threading.Thread(target=harass)
    thread.start()
    try:
        yield done
    finally:
        stop.set()
        thread.join()
    assert not broken


def threads(pool: ConversationPool, number: int, seconds: float) -> Tally:
    """Conversations in so many threads, for so long; what they saw together."""
    until, total = time.monotonic() + seconds, Tally()
    with ThreadPoolExecutor(number) as executor:
        for tally in executor.map(lambda seed: _in_thread(pool, Script(seed), until), range(number)):
            total.add(tally)
    return total


def _in_thread(pool: ConversationPool, script: Script, until: float) -> Tally:
    tally = Tally()
    while time.monotonic() < until:
        own = script.organisation()
        with pool.conversation(context(own), f"user_{own}") as conversation:
            for _ in range(5):
                if time.monotonic() > until:
                    break
                text, honest = script.next(own)
                try:
                    _ask(conversation, own, text, honest, script, tally)
                except _Left:
                    tally.ends["left"] += 1
                except RlsgenError as error:
                    tally.failed(own, error, text, honest)
    return tally


def _ask(conversation: Conversation, own: int, text: str, honest: Honest | None, script: Script, tally: Tally) -> None:
    if honest is None or not script.chance(_STREAMED):
        rows = conversation.query(text, honest.parameters if honest else ()).rows
        tally.look(own, rows, honest)
        if honest is not None:
            tally.answered(own, honest, len(rows))
        return
    leave, count = script.leave(honest.rows), 0
    with conversation.stream(text, honest.parameters) as stream:
        for row in stream:
            tally.look(own, [row], honest)
            count += 1
            if count == leave:
                raise _Left
    tally.answered(own, honest, count)


async def tasks(pool: AsyncConversationPool, number: int, seconds: float) -> Tally:
    """The same in so many tasks, some of whose statements are cancelled half way."""
    until, total = time.monotonic() + seconds, Tally()
    for tally in await asyncio.gather(*(_in_task(pool, Script(1_000 + seed), until) for seed in range(number))):
        total.add(tally)
    return total


async def _in_task(pool: AsyncConversationPool, script: Script, until: float) -> Tally:
    tally, loop = Tally(), asyncio.get_running_loop()
    while time.monotonic() < until:
        own = script.organisation()
        async with pool.conversation(context(own), f"user_{own}") as conversation:
            for _ in range(5):
                if time.monotonic() > until:
                    break
                text, honest = script.next(own)
                asking = asyncio.ensure_future(_ask_async(conversation, own, text, honest, script, tally))
                if script.chance(_CANCELLED):
                    loop.call_later(script.seconds(0.3), asking.cancel)
                try:
                    await asking
                except asyncio.CancelledError:
                    tally.ends["cancelled"] += 1
                except _Left:
                    tally.ends["left"] += 1
                except RlsgenError as error:
                    tally.failed(own, error, text, honest)
    return tally


async def _ask_async(
    conversation: AsyncConversation, own: int, text: str, honest: Honest | None, script: Script, tally: Tally
) -> None:
    if honest is None or not script.chance(_STREAMED):
        rows = (await conversation.query(text, honest.parameters if honest else ())).rows
        tally.look(own, rows, honest)
        if honest is not None:
            tally.answered(own, honest, len(rows))
        return
    leave, count = script.leave(honest.rows), 0
    async with conversation.stream(text, honest.parameters) as stream:
        async for row in stream:
            tally.look(own, [row], honest)
            count += 1
            if count == leave:
                raise _Left
    tally.answered(own, honest, count)


def serves_all(pool: ConversationPool) -> Tally:
    """Afterwards the same pool answers everybody, at once and in full."""
    tally = Tally()
    for own in ORGANISATIONS:
        with pool.conversation(context(own)) as conversation:
            for honest in AFTERWARDS:
                rows = conversation.query(honest.sql, honest.parameters).rows
                tally.look(own, rows, honest)
                tally.answered(own, honest, len(rows))
    return tally


async def serves_all_async(pool: AsyncConversationPool) -> Tally:
    """The same."""
    tally = Tally()
    for own in ORGANISATIONS:
        async with pool.conversation(context(own)) as conversation:
            for honest in AFTERWARDS:
                rows = (await conversation.query(honest.sql, honest.parameters)).rows
                tally.look(own, rows, honest)
                tally.answered(own, honest, len(rows))
    return tally
