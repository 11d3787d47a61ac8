"""Traffic on a database of many tables while something changes it, and everybody who must not notice.

Three kinds of clients run at once: pgbench as the application role, conversations through a ConversationPool, and
watchers, who ask raw as the conversation role, with a context and without. pgbench's statements fail (a division by
zero) if a table shows it fewer or more rows than there are; conversations and watchers compare what they get.
The change under load is any function: an apply, a migration.
"""

from __future__ import annotations

import math
import os
import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import errors

from rlsgen import ConversationPool
from rlsgen.errors import RlsgenError
from rlsgen.identifiers import Sql, fill, identifier, join, literal
from rlsgen.runtime.token import SigningKey, mint
from rlsgen.spec.load import parse_spec
from rlsgen.spec.model import Spec

OWNER, APPLICATION, CONVERSATION = "load_owner", "load_app", "load_conversation"
TENANTS = 3
ROWS = 12
"""Of each tenant in each table; half of them are archived."""
CLIENTS, CONVERSATIONS, WATCHERS = 2, 1, 1
FIRST = "organisation_id = userContext.organisationId"
CHANGED = "organisation_id = userContext.organisationId AND NOT archived"
_LOOK = "SELECT organisation_id, count(*)::integer FROM {} GROUP BY 1"

# The application reads a whole table, reads one through a path, and writes two in one transaction.
_SCRIPT = """\\set t random(0, {last})
\\set u random(0, {last})
\\set row 1 + :client_id
SELECT 1 / (count(*) = {rows})::integer FROM item_:t;
SELECT 1 / (count(*) = {rows})::integer FROM line_:t;
BEGIN;
WITH changed AS (UPDATE item_:t SET amount = amount + 1 WHERE id = :row RETURNING 1) SELECT 1 / count(*) FROM changed;
WITH changed AS (UPDATE item_:u SET amount = amount - 1 WHERE id = :row RETURNING 1) SELECT 1 / count(*) FROM changed;
END;
"""


@dataclass(frozen=True, slots=True)
class Site:
    """A database under load: half of its tables have the tenant's column, half follow one of those by a path."""

    tables: int
    programs: Path  # PostgreSQL's: pgbench
    dsn: Callable[[str], str]  # of a role

    @property
    def pairs(self) -> int:
        """Tables of each of the two kinds."""
        return self.tables // 2

    def spec(self, filter: str = FIRST) -> Spec:
        """The spec, with this filter for every table that has the tenant's column."""
        return parse_spec(self.spec_text(filter), "policies.yaml")

    def spec_text(self, filter: str = FIRST) -> str:
        """The `policies.yaml`."""
        items = "".join(
            f"  item_{n}: {{}}\n  line_{n}: {{through: item_id -> item_{n}(id)}}\n" for n in range(self.pairs)
        )
        return (
            "version: 1\ncontext: {organisationId: integer}\n"
            f"roles: {{conversation: {CONVERSATION}, unrestricted: [{OWNER}, {APPLICATION}]}}\n"
            f"schemas: [public]\ndefault_filter: {filter}\ntables:\n{items}"
        )

    def create(self) -> None:
        """Make the tables and their rows, as the owner, in an empty database."""
        with psycopg.connect(self.dsn(OWNER), autocommit=True) as connection:
            for number in range(self.pairs):
                connection.execute(join(";\n", list(_statements(number))).encode())


def create_roles(administrator: psycopg.Connection[Any]) -> None:
    """The roles, where they do not exist. The application is an ordinary role: it could lose rows to row security."""
    there = {name for (name,) in administrator.execute("SELECT rolname FROM pg_roles").fetchall()}
    for role in {OWNER, APPLICATION, CONVERSATION} - there:
        administrator.execute(fill("CREATE ROLE {} LOGIN", identifier(role)).encode())


def _statements(number: int) -> Iterator[Sql]:
    item, line, application = (identifier(name) for name in (f"item_{number}", f"line_{number}", APPLICATION))
    rows, tenants = literal(TENANTS * ROWS), literal(TENANTS)
    yield fill(
        "CREATE TABLE {} (id integer PRIMARY KEY, organisation_id integer NOT NULL, amount integer NOT NULL DEFAULT 0,"
        " archived boolean NOT NULL)",
        item,
    )
    yield fill(
        "INSERT INTO {} SELECT g, 1 + g % {}, 0, g > {} / 2 FROM generate_series(1, {}) AS g", item, tenants, rows, rows
    )
    yield fill("CREATE INDEX ON {} (organisation_id)", item)
    yield fill(
        "CREATE TABLE {} (id integer PRIMARY KEY, item_id integer NOT NULL REFERENCES {}, organisation_id integer)",
        line,
        item,
    )
    yield fill("INSERT INTO {} SELECT id, id, organisation_id FROM {}", line, item)
    yield fill("CREATE INDEX ON {} (item_id)", line)
    yield fill("GRANT SELECT, INSERT, UPDATE, DELETE ON {}, {} TO {}", item, line, application)


@dataclass(slots=True)
class Observation:
    """What the clients saw. Latencies are in milliseconds: of the time before the change, and while it ran."""

    wrong: list[str] = field(default_factory=list)
    application: dict[str, list[float]] = field(default_factory=lambda: {"before": [], "during": []})
    conversations: dict[str, list[float]] = field(default_factory=lambda: {"before": [], "during": []})
    looks: int = 0  # of watchers while it ran
    refused: int = 0  # of them
    seconds: float = 0.0  # that the change took

    def p99(self, kind: str, phase: str) -> float:
        """The 99th percentile."""
        found = sorted(getattr(self, kind)[phase])
        return found[math.ceil(len(found) * 0.99) - 1] if found else math.nan


@dataclass(slots=True)
class _Load:
    """The clients of one run, and when the change began and ended, by the system's clock."""

    site: Site
    key: Callable[[], SigningKey | None]
    accepted: frozenset[int]  # how many rows of its own a conversation may see in a table
    seen: Observation = field(default_factory=Observation)
    began: float = math.inf
    ended: float = math.inf
    stop: threading.Event = field(default_factory=threading.Event)

    def phase(self, begin: float, end: float) -> str:
        """Where a statement belongs: to the change if any part of it ran then."""
        if end < self.began:
            return "before"
        return "during" if begin <= self.ended else "after"

    def wrong(self, message: str) -> None:
        if len(self.seen.wrong) < 50:
            self.seen.wrong.append(message)

    def table(self, dice: random.Random) -> str:
        return f"{dice.choice(('item', 'line'))}_{dice.randrange(self.site.pairs)}"

    def judge(self, who: str, table: str, tenant: int | None, rows: Mapping[int, int]) -> None:
        foreign = rows.keys() - {tenant}
        if foreign:
            self.wrong(f"{who} sees rows of {sorted(foreign)} in {table}")
        elif rows.get(tenant or 0, 0) not in self.accepted:
            self.wrong(f"{who} sees {dict(rows)} in {table}")

    # Conversations

    def converse(self, pool: ConversationPool, number: int) -> None:
        dice = random.Random(number)
        while not self.stop.is_set():
            tenant, table = dice.randint(1, TENANTS), self.table(dice)
            begin = time.time()
            try:
                rows = pool.conversation({"organisationId": tenant}).query(_LOOK.format(table)).rows
            except RlsgenError as error:
                self.wrong(f"a conversation fails on {table}: {type(error).__name__}: {error.message}")
                continue
            end = time.time()
            self.judge("a conversation", table, tenant, dict(rows))
            self.seen.conversations.setdefault(self.phase(begin, end), []).append((end - begin) * 1000)

    # Watchers

    def watch(self, number: int) -> None:
        dice = random.Random(-number)
        with psycopg.connect(self.site.dsn(CONVERSATION), autocommit=True, prepare_threshold=None) as connection:
            while not self.stop.is_set():
                key = self.key()
                tenant = dice.choice((None, 1, 2)) if key is not None else None
                self._look(connection, self.table(dice), tenant, key)
                self.seen.looks += time.time() >= self.began

    def _look(
        self, connection: psycopg.Connection[Any], table: str, tenant: int | None, key: SigningKey | None
    ) -> None:
        try:
            with connection.transaction(force_rollback=True):
                if tenant is not None and key is not None:
                    token = mint(key, _CONTEXT, {"organisationId": tenant})
                    connection.execute("SELECT rlsgen.set_context(%s)", [token])
                rows = connection.execute(_LOOK.format(table).encode()).fetchall()
        except errors.InsufficientPrivilege:  # no right yet, or no context
            self.seen.refused += 1
            return
        except psycopg.Error as error:
            self.wrong(f"a watcher fails on {table}: {error}")
            return
        who = "somebody without a context" if tenant is None else "a raw session"
        self.judge(who, table, tenant, dict(rows))
        if tenant is None:
            self.wrong(f"somebody without a context may ask {table}")


_CONTEXT = parse_spec(
    f"version: 1\ncontext: {{organisationId: integer}}\nroles: {{conversation: {CONVERSATION}, unrestricted: []}}\n"
    "tables: {t: organisation_id = userContext.organisationId}\n",
    "context",
).context


def under_load(
    site: Site,
    change: Callable[[], object],
    *,
    folder: Path,
    seconds: float,
    key: Callable[[], SigningKey | None] = lambda: None,
    spec: Spec | None = None,
    accepted: frozenset[int] = frozenset({ROWS}),
) -> Observation:
    """Let traffic run for `seconds`, then change the database under it.

    Args:
        site: the database, with its rows.
        change: what is done to it; whatever it raises is raised here, when everybody has stopped.
        folder: for pgbench's script and logs.
        seconds: of traffic before the change, and at most a second after it.
        key: signs contexts of watchers, as soon as there is one.
        spec: that the pool of conversations was opened with; None: there are no conversations yet.
        accepted: how many rows of its own a conversation may see in a table.
    """
    load = _Load(site, key, accepted)
    failure: list[BaseException] = []
    with ExitStack() as stack:
        threads = [threading.Thread(target=load.watch, args=(number,)) for number in range(WATCHERS)]
        signing_key = key()
        if spec is not None and signing_key is not None:
            # A process that goes on with its spec until it is deployed anew: it does not look whether that still fits.
            pool = stack.enter_context(
                ConversationPool(
                    site.dsn(CONVERSATION), spec, signing_key, known_holes="warn", self_check_seconds=3600,
                    max_size=CONVERSATIONS,
                )
            )  # fmt: skip
            threads += [threading.Thread(target=load.converse, args=(pool, n)) for n in range(CONVERSATIONS)]
        with _pgbench(site, folder, load):
            for thread in threads:
                thread.start()
            try:
                time.sleep(seconds)
                load.began = time.time()
                change()
            except BaseException as error:
                failure.append(error)
                raise
            finally:
                load.ended = time.time()
                time.sleep(0 if failure else min(seconds, 1.0))
                load.stop.set()
                for thread in threads:
                    thread.join(60)
    load.seen.seconds = load.ended - load.began
    return load.seen


@contextmanager
def _pgbench(site: Site, folder: Path, load: _Load) -> Iterator[None]:
    """pgbench as the application, until this ends; its complaints and latencies go into the observation."""
    script = folder / "application.sql"
    script.write_text(_SCRIPT.format(last=site.pairs - 1, rows=TENANTS * ROWS))
    prefix = folder / f"log_{time.monotonic_ns()}"
    command = [
        str(site.programs / "pgbench"), "--no-vacuum", "--protocol=simple", f"--client={CLIENTS}", "--time=3600",
        "--log", f"--log-prefix={prefix}", f"--file={script}", site.dsn(APPLICATION),
    ]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    with (folder / "pgbench.out").open("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=folder, env=environment)
        try:
            yield
        finally:
            said, ended = Path(output.name).read_text(), process.poll()
            # Its log is written when it ends, which it does by itself when its connections are gone.
            with psycopg.connect(site.dsn(APPLICATION), autocommit=True) as own:
                own.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE usename = current_user AND datname = current_database() AND pid <> pg_backend_pid()"
                )
            process.wait(30)
    if ended is not None:
        load.wrong(f"the application ended by itself: {said.strip()[-1000:]}")
    for line in said.splitlines():
        if "ERROR" in line or "aborted" in line:
            load.wrong(f"the application: {line}")
    for file in folder.glob(f"{prefix.name}*"):
        for line in file.read_text().splitlines():
            parts = line.split()
            if len(parts) >= 6:  # the last line may be cut
                end, took = int(parts[4]) + int(parts[5]) / 1e6, int(parts[2]) / 1e6
                load.seen.application.setdefault(load.phase(end - took, end), []).append(took * 1000)
