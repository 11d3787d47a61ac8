"""The benchmark of apply and a migration under load runs, and says what others rely on. Times are no test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.support.postgres import Server

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "load.py"


def test_the_benchmark(server: Server, tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    binaries = ["--postgres-bin", str(server.binaries)] if server.binaries else []
    tiny = ["--tables", "10", "--seconds", "0.2", "--repeat", "1", "--json", str(result)]
    done = subprocess.run([sys.executable, str(SCRIPT), *tiny, *binaries], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(result.read_text())
    assert found["name"] == "load"
    assert [case["case"] for case in found["cases"]] == [
        "first apply, 10 tables, application",
        "other filters, 10 tables, application",
        "other filters, 10 tables, conversations",
        "nothing, 10 tables, application",
        "nothing, 10 tables, conversations",
        "alembic upgrade, 10 tables, application",
        "alembic upgrade, 10 tables, conversations",
    ]
    for case in found["cases"]:
        assert len(case["ratios"]) == 1
        assert abs(case["ratio"] - case["ours"] / case["theirs"]) < 0.1 * case["ratio"]
