"""The parts of `rlsgen plan`, or with --apply of `rlsgen apply`, in one process: seconds as JSON.

python benchmarks/parts.py [--apply] SPEC DSN
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path


class _Stopwatch:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[part] = round(time.perf_counter() - started, 4)


def measure(spec_file: Path, dsn: str, *, apply: bool) -> dict[str, float]:
    """Run the parts one after another, as the command does."""
    part = _Stopwatch()
    with part("imports"):
        import_module("rlsgen.cli.app")
        from rlsgen.catalog.connect import open_connection  # noqa: PLC0415
        from rlsgen.catalog.read import read_catalog  # noqa: PLC0415
        from rlsgen.provision.apply import execute  # noqa: PLC0415
        from rlsgen.provision.diff import compare, search_path  # noqa: PLC0415
        from rlsgen.provision.judge import judge  # noqa: PLC0415
        from rlsgen.spec.load import load_spec  # noqa: PLC0415
    with part("spec"):
        spec = load_spec(spec_file)
    with part("connect"):
        connection = open_connection(dsn)
    with connection:
        with part("catalog"):
            catalog = read_catalog(connection, spec.conversation)
        with part("compare"):
            comparison = compare(spec, catalog)
        with part("judge"):
            judge(connection, comparison.resolved, comparison.unjudged, search_path(spec))
        if apply:
            with part("transactions"):
                execute(connection, comparison.plan)
    return part.seconds


if __name__ == "__main__":
    gc.disable()  # as the command line does
    *options, file, database = sys.argv[1:]
    print(json.dumps(measure(Path(file), database, apply="--apply" in options)))
