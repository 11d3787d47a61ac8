"""No text can take the process down: the deepest that fit into the bounds, on the guard's stack and on a quarter of it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from rlsgen.errors import StatementRefused
from rlsgen.runtime.guard import Guard
from rlsgen.runtime.guard import deep as module
from rlsgen.runtime.guard.deep import SHORT, STACK_BYTES, deep
from rlsgen.runtime.guard.text import MAX_BYTES

SHAPES = {
    "sum": "'SELECT 1' + '+1' * n",
    "minus": "'SELECT ' + '- ' * n + '1'",
    "not": "'SELECT ' + 'NOT ' * n + 'true'",
    "parentheses": "'SELECT ' + '(' * n + '1' + ')' * n",
    "selects": "'SELECT ' + '(SELECT ' * n + '1' + ')' * n",
    "from": "'SELECT 1 FROM ' + '(SELECT 1 FROM ' * n + 'orders' + ') x' * n",
    "case": "'SELECT ' + 'CASE WHEN ' * n + 'true' + ' THEN 1 END' * n",
    "arrays": "'SELECT ' + 'ARRAY[' * n + '1' + ']' * n",
    "joins": "'SELECT 1 FROM orders' + ' JOIN orders ON true' * n",
    "nested joins": "'SELECT 1 FROM ' + '(' * n + 'orders' + ' CROSS JOIN orders)' * n",
    "subscripts": "'SELECT a' + '[1]' * n",
    "fields": "'SELECT a' + '.b' * n",
    "casts": "'SELECT 1' + '::int' * n",
    "unions": "'SELECT 1' + ' UNION SELECT 1' * n",
    "concat": "'SELECT 1' + '||1' * n",
    "and": "'SELECT true' + ' AND true' * n",
    "and or": "'SELECT ' + '(true AND (false OR ' * n + 'true' + '))' * n",
    "is null": "'SELECT 1' + ' IS NULL' * n",
    "collate": "'SELECT 1' + ' COLLATE c' * n",
    "calls": "'SELECT ' + 'abs(' * n + '1' + ')' * n",
    "in": "'SELECT ' + '1 IN (' * n + '1' + ')' * n",
    "with": "'WITH a AS (' * n + 'SELECT 1' + ') SELECT 1' * n",
    "rows": "'SELECT ' + 'ROW(' * n + '1' + ')' * n",
    "between": "'SELECT ' + '1 BETWEEN 1 AND ' * n + '1'",
    "at time zone": "'SELECT 1' + ' AT TIME ZONE 1' * n",
    "values": "'VALUES (1)' + ',(1)' * n",
    "statements": "'SELECT 1;' * n",
    "groups": "'SELECT 1 GROUP BY ' + 'ROLLUP (' * n + '1' + ')' * n",
}
SCRIPT = """
import sys
sys.setrecursionlimit(1000)
from rlsgen.runtime.guard import deep
deep.STACK_BYTES = int(sys.argv[1])
from rlsgen.errors import StatementRefused
from rlsgen.runtime.guard.text import MAX_BYTES, Text
from rlsgen.runtime.guard.deep import deep as run
import postgast
for shape in sys.argv[2:]:
    low, high = 1, MAX_BYTES
    while high - low > 1:  # the most that fits
        n = (low + high) // 2
        low, high = (n, high) if len(eval(shape)) <= MAX_BYTES else (low, n)
    n = low
    def parse(text=eval(shape)):
        for work in (postgast.parse, postgast.normalize, postgast.fingerprint):
            try:
                work(text)
            except Exception as error:
                pass
    run(parse)
    print("lived")
"""


def run(stack: int, *shapes: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SCRIPT, str(stack), *shapes]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": os.getcwd()}
    )


def test_the_deepest_texts_fit_four_times() -> None:
    """All of libpg_query, on texts of the greatest length, on a quarter of the stack."""
    done = run(STACK_BYTES // 4, *SHAPES.values())
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("lived") == len(SHAPES)


def test_an_ordinary_stack_overflows() -> None:
    """Or the large one would be for nothing."""
    done = run(256 * 1024, SHAPES["sum"])
    assert done.returncode < 0


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_deep_texts_are_refused_or_fine(guard: Guard, shape: str) -> None:
    for n in (1, 3, 10, 15, 20, 25, 30, 40, 60, 100, 1000, 3000):
        text = eval(shape, {"n": n})  # the shapes above
        if len(text) > MAX_BYTES:
            continue
        assert reason(guard, text) in ("", "size", "syntax", "column", "statement", "type", "function")


def reason(guard: Guard, text: str) -> str:
    try:
        guard.check(text)
    except StatementRefused as error:
        return error.reason
    return ""


def test_wide_texts_are_fine(guard: Guard) -> None:
    guard.check(f"SELECT {', '.join(map(str, range(3000)))}")
    guard.check(f"SELECT count(*) FROM orders WHERE id IN ({', '.join(map(str, range(9000)))})")
    guard.check("SELECT count(*) FROM orders WHERE " + " OR ".join(f"id = {n}" for n in range(1000)))
    columns = ", ".join(["title", "body"] * 30)
    guard.check(f"UPDATE notes SET ({columns}) = (SELECT {columns} FROM notes WHERE (id, title) = (1, 'a'))")
    guard.check(
        "SELECT "
        + ", ".join(f"sum(CASE WHEN status = 's{n}' THEN total END) AS s{n}" for n in range(200))
        + " FROM orders"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x" * (MAX_BYTES + 1), "size"),
        ("SELECT '" + "x" * 1_000_000 + "'", "size"),
        ("SELECT " + "1+" * 100_000 + "1", "size"),
        ("SELECT 'ä" + "ä" * (MAX_BYTES // 2) + "'", "size"),
        ("SELECT 1" + ",1" * 15_000, "size"),
        ("SELECT 1 FROM teams t, " + ", ".join(f"abs(x) t{n}" for n in range(1000)), "size"),
        ("SELECT 'a\0b'", "syntax"),
        ("SELECT '\ud800'", "syntax"),
        ("", "text"),
    ],
)
def test_bounds(guard: Guard, text: str, reason: str) -> None:
    with pytest.raises(StatementRefused) as caught:
        guard.check(text)
    assert caught.value.reason == reason


_WIDE = ", ".join(f"1 AS a{n}" for n in range(1600))
SLOW = {
    "signs": "SELECT " + "-+" * 32_000 + "1",
    "comments in a row": "SELECT 1" + "/**/" * 16_000,
    "comments in comments": "SELECT " + "/*" * 16_000 + "*/" * 16_000 + "1",
    "digits of an interval": f"SELECT * FROM generate_series(now(), now(), interval '{'1' * 60_000}!')",
    "intervals": "SELECT " + ", ".join(["generate_series(now(), now(), interval '" + "1" * 190 + "!')"] * 250),
    "digits of a clock": f"SELECT * FROM generate_series(now(), now(), interval '{'1' * 60_000}:11')",
    "digits of a width": f"SELECT format('%{'9' * 60_000}s', 'a')",
    "places of letters": "SELECT " + "ä." * 16_000 + "a",
    "natural joins": f"WITH t AS (SELECT {_WIDE}) SELECT 1 IN ({', '.join(['(SELECT 1 FROM t NATURAL JOIN t u)'] * 1000)})",
    "copies": f"UPDATE notes SET ({', '.join(['title'] * 600)}) = (SELECT {', '.join(['1'] * 600)})",
    "copies of a row": f"UPDATE notes SET ({', '.join(['title'] * 2000)}) = ROW({', '.join(['1'] * 2000)})",
    "groups": f"SELECT {', '.join(f'id a{n}' for n in range(3600))} FROM teams GROUP BY {', '.join(['zz'] * 3600)}",
}  # fmt: skip


@pytest.mark.parametrize("text", SLOW.values(), ids=SLOW)
def test_no_text_takes_long(guard: Guard, text: str) -> None:
    """Each took from a second to days before it was bounded; now far less than the bound here."""
    start = time.perf_counter()
    reason(guard, text)
    assert time.perf_counter() - start < 3


def test_decorated_comments_are_fine(guard: Guard) -> None:
    guard.check(f"/*{'*' * 400}*/ SELECT 1 -- {'=' * 2_000}\n, '{'-' * 2_000}'")


def test_keys_take_turns() -> None:
    """One key's hundred jobs delay another's by the one that runs, and by one more."""
    done: list[str] = []
    go = threading.Event()

    def lane(key: str) -> threading.Thread:
        def job() -> None:
            deep(wait, key=key, size=SHORT + 1)

        def wait() -> None:
            go.wait(10)
            done.append(key)

        thread = threading.Thread(target=job)
        thread.start()
        return thread

    threads = [lane("storm") for _ in range(50)]
    while not deep_waits(49):
        pass
    threads.append(lane("other"))
    while not deep_waits(50):
        pass
    deep(lambda: done.append("short"), key="third")
    go.set()
    for thread in threads:
        thread.join()
    assert done[0] == "short"
    assert "other" in done[1:4]
    assert len(done) == 52


def deep_waits(number: int) -> bool:
    """Whether so many jobs wait in the lane of long texts."""
    jobs = module._lanes[1]._jobs
    return jobs is not None and sum(len(each) for each in jobs._waiting.values()) == number


def test_a_quote_that_was_left_open_does_not_repeat_the_text(guard: Guard) -> None:
    for text in ("SELECT 'x" + "y" * 10_000, "SELECT " + "@" * 3_000):
        with pytest.raises(StatementRefused) as caught:
            guard.check(text)
        assert len(caught.value.message) < 400


@pytest.mark.parametrize("text", [None, 1, b"SELECT 1", ["SELECT 1"]])
def test_only_text_is_text(guard: Guard, text: object) -> None:
    with pytest.raises(StatementRefused):
        guard.check(text)  # type: ignore[arg-type]


def test_many_threads(guard: Guard) -> None:
    found: list[str] = []

    def work(number: int) -> None:
        for n in range(20):
            found.append(guard.check(f"SELECT {number}, {n} FROM orders").sql)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 320


def test_errors_come_back_and_the_thread_lives_on() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        deep(fail)
    assert deep(lambda: deep(lambda: 5)) == 5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_has_a_thread_of_its_own() -> None:
    script = """
import os, warnings
warnings.simplefilter("ignore")
from rlsgen.runtime.guard.deep import deep
assert deep(lambda: 1) == 1
child = os.fork()
if child == 0:
    os._exit(deep(lambda: 7))
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert deep(lambda: 2) == 2
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, timeout=30, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
