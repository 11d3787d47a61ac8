"""A provisioned shop on which texts run twice, raw and through the guard, in one transaction of the conversation role."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import pq

from rlsgen.runtime.guard import Guard
from rlsgen.runtime.schema import Schema
from rlsgen.runtime.statement import Statement
from rlsgen.runtime.token import SigningKey, mint
from rlsgen.spec.model import Spec
from tests.support.postgres import Database

ALDER: Mapping[str, object] = {"organisationId": 1, "teamId": 1, "userId": "user_1"}
BIRCH: Mapping[str, object] = {"organisationId": 2, "teamId": 4, "userId": "user_200"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said: columns as (name, type's oid), rows as text, or an SQLSTATE and a message."""

    columns: tuple[tuple[str, int], ...] = ()
    rows: tuple[tuple[str | None, ...], ...] = ()
    state: str = ""
    message: str = ""

    @property
    def multiset(self) -> list[tuple[str, ...]]:
        return sorted(tuple("∅" if cell is None else cell for cell in row) for row in self.rows)


@dataclass(slots=True, repr=False)
class Shop:
    """A database, its spec and schema, and guards for it."""

    database: Database
    spec: Spec
    schema: Schema
    key: SigningKey
    guard: Guard
    bare: Guard  # without twins

    @contextmanager
    def talking(self, context: Mapping[str, object] = ALDER) -> Iterator[Talk]:
        """A transaction of the conversation role with a context, rolled back at the end."""
        with psycopg.connect(self.database.dsn(self.spec.conversation), autocommit=True) as connection:
            connection.execute("BEGIN")
            connection.execute("SELECT rlsgen.set_context(%s)", [mint(self.key, self.spec.context, context)])
            connection.execute("SET LOCAL TimeZone = 'UTC'; SET LOCAL search_path = pg_catalog, public, pg_temp")
            connection.execute("SET LOCAL statement_timeout = '60s'")
            yield Talk(connection, context)
            connection.execute("ROLLBACK")


@dataclass(slots=True)
class Talk:
    """Runs statements; an error takes nothing with it."""

    connection: psycopg.Connection[Any]
    context: Mapping[str, object]

    def raw(self, text: str, values: Sequence[str | None] = (), oids: Sequence[int] = ()) -> Answer:
        """One statement as written, by the extended protocol."""
        self.connection.execute("SAVEPOINT here")
        encoded = [None if value is None else value.encode() for value in values]
        result = self.connection.pgconn.exec_params(text.encode(), encoded, oids or None)
        if result.status not in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
            self.connection.execute("ROLLBACK TO here")
            state = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
            return Answer(state=state, message=result.error_message.decode())
        self.connection.execute("RELEASE here")
        columns = tuple(
            ((result.fname(number) or b"").decode(), result.ftype(number)) for number in range(result.nfields)
        )
        rows = tuple(
            tuple(
                None if (cell := result.get_value(row, column)) is None else cell.decode()
                for column in range(result.nfields)
            )
            for row in range(result.ntuples)
        )
        return Answer(columns, rows)

    def checked(self, statement: Statement, values: Sequence[str | None] = (), oids: Sequence[int] = ()) -> Answer:
        """A statement as the guard lets it through, the context's values bound behind the caller's."""
        bound = [self._written(self.context.get(twin.field)) for twin in statement.twins]
        types = [twin.type_oid for twin in statement.twins]
        return self.raw(statement.sql, [*values, *bound], [*(oids or [0] * len(values)), *types])

    @staticmethod
    def _written(value: object) -> str | None:
        return None if value is None else str(value)
