"""A process that reads a large result in one way; benchmarks/runtime.py compares how much memory each has at most.

    python benchmarks/memory.py idle|query|stream|limited|psycopg-idle|psycopg|psycopg-stream ROWS DSN SPEC KEYFILE

It prints bytes.
"""

from __future__ import annotations

import logging
import resource
import sys
from pathlib import Path
from typing import LiteralString

import psycopg

from rlsgen import ConversationPool
from rlsgen.runtime.token import SigningKey, mint
from rlsgen.spec.load import load_spec
from rlsgen.spec.model import Limits

CONTEXT = {"organisationId": 1}
SMALL: LiteralString = "SELECT id FROM orders LIMIT 1"
LARGE: LiteralString = (
    "SELECT id, order_id, product, price FROM items UNION ALL SELECT id, organisation_id, 0, amount FROM orders LIMIT "
)


def ours(way: str, rows: int, dsn: str, spec: Path, key: str) -> int:
    """How many rows a conversation reads."""
    logging.getLogger("rlsgen").setLevel(logging.ERROR)
    limits = Limits(rows=10_000) if way == "limited" else Limits()
    text = SMALL if way == "idle" else f"{LARGE}{rows}"
    with ConversationPool(dsn, spec, key, max_size=1, known_holes="warn", limits=limits) as pool:
        conversation = pool.conversation(CONTEXT)
        if way != "stream":
            return len(conversation.query(text).rows)
        with conversation.stream(text) as stream:
            return sum(1 for _ in stream)


def theirs(way: str, rows: int, dsn: str, spec: Path, key: str) -> int:
    """How many rows psycopg reads, in a transaction of the same context."""
    fields = load_spec(spec).context
    text = (SMALL if way == "psycopg-idle" else f"{LARGE}{rows}").encode()
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT rlsgen.set_context(%s)", [mint(SigningKey.parse(key), fields, CONTEXT)])
        if way != "psycopg-stream":
            return len(cursor.execute(text).fetchall())
        return sum(1 for _ in cursor.stream(text))


def peak() -> int:
    """Bytes that this process had at most. Linux' getrusage begins with what the process that started it had."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


if __name__ == "__main__":
    chosen, number, database, policies, file = sys.argv[1:]
    read = theirs if chosen.startswith("psycopg") else ours
    count = read(chosen, int(number), database, Path(policies), Path(file).read_text())
    expected = 1 if chosen.endswith("idle") else 10_000 if chosen == "limited" else int(number)
    if count != min(expected, int(number)):
        sys.exit(f"{count} rows came, not {expected}")
    print(peak())
