"""A migration while people work: nobody gets an error, a foreign row, or an empty table."""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import psycopg

from rlsgen.demo.shop import APPLICATION, CONVERSATION
from rlsgen.provision.keys import create_key
from rlsgen.runtime.token import SigningKey, mint
from rlsgen.spec.model import Spec
from tests.migrations.project import Project
from tests.migrations.test_revisions import BY_ORGANISATION, a_step
from tests.support.clusters import wait_until
from tests.support.postgres import Database

TABLES = int(os.environ.get("RLSGEN_TRAFFIC_TABLES", "30"))
NAMES = tuple(f"t{number}" for number in range(TABLES))
ROWS = 6  # of each of two organisations


@dataclass(slots=True)
class Traffic:
    """What workers saw: seconds per statement, by the moment at which it began, and everything that is wrong."""

    database: Database
    stop: threading.Event = field(default_factory=threading.Event)
    times: list[tuple[float, float]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def application(self, seed: int) -> None:
        random = Random(seed)
        with psycopg.connect(self.database.dsn(APPLICATION), autocommit=True) as connection:
            while not self.stop.is_set():
                table, row = random.choice(NAMES), random.randrange(2 * ROWS)
                self._timed(connection, f"UPDATE {table} SET id = id WHERE id = {row} RETURNING id", 1)
                self._timed(connection, f"SELECT id FROM {table}", 2 * ROWS)

    def conversation(self, seed: int, spec: Spec, key: SigningKey) -> None:
        random = Random(seed)
        with psycopg.connect(self.database.dsn(CONVERSATION), autocommit=True) as connection:
            while not self.stop.is_set():
                organisation = random.choice((1, 2))
                token = mint(key, spec.context, {"organisationId": organisation})
                with connection.transaction():
                    connection.execute("SELECT rlsgen.set_context(%s)", [token])
                    rows = self._timed(connection, f"SELECT organisation_id FROM {random.choice(NAMES)}", ROWS)
                    if set(rows) - {(organisation,)}:
                        self.wrong.append(f"rows of others: {rows}")

    def _timed(self, connection: psycopg.Connection, statement: str, expected: int) -> list[tuple[object, ...]]:
        start = time.perf_counter()
        try:
            rows = connection.execute(statement.encode()).fetchall()
        except psycopg.Error as error:
            self.wrong.append(f"{statement}: {error}")
            raise
        self.times.append((start, time.perf_counter() - start))
        if len(rows) != expected:
            self.wrong.append(f"{statement}: {len(rows)} rows")
        return rows

    @contextmanager
    def flowing(self, spec: Spec, key: SigningKey) -> Iterator[None]:
        with ThreadPoolExecutor(4) as pool:
            working = [pool.submit(self.application, seed) for seed in (1, 2)]
            working += [pool.submit(self.conversation, seed, spec, key) for seed in (3, 4)]
            try:
                yield
            finally:
                self.stop.set()
            for each in working:
                each.result()

    @property
    def longest(self) -> float:
        return max(took for _, took in self.times)

    def p99(self, start: float, end: float) -> float:
        return statistics.quantiles([took for begun, took in self.times if start <= begun < end], n=100)[98]


def test_nobody_notices(database: Database, tmp_path: Path) -> None:
    before = a_step(1, *NAMES)
    project = Project.new(tmp_path / "alembic", database, before)
    project.write(before)
    project.upgrade()
    connection = database.connect()
    for name in NAMES:
        rows = f"SELECT n, 1 + n % 2 FROM generate_series(0, {2 * ROWS - 1}) AS n"
        connection.execute(f"INSERT INTO {name} {rows}; GRANT SELECT, UPDATE ON {name} TO {APPLICATION}".encode())
    after = a_step(2, *NAMES, default_filter=f"{BY_ORGANISATION} AND id >= 0")
    project.at(after)
    project.write(after)
    key = create_key(connection)
    traffic = Traffic(database)
    with traffic.flowing(before.spec, key):
        start = time.perf_counter()
        wait_until(lambda: len(traffic.times) > 400, "everybody is at work")
        migrating = time.perf_counter()
        project.upgrade()
        end = time.perf_counter()
    assert not traffic.wrong
    quiet, busy = traffic.p99(start, migrating), traffic.p99(migrating - traffic.longest, end)
    print(
        f"{TABLES} tables: {end - migrating:.2f} s, p99 before {1000 * quiet:.1f} ms, during {1000 * busy:.1f} ms,"
        f" longest {1000 * traffic.longest:.1f} ms, {len(traffic.times)} statements"
    )
    changed = "SELECT count(DISTINCT polrelid) FROM pg_policy WHERE pg_get_expr(polqual, polrelid) LIKE '%>=%'"
    assert connection.execute(changed.encode()).fetchone() == (TABLES,)
