"""Texts within the guard's bounds that would keep it busy: all conversations of a process wait for its one thread."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest

from rlsgen.errors import StatementRefused
from rlsgen.runtime.guard import Guard
from tests.hostile.support import Sandbox
from tests.hostile.test_rings import open_pool

SECONDS = 6.0  # a tenth of what they took, or less; most take a fifth of a second
WIDE = ", ".join(f"c{n} AS (SELECT * FROM {', '.join(f'c{n - 1} a{m}' for m in range(6))})" for n in range(1, 4))
FROM = "FROM " + ", ".join(f"c3 x{n}" for n in range(6))


def _deep(text: str, levels: int) -> str:
    for _ in range(levels):
        text = f"SELECT ({text}) {FROM}"
    return text


TEXTS = {
    "stars that double": "WITH c0 AS (SELECT * FROM orders)"
    + "".join(f", c{n} AS (SELECT * FROM c{n - 1} a, c{n - 1} b)" for n in range(1, 30))
    + " SELECT 1 FROM c3",
    "stars that double, nested": "SELECT * FROM (SELECT *, * FROM " * 16 + "orders" + ") x) y" * 16,
    "many stars": "SELECT " + ",".join(["*"] * 5_000) + " FROM " + ", ".join(f"orders o{n}" for n in range(1_000)),
    "many names in many tables": "SELECT " + ", ".join(f"z{n}" for n in range(5_000)) + " FROM "
    + ", ".join(f"countries o{n}" for n in range(1_600)),
    "many names in many levels": f"WITH c0 AS (SELECT id, name, price FROM products), {WIDE} "
    + _deep("SELECT " + ", ".join(f"z{n}" for n in range(4_500)) + f" {FROM}", 12),
    "many tables": "SELECT 1 FROM " + ", ".join(f"orders o{n}" for n in range(3_000)),
    "many WITH queries": "WITH " + ", ".join(f"c{n} AS (SELECT id FROM orders)" for n in range(1_500)) + " SELECT 1",
    "many constants": "SELECT " + ", ".join(str(n) for n in range(9_000)),
    "many conditions": "SELECT 1 FROM orders WHERE " + " OR ".join(f"id = {n}" for n in range(4_000)),
    "a long sum": "SELECT " + "+".join("1" * 2_000),
    "one long name": "SELECT * FROM " + "o" * 60_000,
}  # fmt: skip


@pytest.fixture(scope="module")
def guard(shared: Sandbox) -> Iterator[Guard]:
    with open_pool(shared) as pool:
        found = pool._core.known.guard
        assert found is not None
        yield found


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_it_is_decided_soon(guard: Guard, text: str) -> None:
    began = time.perf_counter()
    with contextlib.suppress(StatementRefused):
        guard.check(text)
    assert time.perf_counter() - began < SECONDS


def test_results_may_be_as_wide_as_in_postgres(guard: Guard) -> None:
    guard.check("SELECT " + ", ".join(["o.*"] * 200) + " FROM orders AS o")
    with pytest.raises(StatementRefused, match="more than 1,664 columns"):
        guard.check("SELECT " + ", ".join(["o.*"] * 300) + " FROM orders AS o")
