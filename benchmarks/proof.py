"""How long lint takes beside another linter of row security, on provisioned databases of many tables.

    python benchmarks/proof.py [--tables 100,1000] [--repeat 5] [--pgrls FILE] [--postgres-bin DIR] [--json FILE]

`rlsgen lint` beside `pgrls lint` (https://pypi.org/project/pgrls/), on the same database and in turns (A B A B), each
a whole process, the middle one of the times. The two look for other things: pgrls knows no spec, and judges every
policy by itself; rlsgen compares everything with its spec. `ratio` compares whole processes, `ratio_started` leaves
the start of Python out on both sides. It starts a server of its own. docs/performance.md explains the numbers.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from provision import RLSGEN, SETTINGS, START, Bench, machine, prepare_environment, run, say
from result import add_options, write

from rlsgen.demo.server import Server, temporary_server

LIMIT = 1.0


def find_pgrls(given: Path | None) -> Path:
    """The program: given, beside this Python, or on the PATH.

    Raises:
        SystemExit: it is not there.
    """
    beside = Path(sys.executable).with_name("pgrls")
    found = given or (beside if beside.exists() else None) or shutil.which("pgrls")
    if found is None:
        raise SystemExit("there is no pgrls to compare with: pip install pgrls, or give --pgrls FILE")
    return Path(found)


def lint_case(bench: Bench, pgrls: Path, tables: int, repeat: int) -> dict[str, object]:
    """Both linters on the provisioned database."""
    ours = (*RLSGEN, "lint", "--severity", "error", "--format", "json", *bench.options)
    theirs = (
        pgrls,
        "lint",
        "--database-url",
        bench.url,
        "--schemas",
        "public",
        "--format",
        "json",
        "--fail-on",
        "error",
    )
    run(*START)  # compiles modules
    seconds: dict[str, list[float]] = {"ours": [], "theirs": [], "start": [], "theirs_start": []}
    found = ""
    for _ in range(repeat):
        # Servers of known versions have known holes, so there are findings: 3; pgrls finds no errors, or some: 0 or 1.
        measured = run(*ours, status=(0, 3))
        found = measured.output.decode()
        seconds["ours"].append(measured.seconds)
        seconds["theirs"].append(run(*theirs, status=(0, 1)).seconds)
        seconds["start"].append(run(*START).seconds)
        seconds["theirs_start"].append(run(pgrls, "--version").seconds)
    middle = {name: statistics.median(each) for name, each in seconds.items()}
    rules = sorted({each["rule"] for each in json.loads(found)["findings"]})
    if set(rules) - {"server-version"}:
        raise SystemExit(f"the provisioned database has findings: {', '.join(rules)}")
    return {
        "case": f"lint, {tables} tables",
        **{name: round(value, 4) for name, value in middle.items()},
        "ratio": round(middle["ours"] / middle["theirs"], 3),
        "ratio_started": round(
            (middle["ours"] - middle["start"]) / (middle["theirs"] - middle["theirs_start"]), 3
        ),
        "limit": LIMIT,
        "tables": tables,
    }  # fmt: skip


def measure(server: Server, tables: list[int], repeat: int, pgrls: Path) -> dict[str, object]:
    """All cases, on databases of these sizes."""
    cases: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(prefix="rlsgen-bench-") as folder:
        prepare_environment(Path(folder) / "compiled")
        bench = Bench(server, Path(folder) / "policies.yaml")
        for number in tables:
            say(f"{number} tables: building and provisioning")
            bench.build(number)
            bench.fresh()
            run(*RLSGEN, "apply", "--indexes", "--allow", "PUBLIC_REVOKE", *bench.options)
            bench.vacuum()
            cases.append(lint_case(bench, pgrls, number, repeat))
            say(
                "{case}: {ours} s against {theirs} s, ratio {ratio}, without the start {ratio_started}".format(
                    **cases[-1]
                )
            )
    return {"name": "proof", "cases": cases, "machine": machine(server)}


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", default="100,1000", help="sizes, separated by commas (default: %(default)s)")
    parser.add_argument("--repeat", type=int, default=5, help="how often each side runs (default: %(default)s)")
    parser.add_argument("--pgrls", type=Path, help="the program to compare with")
    add_options(parser)
    options = parser.parse_args()
    sizes = [int(size) for size in options.tables.split(",")]
    with temporary_server(options.postgres_bin, SETTINGS) as server:
        result = measure(server, sizes, options.repeat, find_pgrls(options.pgrls))
    write(result, options.json)


if __name__ == "__main__":
    main()
