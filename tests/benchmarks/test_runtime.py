"""The benchmark of the runtime runs, its sides agree, and one statement takes one round trip. Times are not tested."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.postgres import Server

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "runtime.py"
KINDS = ("threads", "asyncio")


def _run(server: Server, result: Path, *options: str) -> subprocess.CompletedProcess[str]:
    binaries = ["--postgres-bin", str(server.binaries)] if server.binaries else []
    tiny = ["--rows", "4000", "--repeat", "1", "--statements", "5", "--json", str(result)]
    command = [sys.executable, str(SCRIPT), *tiny, *binaries, *options]
    return subprocess.run(command, check=False, capture_output=True, text=True)


@pytest.fixture(scope="module")
def found(server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What it says; it ends with an error if ours, by hand and without twins answer differently."""
    result = tmp_path_factory.mktemp("benchmark") / "result.json"
    done = _run(server, result, "--plans")
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(result.read_text())
    return document


@pytest.fixture
def cases(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {case["case"]: case for case in found["cases"]}


def test_the_document(found: dict[str, Any], cases: dict[str, dict[str, Any]]) -> None:
    assert found["name"] == "runtime"
    assert len(cases) == len(found["cases"])
    for case in cases.values():
        assert min(case["ours"], case["theirs"]) > 0
        # Rounded values make a ratio that is a little off, more so where they are small.
        assert case["ratio"] == pytest.approx(case["ours"] / case["theirs"], rel=0.02, abs=0.001)


def test_one_round_trip_as_a_bare_query(cases: dict[str, dict[str, Any]]) -> None:
    assert (cases["round trips"]["ours"], cases["round trips"]["bare"]) == (1, 1)
    assert cases["round trips"]["theirs"] == 4


@pytest.mark.parametrize("kind", KINDS)
def test_the_delay_is_there_for_every_round_trip(cases: dict[str, dict[str, Any]], kind: str) -> None:
    case = cases[f"one row, 5 ms, {kind}"]
    assert case["limit"] == 0.4
    assert case["ours"] >= 5
    assert case["bare"] >= 5
    assert case["theirs"] >= 20


def test_plans(cases: dict[str, dict[str, Any]]) -> None:
    plans = cases["items: sum over the tenant, 30 %"]["plans"]
    assert set(plans) == {"ours", "without", "theirs"}
    assert not any("SubPlan" in line for line in plans["theirs"])
    assert sum("orders" in line for line in plans["ours"]) > sum("orders" in line for line in plans["without"])


def test_all_parts_are_there(cases: dict[str, dict[str, Any]]) -> None:
    assert {"8 threads at once", "8 tasks at once", "32 threads at once", "guard, long"} < set(cases)
    assert cases["guard, long"]["cached"] < cases["guard, long"]["ours"]
    assert "memory, 1,333 rows as a stream, MB" in cases


def test_an_unknown_part(server: Server, tmp_path: Path) -> None:
    done = _run(server, tmp_path / "result.json", "--only", "latency,speed")
    assert done.returncode == 2
    assert "unknown parts: speed" in done.stderr
