"""A crowd of conversations: what they ask, what hostile ones send, and the look at every row that comes back."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from operator import itemgetter
from typing import Any

from rlsgen.errors import LimitReached, QueryFailed, QueryTimeout, RlsgenError
from tests.pooled.place import ORGANISATIONS, canary


@dataclass(frozen=True, slots=True)
class Honest:
    """A question whose first column is the canary, and how many rows every organisation has."""

    sql: str
    rows: int
    shared: int = 0  # rows among them that are everybody's
    parameters: tuple[object, ...] = ()


HONEST = (
    Honest("SELECT canary, id FROM orders", 2_000),
    Honest("SELECT * FROM (SELECT canary, total, status FROM orders) AS o ORDER BY total", 2_000),
    Honest("SELECT canary, kind, occurred_on FROM events", 4_000),
    Honest("SELECT canary, kind FROM events WHERE occurred_on >= $1", 2_000, parameters=(date(2025, 12, 18),)),
    Honest("SELECT i.canary, i.quantity, o.id FROM orders AS o JOIN order_items AS i ON i.order_id = o.id", 6_000),
    Honest("SELECT o.canary, count(*) FROM orders AS o LEFT JOIN order_items AS i ON i.order_id = o.id GROUP BY 1", 1),
    Honest("SELECT canary, count(*) FROM events GROUP BY canary", 1),
    Honest("SELECT canary, month FROM revenue WHERE month < '2025-07-01'", 6),
    Honest("SELECT canary, id FROM documents", 100, shared=80),
    Honest("WITH o AS (SELECT canary, id FROM orders) SELECT a.canary, b.id FROM o AS a JOIN o AS b USING (id)", 2_000),
    Honest("SELECT canary, row_number() OVER (ORDER BY id) FROM orders LIMIT 500", 500),
    Honest("SELECT canary, id FROM notes WHERE body = 'written before'", 100),
    Honest("SELECT canary, quantity FROM order_items", 6_000),
)  # fmt: skip
_WEIGHTS = (6, 4, 6, 3, 6, 1, 1, 1, 2, 3, 2, 2, 0.3)

HOSTILE = (
    "SELECT o.canary FROM (SELECT set_config('app.organisation_id', '{other}', false)) AS s, orders AS o LIMIT 99",
    "WITH s AS MATERIALIZED (SELECT set_config('app.organisation_id', '{other}', true)) SELECT canary FROM s, orders",
    "SELECT set_config('app.organisation_id', '{other}', false), set_config('app.user_id', 'user_{other}', false)",
    "SELECT set_config('search_path', 'pg_temp', false), set_config('row_security', 'off', false),"
    " set_config('client_encoding', 'LATIN1', false), set_config('DateStyle', 'SQL, DMY', false)",
    "SET app.organisation_id = {other}",
    "SET SESSION statement_timeout = 1",
    "SET standard_conforming_strings = off",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
    "SET TRANSACTION READ WRITE",
    "SET ROLE shop_app",
    "COMMIT; BEGIN; SELECT canary FROM orders",
    "COMMIT", "ROLLBACK", "COMMIT AND CHAIN", "ROLLBACK AND CHAIN", "BEGIN", "SAVEPOINT here", "ABORT",
    "RESET ALL", "DISCARD ALL", "DISCARD PLANS", "DEALLOCATE ALL",
    "PREPARE _pg3_0 (text) AS SELECT set_config('mine.token', $1, false)",
    "DEALLOCATE _pg3_0; PREPARE _pg3_0 (text) AS SELECT set_config('mine.token', $1, false)",
    "PREPARE theirs AS SELECT canary FROM orders", "EXECUTE theirs", "EXECUTE _pg3_0('x')",
    "SELECT current_setting('mine.token', true), current_setting('app.organisation_id', true)",
    "DECLARE held CURSOR WITH HOLD FOR SELECT canary FROM orders", "FETCH ALL FROM held", "CLOSE ALL",
    "LISTEN spy", "NOTIFY spy, 'CANARY-{own}'", "UNLISTEN *",
    "CREATE TEMP TABLE orders (canary text)", "CREATE TEMP VIEW orders AS SELECT 'x'::text AS canary",
    "DO $$ BEGIN PERFORM set_config('app.organisation_id', '{other}', false); RAISE EXCEPTION '%',"
    " (SELECT string_agg(canary, ',') FROM orders); END $$",
    "DO $$ BEGIN COMMIT; END $$",
    "EXPLAIN ANALYZE SELECT * FROM orders WHERE canary = 'CANARY-{own}'",
    "SELECT pg_advisory_lock_shared(4711)", "SELECT pg_try_advisory_lock({own})",
    "COPY orders (canary) TO STDOUT", "COPY notes (canary) FROM STDIN", "COPY (SELECT 1) TO PROGRAM 'true'",
    "SELECT query_to_xml('SELECT canary FROM orders', true, true, '')",
    "SELECT canary FROM secrets", "SELECT * FROM ONLY events_new", "TABLE pg_stats",
    "SELECT canary, id FROM orders WHERE organisation_id = {other}",
    "SELECT canary FROM notes WHERE user_id = 'user_{other}' OR true",
    "SELECT CAST(canary AS integer) FROM orders WHERE 1 / (organisation_id - {other}) IS NULL",
    "INSERT INTO notes (user_id, canary, body) VALUES ('user_{other}', 'CANARY-{own}', 'planted') RETURNING canary",
    "UPDATE notes SET user_id = 'user_{other}' WHERE body = 'own'",
    "UPDATE notes SET canary = 'CANARY-{own}', body = body RETURNING canary",
    "DELETE FROM notes WHERE user_id = 'user_{other}' RETURNING canary",
    "INSERT INTO notes (user_id, canary, body) VALUES ('user_{own}', 'CANARY-{own}', 'own') RETURNING canary",
    "DELETE FROM notes WHERE body = 'own' RETURNING canary",
    "SELECT rlsgen.set_context('x')", "SELECT 1 / 0", "SELEC", "", "-- nothing", "SELECT $1", "SELECT 1; SELECT 2",
    "SELECT repeat(canary, 1000), o.id FROM orders AS o, generate_series(1, 100)",
    "SELECT canary FROM orders, generate_series(1, 1000)",
    "SELECT pg_terminate_backend(pg_backend_pid())",
    "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename = current_user AND datname = current_database()"
    " AND pid <> pg_backend_pid() LIMIT 1",
    "SELECT pg_notify('spy', 'x'), lo_creat(-1), txid_current()",
)  # fmt: skip
SLOW = "SELECT count(*) FROM generate_series(1, 1000000) AS a, generate_series(1, 1000) AS b"

_CANARY = re.compile(r"CANARY-(\d+)")


def foreign_in(own: int, values: Iterable[object]) -> set[str]:
    """Canaries of other organisations anywhere in some values."""
    return {each for value in values for each in _CANARY.findall(str(value))} - {str(own)}


@dataclass(slots=True)
class Tally:
    """What one conversation, or all of them, saw."""

    rows: int = 0
    asked: int = 0  # honest questions that were answered in full
    ends: Counter[str] = field(default_factory=Counter)
    foreign: list[str] = field(default_factory=list)  # must stay empty
    wrong: list[str] = field(default_factory=list)  # must stay empty: answers with rows missing, errors that cannot be

    def add(self, other: Tally) -> None:
        self.rows += other.rows
        self.asked += other.asked
        self.ends += other.ends
        self.foreign += other.foreign
        self.wrong += other.wrong

    def look(self, own: int, rows: Sequence[tuple[Any, ...]], honest: Honest | None) -> None:
        """Every row of an answer, or of a part of one."""
        self.rows += len(rows)
        if honest is None:
            found = {f"CANARY-{each}" for each in foreign_in(own, (row for row in rows if row[:1] != (canary(own),)))}
        else:
            found = set(map(itemgetter(0), rows)) - {canary(own)} - ({"shared"} if honest.shared else set())
        if found:
            self.foreign.append(
                f"{own} saw {sorted(map(str, found))[:3]} by {honest.sql if honest else 'hostile text'}"
            )

    def answered(self, own: int, honest: Honest, rows: int) -> None:
        """An honest question was answered without an error: then with all rows."""
        self.asked += 1
        if rows != honest.rows:
            self.wrong.append(f"{own} got {rows} rows instead of {honest.rows} by {honest.sql}")

    def failed(self, own: int, error: RlsgenError, text: str, honest: Honest | None) -> None:
        """An error, which must not tell of others either. `text` is what was sent, and may name them itself."""
        self.ends[type(error).__name__] += 1
        if honest is not None and not isinstance(error, QueryFailed | QueryTimeout | LimitReached):
            self.wrong.append(f"{own} was refused {honest.sql}: {error}")
        said = foreign_in(own, (repr(error), *map(str, vars(error).values()))) - foreign_in(own, [text])
        if said:
            self.foreign.append(f"{own} heard of {sorted(said)[:3]} by {type(error).__name__}: {error}")

    def __str__(self) -> str:
        ends = ", ".join(f"{number:,} {name}" for name, number in self.ends.most_common())
        return f"{self.rows:,} rows checked, {len(self.foreign)} foreign; {self.asked:,} full answers; {ends}"


class Script:
    """What one conversation of the crowd does next. Seeded: the same crowd every time."""

    def __init__(self, seed: int, hostile: float = 0.3) -> None:
        self._random = random.Random(seed)
        self._hostile = hostile

    def organisation(self) -> int:
        return self._random.choice(ORGANISATIONS)

    def chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def seconds(self, most: float) -> float:
        return self._random.uniform(0, most)

    def leave(self, rows: int) -> int:
        """After how many rows a stream is left; 0 for not at all."""
        return self._random.choice([0, self._random.randint(1, rows)])

    def next(self, own: int) -> tuple[str, Honest | None]:
        """A text, and what is to be expected if it is honest."""
        if self.chance(0.01):
            return SLOW, None
        if self.chance(self._hostile):
            other = self._random.choice([each for each in ORGANISATIONS if each != own])
            text = self._random.choice(HOSTILE)
            return text.replace("{own}", str(own)).replace("{other}", str(other)), None
        honest = self._random.choices(HONEST, _WEIGHTS)[0]
        return honest.sql, honest
