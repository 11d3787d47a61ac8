"""The benchmark runs and says what others rely on. How fast it found things is not a test's business."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.support.postgres import Server

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "provision.py"


def test_the_benchmark(server: Server, tmp_path: Path) -> None:
    """Both of its sides work and agree: it ends with an error if psql's database is not as the spec says."""
    result = tmp_path / "result.json"
    binaries = ["--postgres-bin", str(server.binaries)] if server.binaries else []
    command = [sys.executable, str(SCRIPT), "--tables", "20", "--repeat", "1", "--json", str(result), *binaries]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(result.read_text())
    assert found["name"] == "provision"
    assert [case["case"] for case in found["cases"]] == ["apply, 20 tables", "no-op plan, 20 tables"]
    for case in found["cases"]:
        assert min(case["ours"], case["theirs"], case["ours_memory"], case["theirs_memory"]) > 0
        assert 0 < case["start"] < case["ours"] * 2
        assert abs(case["ratio"] - case["ours"] / case["theirs"]) < 0.01 * case["ratio"]
        assert abs(case["ratio_started"] - (case["ours"] - case["start"]) / case["theirs"]) < 0.01
    plan, apply = found["parts"]["20"]["plan"], found["parts"]["20"]["apply"]
    assert {"imports", "spec", "catalog", "compare", "judge"} < set(plan)
    assert set(apply) - set(plan) == {"transactions"}
