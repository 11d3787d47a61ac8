"""How long provisioning takes beside the tools that one would compare it with, on databases of many tables.

    python benchmarks/provision.py [--tables 100,1000,5000] [--repeat 5] [--postgres-bin DIR] [--json FILE]

Two comparisons, each side a whole process, in turns (A B A B), the middle one of the times:

- `rlsgen apply` beside the same transactions (`rlsgen plan --format sql`) piped through psql, on equal databases;
- `rlsgen plan` that finds nothing to do beside `pg_dump --schema-only` of the same database.

`ratio` compares whole processes. Every one of ours first starts Python and imports libraries, which takes the same time
whatever the database holds; `ratio_started` leaves that out, as for a migration, which runs in a process that is there
already. Then the parts of both commands, by themselves. It starts a server of its own.
docs/performance.md explains the numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import LiteralString
from urllib.parse import quote

import psycopg
from many_tables import create_tables, spec_text
from psycopg.conninfo import conninfo_to_dict
from result import add_options, write

from rlsgen.demo.server import DISPOSABLE, Server, temporary_server
from rlsgen.demo.shop import OWNER, create_roles
from rlsgen.identifiers import Sql, fill, identifier

APPLY_LIMIT, PLAN_LIMIT = 2.0, 1.5
RLSGEN = (sys.executable, "-c", "from rlsgen.cli import main; main()")  # what the console script does
START = (*RLSGEN, "--version")  # Python and everything that the command line imports, and nothing done
TEMPLATE, TARGET = "bench_template", "bench"
# VACUUM and ANALYZE are run by hand, so that no worker of the server takes part in one run and not in the next.
SETTINGS = {**DISPOSABLE, "autovacuum": "off"}


@dataclass(frozen=True, slots=True)
class Run:
    """One process, from its start to its end."""

    seconds: float
    memory: int  # bytes, at its highest
    output: bytes


@dataclass(slots=True)
class Case:
    """Two sides of a comparison, and how they did so far."""

    name: str
    tables: int
    limit: float
    ours: list[Run] = field(default_factory=list)
    theirs: list[Run] = field(default_factory=list)
    start: list[Run] = field(default_factory=list)

    def document(self) -> dict[str, object]:
        """What the JSON file says of it: seconds (`start` is part of `ours`), milliseconds per table, megabytes."""
        sides = (self.ours, self.theirs, self.start)
        ours, theirs, start = (statistics.median(run.seconds for run in side) for side in sides)
        return {
            "case": f"{self.name}, {self.tables} tables",
            "ours": round(ours, 4),
            "theirs": round(theirs, 4),
            "ratio": round(ours / theirs, 3),
            "ratio_started": round((ours - start) / theirs, 3),
            "limit": self.limit,
            "tables": self.tables,
            "start": round(start, 4),
            "ours_per_table": round(ours / self.tables * 1000, 3),
            "theirs_per_table": round(theirs / self.tables * 1000, 3),
            "ours_memory": max(run.memory for run in self.ours) // 1_000_000,
            "theirs_memory": max(run.memory for run in self.theirs) // 1_000_000,
        }


def run(*command: str | Path, status: int | tuple[int, ...] = 0) -> Run:
    """Run a process to its end.

    Raises:
        RuntimeError: it ended with another status.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors)
        _, waited, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(waited)
        for file in (output, errors):
            file.seek(0)
        if process.returncode not in (status if isinstance(status, tuple) else (status,)):
            said = errors.read().decode(errors="replace")[-2000:]
            raise RuntimeError(f"{' '.join(map(str, command))} ended with {process.returncode}:\n{said}")
        unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2) there and in Linux
        return Run(seconds, usage.ru_maxrss * unit, output.read())


def prepare_environment(folder: Path) -> None:
    """No PG* variables, and compiled modules, which an installed package has and a checkout may lack, in a folder."""
    for name in [name for name in os.environ if name.startswith("PG") or name == "PYTHONDONTWRITEBYTECODE"]:
        del os.environ[name]
    os.environ |= {"LC_ALL": "C.UTF-8", "PYTHONPYCACHEPREFIX": str(folder)}


class Bench:
    """A server with a database of so many tables, and the spec for it in a file."""

    def __init__(self, server: Server, spec: Path) -> None:
        self._server = server
        self._spec = spec
        self._admin = psycopg.connect(server.dsn(), autocommit=True)
        create_roles(self._admin)

    @property
    def dsn(self) -> str:
        """The database on which both sides work, as its owner."""
        return self._server.dsn(TARGET, OWNER)

    def build(self, tables: int) -> None:
        """Make the template of all databases of this size."""
        self._spec.write_text(spec_text(tables))
        self._drop(TEMPLATE)
        self._execute("CREATE DATABASE {} OWNER {}", identifier(TEMPLATE), identifier(OWNER))
        with psycopg.connect(self._server.dsn(TEMPLATE, OWNER), autocommit=True) as connection:
            create_tables(connection, tables)
        self._vacuum(TEMPLATE)

    def fresh(self) -> None:
        """The database as it was before rlsgen, under the same name each time: the plan's SQL holds for all of them."""
        self._drop(TARGET)
        create = "CREATE DATABASE {} OWNER {} TEMPLATE {} STRATEGY file_copy"
        self._execute(create, identifier(TARGET), identifier(OWNER), identifier(TEMPLATE))

    def applies(self, tables: int, repeat: int) -> Case:
        """`apply` beside psql, each on a fresh database; that of psql is left, and must be as apply would have it."""
        case = Case("apply", tables, APPLY_LIMIT)
        script = self._spec.with_suffix(".sql")
        self.fresh()
        run(*START)  # compiles modules
        planned = run(*RLSGEN, "plan", "--format", "sql", *self.options, status=3)
        script.write_bytes(planned.output)
        psql = (self._server.binaries / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", script, self.dsn)
        for _ in range(repeat):
            self.fresh()
            case.ours.append(run(*RLSGEN, "apply", "--allow", "PUBLIC_REVOKE", *self.options))
            case.start.append(run(*START))
            self.fresh()
            case.theirs.append(run(*psql))
        return case

    def plans(self, tables: int, repeat: int) -> Case:
        """`plan` that finds nothing to do (its exit status says so) beside pg_dump."""
        case = Case("no-op plan", tables, PLAN_LIMIT)
        self.vacuum()
        for _ in range(repeat):
            case.ours.append(run(*RLSGEN, "plan", *self.options, status=0))
            case.start.append(run(*START))
            case.theirs.append(run(self._server.binaries / "pg_dump", "--schema-only", self.dsn))
        return case

    def parts(self, *options: str) -> dict[str, float]:
        """The parts of a plan that finds nothing to do; with --apply, those of an apply to a fresh database."""
        if options:
            self.fresh()
        measured = run(sys.executable, Path(__file__).with_name("parts.py"), *options, self._spec, self.dsn)
        seconds: dict[str, float] = json.loads(measured.output)
        return seconds

    @property
    def url(self) -> str:
        """The same as a URL, which is all that some tools read."""
        parts = conninfo_to_dict(self.dsn)
        host = quote(str(parts["host"]), safe="")
        return f"postgresql://{parts['user']}@/{parts['dbname']}?host={host}&port={parts['port']}"

    def vacuum(self) -> None:
        """What autovacuum would have done to the database on which both sides work."""
        self._vacuum(TARGET)

    @property
    def options(self) -> tuple[str, ...]:
        """What tells our command the spec and the database."""
        return ("--spec", str(self._spec), "--dsn", self.dsn)

    def _vacuum(self, database: str) -> None:
        with psycopg.connect(self._server.dsn(database), autocommit=True) as connection:
            connection.execute(b"VACUUM ANALYZE")

    def _drop(self, database: str) -> None:
        self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", identifier(database))

    def _execute(self, template: LiteralString, *parts: Sql) -> None:
        self._admin.execute(fill(template, *parts).encode())


def measure(server: Server, tables: list[int], repeat: int) -> dict[str, object]:
    """Everything, on databases of these sizes."""
    cases: list[dict[str, object]] = []
    parts: dict[str, object] = {}
    with tempfile.TemporaryDirectory(prefix="rlsgen-bench-") as folder:
        prepare_environment(Path(folder) / "compiled")
        bench = Bench(server, Path(folder) / "policies.yaml")
        for number in tables:
            say(f"{number} tables: building")
            bench.build(number)
            for case in (bench.applies(number, repeat), bench.plans(number, repeat)):
                cases.append(case.document())
                say(
                    "{case}: {ours} s against {theirs} s, ratio {ratio}, without the start {ratio_started}".format(
                        **cases[-1]
                    )
                )
            parts[str(number)] = {"plan": bench.parts(), "apply": bench.parts("--apply")}
    return {"name": "provision", "cases": cases, "parts": parts, "machine": machine(server)}


def machine(server: Server) -> dict[str, object]:
    """What measured numbers depend on."""
    version = run(server.binaries / "postgres", "--version").output.decode().strip()
    return {
        "postgres": version,
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
    }


def say(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", default="100,1000,5000", help="sizes, separated by commas (default: %(default)s)")
    parser.add_argument("--repeat", type=int, default=5, help="how often each side runs (default: %(default)s)")
    add_options(parser)
    options = parser.parse_args()
    sizes = [int(size) for size in options.tables.split(",")]
    with temporary_server(options.postgres_bin, SETTINGS) as server:
        result = measure(server, sizes, options.repeat)
    write(result, options.json)


if __name__ == "__main__":
    main()
