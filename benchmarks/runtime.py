"""What a conversation costs beside what one would write by hand with psycopg: time, plans, throughput, memory.

    python benchmarks/runtime.py [--rows 3000000] [--repeat 5] [--only latency,twins] [--plans] [--json FILE]

Parts, each with two sides in turns (A B A B) on equal terms, and medians:

- latency: `conversation.query` beside a transaction of four statements (BEGIN READ ONLY, set_context with a token, the
  query, ROLLBACK) on a connection of psycopg_pool, for threads and for asyncio, with 0, 1 and 5 ms of network there and
  back; and beside one bare query, which protects nothing; and the round trips of each;
- twins: questions over millions of rows with and without twins beside the filter and join written by hand, asked by the
  owner, to whom no policy applies, in the same transaction of four statements; for tenants of three sizes;
- throughput: statements by 1, 8 and 32 threads or tasks at once over 8 connections;
- guard: its work on a text that it sees for the first time, beside parsing alone, and on one that it knows;
- memory: processes that read a result of a third of the rows, at once or as a stream, beside psycopg.

It starts a server of its own. Times are milliseconds. docs/performance.md explains the numbers.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import LiteralString

import postgast
import psycopg
from delay import delayed
from plans import plan_by_hand, tracing
from provision import SETTINGS, machine, run, say
from result import add_options, write
from sides import (
    DATABASE,
    Ask,
    AskAsync,
    Place,
    bare,
    bare_async,
    by_hand,
    by_hand_async,
    conversations,
    conversations_async,
)
from tenants import GUARDED, LATENCY, QUESTIONS, SMALL, SPEC, TENANTS, create_tables

from rlsgen.demo.server import Server, temporary_server
from rlsgen.demo.shop import CONVERSATION, OWNER, create_roles
from rlsgen.identifiers import fill, identifier
from rlsgen.provision.apply import apply
from rlsgen.provision.keys import create_key
from rlsgen.runtime.guard import Guard
from rlsgen.runtime.schema import read_schema
from rlsgen.spec.load import parse_spec
from rlsgen.spec.model import Limits

DELAYS = (0.0, 0.001, 0.005)
LIMITS = {0.0: 1.0, 0.005: 0.4}
"""The most that a conversation may take of the four statements' time, by the network's delay."""
CONNECTIONS = 8
CROWDS = (1, 8, 32)
PARTS = ("latency", "twins", "throughput", "guard", "memory")
WARM = 10
"""Statements that are asked before time is taken: psycopg prepares the fifth, the server then plans five times."""
TURN = 5
"""Statements of one side's turn: so few that other work on the machine falls on all sides alike."""
Cases = list[dict[str, object]]


@dataclass(slots=True)
class Times:
    """Milliseconds of each side."""

    of: dict[str, list[float]] = field(default_factory=dict)

    def add(self, side: str, started: float) -> None:
        """One more, that ends now."""
        self.of.setdefault(side, []).append((time.perf_counter() - started) * 1000)

    def median(self, side: str) -> float:
        """The middle one."""
        return statistics.median(self.of[side])

    def quick(self, side: str) -> float:
        """What a tenth took at most: on a machine that does other things, this says more than the middle."""
        times = sorted(self.of[side])
        return times[len(times) // 10]


def case(name: str, ours: float, theirs: float, **more: object) -> dict[str, object]:
    """What the JSON file says of a comparison."""
    found = {"case": name, "ours": round(ours, 4), "theirs": round(theirs, 4), "ratio": round(ours / theirs, 3), **more}
    say("{case}: {ours} against {theirs}, ratio {ratio}".format(**found))
    return found


def build(server: Server, rows: int, folder: Path) -> Place:
    """The database with so many items, provisioned."""
    say(f"{rows:,} rows: building")
    with psycopg.connect(server.dsn(), autocommit=True) as admin:
        create_roles(admin)
        admin.execute(fill("CREATE DATABASE {} OWNER {}", identifier(DATABASE), identifier(OWNER)).encode())
    spec = parse_spec(SPEC, "policies.yaml")
    with psycopg.connect(server.dsn(DATABASE, OWNER), autocommit=True) as owner:
        create_tables(owner, rows)
        apply(owner, spec, allow=["PUBLIC_REVOKE"])
        return Place(server, spec, create_key(owner), folder, rows)


# Latency


class Latency:
    """One query on each side, through one way to the server."""

    def __init__(self, place: Place, statements: int, repeat: int) -> None:
        self._place, self._statements = place, statements
        self._turns = repeat * max(1, statements // TURN)

    def cases(self) -> Cases:
        """All of them."""
        found = self._trips()
        for seconds in DELAYS:
            with self._way(seconds) as (conversation, owner):
                for name, query in LATENCY.items():
                    for kind, times in (
                        ("threads", self._threads(query, conversation, owner)),
                        ("asyncio", asyncio.run(self._tasks(query, conversation, owner))),
                    ):
                        found.append(self._case(f"{name}, {seconds * 1000:.0f} ms, {kind}", seconds, times))
        return found

    @contextmanager
    def _way(self, seconds: float) -> Iterator[tuple[str, str]]:
        """DSNs of conversation and owner: without a delay the socket itself, where four round trips cost least."""
        if not seconds:
            yield self._place.dsn(), self._place.dsn(OWNER)
            return
        with delayed(self._place.dsn(), seconds) as conversation, delayed(self._place.dsn(OWNER), seconds) as owner:
            yield conversation.dsn, owner.dsn

    def _threads(self, query: LiteralString, dsn: str, owner: str) -> Times:
        place, times = self._place, Times()
        with ExitStack() as stack:
            sides: dict[str, Ask] = {
                "ours": stack.enter_context(conversations(place, dsn)),
                "theirs": stack.enter_context(by_hand(place, dsn)),
                "prepared": stack.enter_context(by_hand(place, dsn, threshold=5)),
                "bare": stack.enter_context(bare(place, owner)),
            }
            for turn in range(-1, self._turns):
                for side, ask in sides.items():
                    for _ in range(TURN if turn >= 0 else WARM):
                        started = time.perf_counter()
                        ask(query, 1)
                        if turn >= 0:
                            times.add(side, started)
        return times

    async def _tasks(self, query: LiteralString, dsn: str, owner: str) -> Times:
        place, times = self._place, Times()
        async with AsyncExitStack() as stack:
            sides: dict[str, AskAsync] = {
                "ours": await stack.enter_async_context(conversations_async(place, dsn)),
                "theirs": await stack.enter_async_context(by_hand_async(place, dsn)),
                "prepared": await stack.enter_async_context(by_hand_async(place, dsn, threshold=5)),
                "bare": await stack.enter_async_context(bare_async(place, owner)),
            }
            for turn in range(-1, self._turns):
                for side, ask in sides.items():
                    for _ in range(TURN if turn >= 0 else WARM):
                        started = time.perf_counter()
                        await ask(query, 1)
                        if turn >= 0:
                            times.add(side, started)
        return times

    @staticmethod
    def _case(name: str, seconds: float, times: Times) -> dict[str, object]:
        ours, theirs = times.median("ours"), times.median("theirs")
        more: dict[str, object] = {side: round(times.median(side), 4) for side in ("prepared", "bare")}
        quick = {side: round(times.quick(side), 4) for side in times.of}
        ratio_quick = round(quick["ours"] / quick["theirs"], 3)
        return case(name, ours, theirs, limit=LIMITS.get(seconds), **more, quick=quick, ratio_quick=ratio_quick)

    def _trips(self) -> Cases:
        """Round trips per query, counted on a line that is so slow that nothing sent together looks apart."""
        place, counted = self._place, []
        for side, role in ((conversations, CONVERSATION), (by_hand, CONVERSATION), (bare, OWNER)):
            with delayed(place.dsn(role), 0.02) as way, side(place, way.dsn) as ask:
                ask(SMALL, 1)
                before = way.trips
                for _ in range(self._statements):
                    ask(SMALL, 1)
                counted.append((way.trips - before) / self._statements)
        return [case("round trips", *counted[:2], bare=counted[2])]


# Twins


def twins(place: Place, repeat: int, *, plans: bool) -> Cases:
    """Each question for each tenant: with twins beside by hand, and without them."""
    found: Cases = []
    unlimited = Limits(per="organisationId")
    with ExitStack() as stack:
        enter = stack.enter_context
        sides: dict[str, Ask] = {
            "ours": enter(conversations(place, limits=unlimited)),
            "theirs": enter(by_hand(place, place.dsn(OWNER), bind=True)),
            "without": enter(conversations(place, limits=unlimited, twins=False)),
        }
        shown = {True: enter(tracing(place, twins=True)), False: enter(tracing(place, twins=False))} if plans else {}
        for question in QUESTIONS:
            for size, tenant in TENANTS.items():
                times, answers = Times(), {}
                for turn in range(-1, repeat):
                    for side, ask in sides.items():
                        started = time.perf_counter()
                        answers[side] = ask(question.by_hand if side == "theirs" else question.asked, tenant)
                        if turn >= 0:
                            times.add(side, started)
                if not answers["ours"] == answers["without"] == answers["theirs"]:
                    raise AssertionError(f"{question.name}, {size}: the sides do not agree")
                ours, theirs, without = (times.median(side) for side in ("ours", "theirs", "without"))
                more: dict[str, object] = {"without": round(without, 4), "ratio_without": round(without / theirs, 3)}
                if plans:
                    more["plans"] = {
                        "ours": shown[True](question.asked, tenant),
                        "without": shown[False](question.asked, tenant),
                        "theirs": plan_by_hand(place, question.by_hand, tenant),
                    }
                found.append(case(f"{question.name}, {size}", ours, theirs, **more))
    return found


# Throughput


def throughput(place: Place, seconds: float, repeat: int) -> Cases:
    """Milliseconds per statement when many ask at once, and statements per second."""
    found: Cases = []
    tenants = list(TENANTS.values())
    with conversations(place, size=CONNECTIONS) as ours, by_hand(place, size=CONNECTIONS) as theirs:
        for crowd in CROWDS:
            rates: dict[str, list[float]] = {"ours": [], "theirs": []}
            for _ in range(repeat):
                for side, ask in (("ours", ours), ("theirs", theirs)):
                    rates[side].append(_crowd_of_threads(ask, crowd, tenants, seconds))
            found.append(_rated(f"{crowd} threads", rates))
    return found + asyncio.run(_throughput_of_tasks(place, tenants, seconds, repeat))


async def _throughput_of_tasks(place: Place, tenants: list[int], seconds: float, repeat: int) -> Cases:
    found: Cases = []
    async with (
        conversations_async(place, size=CONNECTIONS) as ours,
        by_hand_async(place, size=CONNECTIONS) as theirs,
    ):
        for crowd in CROWDS:
            rates: dict[str, list[float]] = {"ours": [], "theirs": []}
            for _ in range(repeat):
                for side, ask in (("ours", ours), ("theirs", theirs)):
                    rates[side].append(await _crowd_of_tasks(ask, crowd, tenants, seconds))
            found.append(_rated(f"{crowd} tasks", rates))
    return found


def _crowd_of_threads(ask: Ask, crowd: int, tenants: list[int], seconds: float) -> float:
    until = time.perf_counter() + seconds

    def work(number: int) -> int:
        done = 0
        while time.perf_counter() < until:
            ask(SMALL, tenants[number % len(tenants)])
            done += 1
        return done

    started = time.perf_counter()
    with ThreadPoolExecutor(crowd) as executor:
        return sum(executor.map(work, range(crowd))) / (time.perf_counter() - started)


async def _crowd_of_tasks(ask: AskAsync, crowd: int, tenants: list[int], seconds: float) -> float:
    until = time.perf_counter() + seconds

    async def work(number: int) -> int:
        done = 0
        while time.perf_counter() < until:
            await ask(SMALL, tenants[number % len(tenants)])
            done += 1
        return done

    started = time.perf_counter()
    done = await asyncio.gather(*(work(number) for number in range(crowd)))
    return sum(done) / (time.perf_counter() - started)


def _rated(name: str, rates: dict[str, list[float]]) -> dict[str, object]:
    ours, theirs = (statistics.median(rates[side]) for side in ("ours", "theirs"))
    return case(f"{name} at once", 1000 / ours, 1000 / theirs, per_second=round(ours), their_per_second=round(theirs))


# Guard and memory


def guard(place: Place, repeat: int) -> Cases:
    """What the guard does with a text, beside parsing it and nothing else; and with one that it knows."""
    found: Cases = []
    with psycopg.connect(place.dsn(), autocommit=True) as connection:
        schema = read_schema(connection, place.spec)
    for name, text in GUARDED.items():
        times = Times()
        for _ in range(repeat * 4):
            fresh = Guard(place.spec, schema)
            for side, work in (("ours", fresh.check), ("theirs", postgast.parse), ("cached", fresh.check)):
                started = time.perf_counter()
                work(text)
                times.add(side, started)
        more = {"characters": len(text), "cached": round(times.median("cached"), 4)}
        found.append(case(f"guard, {name}", times.median("ours"), times.median("theirs"), **more))
    return found


def memory(place: Place, repeat: int) -> Cases:
    """Megabytes that processes have at most while they read a large result, beyond those of one that reads a row."""
    rows = max(1_000, place.rows // 3)
    spec, key = place.folder / "policies.yaml", place.folder / "key"
    spec.write_text(SPEC)
    key.write_text(place.key.reveal())
    key.chmod(0o600)

    def peak(way: str) -> float:
        script = Path(__file__).with_name("memory.py")
        runs = [run(sys.executable, script, way, str(rows), place.dsn(), spec, key) for _ in range(repeat)]
        return statistics.median(int(each.output) for each in runs) / 1_000_000

    idle, their_idle = peak("idle"), peak("psycopg-idle")
    found = []
    for name, ours, theirs in (("at once", "query", "psycopg"), ("as a stream", "stream", "psycopg-stream")):
        mine, other = peak(ours), peak(theirs)
        more = {"beyond_idle": round(mine - idle, 1), "their_beyond_idle": round(other - their_idle, 1)}
        found.append(case(f"memory, {rows:,} rows {name}, MB", mine, other, **more))
    limited = peak("limited")
    found.append(case(f"memory, 10,000 of {rows:,} rows, MB", limited, idle, beyond_idle=round(limited - idle, 1)))
    return found


def measure(place: Place, options: argparse.Namespace) -> dict[str, object]:
    """The parts that were asked for."""
    parts: dict[str, Callable[[], Cases]] = {
        "latency": Latency(place, options.statements, options.repeat).cases,
        "twins": lambda: twins(place, options.repeat, plans=options.plans),
        "throughput": lambda: throughput(place, options.statements / 100, options.repeat),
        "guard": lambda: guard(place, options.repeat),
        "memory": lambda: memory(place, min(3, options.repeat)),
    }
    chosen = options.only.split(",")
    cases = [found for part, work in parts.items() if part in chosen for found in work()]
    return {"name": "runtime", "rows": place.rows, "cases": cases, "machine": machine(place.server)}


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=3_000_000, help="items, four to an order (default: %(default)s)")
    parser.add_argument("--repeat", type=int, default=5, help="how often each side has its turn (default: %(default)s)")
    parser.add_argument(
        "--statements", type=int, default=100, help="for latency, in each repetition (default: %(default)s)"
    )
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas (default: %(default)s)")
    parser.add_argument("--plans", action="store_true", help="show the plans of twins")
    add_options(parser)
    options = parser.parse_args()
    logging.getLogger("rlsgen").setLevel(logging.ERROR)  # the embedded server may be of an old version
    if unknown := set(options.only.split(",")) - set(PARTS):
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}")
    with (
        tempfile.TemporaryDirectory(prefix="rlsgen-bench-") as folder,
        temporary_server(options.postgres_bin, SETTINGS) as server,
    ):
        result = measure(build(server, options.rows, Path(folder)), options)
    write(result, options.json)


if __name__ == "__main__":
    main()
