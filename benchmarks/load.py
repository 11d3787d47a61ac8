"""What an application and its conversations notice of `rlsgen apply` while it runs: the 99th percentile of their times.

    python benchmarks/load.py [--tables 200] [--seconds 10] [--repeat 5] [--postgres-bin DIR] [--json FILE]

Each repetition takes a fresh database and lets traffic run on it (benchmarks/traffic.py says whose): before, and during
`rlsgen apply` as a process of its own; first on a database that never saw rlsgen, then with another filter for all
tables, then, to show what the machine itself does to such numbers, during as long a time in which nothing happens, and
then `alembic upgrade head` of a revision that changes all filters back, which is one transaction.
`ours` is the p99 in milliseconds while it ran, `theirs` that of the time before. `ratio` is the middle one of the
repetitions', and `ratios` has all. It ends with an error if anybody saw a row too many or too few, or an error.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import alembic
import psycopg
from traffic import CHANGED, FIRST, OWNER, ROWS, Observation, Site, create_roles, under_load

from rlsgen.demo.server import Server, temporary_server
from rlsgen.identifiers import fill, identifier
from rlsgen.migrations.revision import Wish, configuration, make_revision
from rlsgen.provision.keys import create_key
from rlsgen.provision.plan import Hazard

RLSGEN = (sys.executable, "-c", "from rlsgen.cli import main; main()")  # what the console script does
ALEMBIC = (sys.executable, "-m", "alembic", "upgrade", "head")
TEMPLATE, TARGET = "load_template", "load"
ENVIRONMENT = """
import psycopg, sqlalchemy
from alembic import context
engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect({dsn!r}))
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
"""
Runs = dict[str, list[Observation]]


def _run(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")


class Bench:
    """A server with a template of so many tables."""

    def __init__(self, server: Server, folder: Path, tables: int, seconds: float) -> None:
        self._folder = folder
        self._seconds = seconds
        self._admin = psycopg.connect(server.dsn(), autocommit=True)
        create_roles(self._admin)
        self._create(TEMPLATE, "template0")
        Site(tables, server.binaries, lambda role: server.dsn(TEMPLATE, role)).create()
        self.site = Site(tables, server.binaries, lambda role: server.dsn(TARGET, role))

    def repetition(self, runs: Runs) -> None:
        """A fresh database: first apply, other filters, nothing."""
        site = self.site
        self._admin.execute(fill("DROP DATABASE IF EXISTS {} WITH (FORCE)", identifier(TARGET)).encode())
        self._create(TARGET, TEMPLATE)
        with psycopg.connect(site.dsn(OWNER), autocommit=True) as connection:
            connection.execute(b"VACUUM ANALYZE")
        first = under_load(site, self._apply(site.spec_text()), folder=self._folder, seconds=self._seconds)
        with psycopg.connect(site.dsn(OWNER), autocommit=True) as connection:
            key = create_key(connection)
        accepted = frozenset({ROWS, ROWS // 2})
        changes: list[tuple[str, str, Callable[[], object]]] = [
            ("other filters", FIRST, self._apply(site.spec_text(CHANGED))),
            ("nothing", CHANGED, lambda: time.sleep(first.seconds)),
            ("alembic upgrade", CHANGED, lambda: _run(ALEMBIC, self._project)),
        ]
        runs.setdefault("first apply", []).append(first)
        for name, filter, change in changes:
            if name == "alembic upgrade":
                self._write_revision()
            seen = under_load(
                site, change, folder=self._folder, seconds=self._seconds, key=lambda: key, spec=site.spec(filter),
                accepted=accepted,
            )  # fmt: skip
            runs.setdefault(name, []).append(seen)

    def _apply(self, spec: str) -> Callable[[], None]:
        file = self._folder / "policies.yaml"

        def change() -> None:
            file.write_text(spec)
            allow = [f"--allow={hazard}" for hazard in Hazard]
            _run([*RLSGEN, "apply", "--spec", str(file), "--dsn", self.site.dsn(OWNER), *allow], self._folder)

        return change

    def _write_revision(self) -> None:
        """A project on Alembic, with one revision for the database as it stands."""
        shutil.rmtree(self._project, ignore_errors=True)
        (self._project / "migrations" / "versions").mkdir(parents=True)
        template = Path(alembic.__file__).with_name("templates") / "generic" / "script.py.mako"
        shutil.copy(template, self._project / "migrations")
        (self._project / "migrations" / "env.py").write_text(ENVIRONMENT.format(dsn=self.site.dsn(OWNER)))
        ini = self._project / "alembic.ini"
        ini.write_text("[alembic]\nscript_location = %(here)s/migrations\npath_separator = os\n")
        spec = self._project / "policies.yaml"
        spec.write_text(f"{self.site.spec_text()}  alembic_version: hidden\n")
        make_revision(configuration(ini), Wish("the first filters again", spec=spec))

    @property
    def _project(self) -> Path:
        return self._folder / "project"

    def _create(self, name: str, template: str) -> None:
        text = "CREATE DATABASE {} OWNER {} TEMPLATE {} STRATEGY file_copy"
        self._admin.execute(fill(text, identifier(name), identifier(OWNER), identifier(template)).encode())


def cases(runs: Runs, tables: int) -> list[dict[str, object]]:
    """What the JSON file says of them."""
    found: list[dict[str, object]] = []
    for name, seen in runs.items():
        for kind in ("application", "conversations"):
            phases = [getattr(each, kind) for each in seen]
            if all(each["before"] and each["during"] for each in phases):
                pairs = [(each.p99(kind, "during"), each.p99(kind, "before")) for each in seen]
                ratios = [during / before for during, before in pairs]
                found.append({
                    "case": f"{name}, {tables} tables, {kind}",
                    "ours": round(statistics.median(during for during, _ in pairs), 2),
                    "theirs": round(statistics.median(before for _, before in pairs), 2),
                    "ratio": round(statistics.median(ratios), 2),
                    "ratios": [round(each, 2) for each in ratios],
                    "longest": round(max(max(getattr(each, kind)["during"]) for each in seen), 1),
                    "seconds": round(statistics.median(each.seconds for each in seen), 2),
                    "statements": sum(len(getattr(each, kind)["during"]) for each in seen),
                    "looks": sum(each.looks for each in seen),
                })  # fmt: skip
    return found


def show(case: dict[str, object]) -> None:
    """One line for people."""
    print(
        f"{case['case']:45} p99 {case['ours']:>8} ms, before {case['theirs']:>7} ms, ratio {case['ratio']:>6}"
        f" of {case['ratios']}; longest {case['longest']} ms"
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=200, help="half of them have a path to the other half")
    parser.add_argument("--seconds", type=float, default=10.0, help="of traffic before each change")
    parser.add_argument("--repeat", type=int, default=5, help="databases")
    parser.add_argument("--postgres-bin", type=Path, help="a folder with initdb, pg_ctl, pgbench")
    parser.add_argument("--json", type=Path, help="write the result here")
    options = parser.parse_args()
    runs: Runs = {}
    with tempfile.TemporaryDirectory(prefix="rlsgen-load-") as folder, temporary_server(options.postgres_bin) as server:
        bench = Bench(server, Path(folder), options.tables, options.seconds)
        for _ in range(options.repeat):
            bench.repetition(runs)
    found = cases(runs, options.tables)
    for case in found:
        show(case)
    if options.json:
        document = {"name": "load", "python": platform.python_version(), "repeat": options.repeat, "cases": found}
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    wrong = [f"{name}: {line}" for name, seen in runs.items() for each in seen for line in each.wrong]
    if wrong:
        sys.exit("\n".join(["somebody noticed:", *wrong]))


if __name__ == "__main__":
    main()
