"""A hostile conversation: raw text on the conversation role's connection, and what to look at afterwards."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg
from psycopg import pq

from rlsgen.catalog.connect import open_connection
from rlsgen.demo.shop import CONVERSATION
from rlsgen.identifiers import Sql, fill, identifier
from rlsgen.provision.apply import Outcome, apply, make_plan
from rlsgen.provision.keys import create_key
from rlsgen.provision.plan import Hazard, Plan
from rlsgen.runtime.token import SigningKey, mint
from rlsgen.spec.load import parse_spec
from rlsgen.spec.model import Spec
from tests.support.postgres import Database

Context = Mapping[str, object]
ALDER: Context = {"organisationId": 1, "teamId": 1, "userId": "user_1"}
BIRCH: Context = {"organisationId": 2, "teamId": 4, "userId": "CANARY_user"}
EVERYTHING = tuple(Hazard)

_POLICIES = Path(__file__).resolve().parents[2] / "policies.yaml"
_EXTRA = """
  folders:
    filter: organisation_id = userContext.organisationId
    through: parent_id -> folders(id)
  vaults: {access: hidden, filter: organisation_id = userContext.organisationId}
  vault_entries: {through: vault_id -> vaults(id)}
  remarks:
    through: note_id -> notes(id)
    allow: [select, insert, update, delete]
  vehicles: {}
"""


def spec_text() -> str:
    """The sample spec with the extra tables."""
    head, tail = _POLICIES.read_text(encoding="utf-8").split("\nviews:", 1)
    return f"{head}\n{_EXTRA}\nviews:{tail}"


def hostile_spec(text: str | None = None) -> Spec:
    return parse_spec(text or spec_text(), "policies.yaml")


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back for one message: every row of every result, every COPY line, every error and notice."""

    rows: list[tuple[str | None, ...]]
    errors: list[dict[str, str]]
    notices: list[str]
    status: pq.TransactionStatus

    @property
    def state(self) -> str:
        """The SQLSTATE of the error; empty where there was none."""
        return self.errors[0]["sqlstate"] if self.errors else ""

    @property
    def text(self) -> str:
        said = [value for error in self.errors for value in error.values()]
        return "\n".join(["\t".join(map(str, row)) for row in self.rows] + said + self.notices)


_FIELDS = {
    "sqlstate": pq.DiagnosticField.SQLSTATE, "message": pq.DiagnosticField.MESSAGE_PRIMARY,
    "detail": pq.DiagnosticField.MESSAGE_DETAIL, "hint": pq.DiagnosticField.MESSAGE_HINT,
    "context": pq.DiagnosticField.CONTEXT, "internal": pq.DiagnosticField.INTERNAL_QUERY,
    "constraint": pq.DiagnosticField.CONSTRAINT_NAME,
}  # fmt: skip


def send(connection: psycopg.Connection[Any], text: str, *, extended: bool = False) -> Reply:
    """One message of the simple protocol (or one statement of the extended one), read to its end, COPY included."""
    raw, notices = connection.pgconn, list[str]()

    def heard(diagnostic: psycopg.errors.Diagnostic) -> None:
        notices.append(
            "\n".join(filter(None, (diagnostic.message_primary, diagnostic.message_detail, diagnostic.context)))
        )

    connection.add_notice_handler(heard)
    rows: list[tuple[str | None, ...]] = []
    errors: list[dict[str, str]] = []
    try:
        if extended:
            raw.send_query_params(text.encode(), None)
        else:
            raw.send_query(text.encode())
        while (result := raw.get_result()) is not None:
            if result.status == pq.ExecStatus.COPY_OUT:
                rows += _copied(raw)
            elif result.status == pq.ExecStatus.COPY_IN:
                raw.put_copy_end(b"nothing to copy")
            elif result.status in (pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.PIPELINE_ABORTED):
                found = {
                    name: (result.error_field(code) or b"").decode(errors="replace") for name, code in _FIELDS.items()
                }
                errors.append(found)
            rows += _rows(result)
    finally:
        connection.remove_notice_handler(heard)
    return Reply(rows, errors, notices, pq.TransactionStatus(raw.transaction_status))


def _rows(result: pq.abc.PGresult) -> Iterator[tuple[str | None, ...]]:
    for row in range(result.ntuples):
        cells = (result.get_value(row, column) for column in range(result.nfields))
        yield tuple(None if cell is None else cell.decode(errors="replace") for cell in cells)


def _copied(raw: pq.abc.PGconn) -> Iterator[tuple[str | None, ...]]:
    while True:
        length, data = raw.get_copy_data(0)
        if length <= 0:
            return
        yield tuple(bytes(data).decode(errors="replace").rstrip("\n").split("\t"))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an attack achieved; `leaks` is empty if nothing."""

    reply: Reply
    leaks: tuple[str, ...]


@dataclass(slots=True)
class Sandbox:
    """A provisioned database, its key, and a conversation that may send anything."""

    database: Database
    spec: Spec
    key: SigningKey
    _before: dict[str, str] = field(default_factory=dict)
    _observer: psycopg.Connection[Any] | None = None

    @classmethod
    def unprovisioned(cls, database: Database, spec: Spec | None = None) -> Sandbox:
        """A database that rlsgen has not seen yet; `make_key` comes after the first apply."""
        return cls(database, spec or hostile_spec(), SigningKey("none", "none", b"\0" * 32))

    def make_key(self) -> None:
        with open_connection(self.database.dsn()) as owner:
            self.key = create_key(owner)

    @staticmethod
    def spec_with(line: str, instead: str) -> Spec:
        """The spec with one line of it changed."""
        text = spec_text()
        assert text.count(f"\n{line}") == 1
        head, _, tail = text.partition(f"\n{line}")
        return hostile_spec(f"{head}\n{instead}\n{tail.partition(chr(10))[2]}")

    def token(self, context: Context = ALDER) -> str:
        return mint(self.key, self.spec.context, context)

    def conversation(self) -> psycopg.Connection[Any]:
        return self.database.connect(self.spec.conversation)

    def begin(self, connection: psycopg.Connection[Any], context: Context = ALDER, *, seal: bool = True) -> None:
        connection.execute("BEGIN")
        if seal:
            connection.execute("SELECT rlsgen.set_context(%s)", [self.token(context)])

    @contextmanager
    def sealed(self, context: Context = ALDER) -> Iterator[psycopg.Connection[Any]]:
        """A connection in a transaction with a context, rolled back."""
        with psycopg.connect(self.database.dsn(self.spec.conversation), autocommit=True) as connection:
            self.begin(connection, context)
            yield connection
            connection.execute("ROLLBACK")

    def attack(
        self, text: str, context: Context = ALDER, *, seal: bool = True, extended: bool = False,
        connection: psycopg.Connection[Any] | None = None,
    ) -> Verdict:  # fmt: skip
        """Send hostile text in a sealed transaction, and look at everything that it gave or changed."""
        self._before = self._before or self.foreign()
        own = connection or psycopg.connect(
            self.database.dsn(self.spec.conversation), autocommit=True, prepare_threshold=None
        )
        try:
            self.begin(own, context, seal=seal)
            reply = send(own, text, extended=extended)
            leaks = [f"canary seen: {line}" for line in reply.text.splitlines() if "CANARY" in line or "987654" in line]
            leaks += [
                f"forged: {value}"
                for value in self._context(own)
                if value not in (None, str(context["organisationId"]))
            ]
            send(own, "ROLLBACK")
        finally:
            if connection is None:
                own.close()
        now = self.foreign()
        leaks += [f"foreign rows of {table} changed" for table, digest in now.items() if digest != self._before[table]]
        self._before = now
        return Verdict(reply, tuple(leaks))

    def _context(self, connection: psycopg.Connection[Any]) -> list[str | None]:
        """The organisation that accessors believe in after the attack, in this transaction and in a new one."""
        values: list[str | None] = []
        for _ in range(2):
            reply = send(connection, "SELECT rlsgen.organisation_id()")
            values += [row[0] for row in reply.rows]
            send(connection, "ROLLBACK")
            send(connection, "BEGIN")
        return values

    def foreign(self, tables: Mapping[str, str] | None = None) -> dict[str, str]:
        """A digest per table of the rows that do not belong to ALDER."""
        self._observer = self._observer or self.database.connect(autocommit=True)
        query = "SELECT count(*) || coalesce(md5(string_agg(t::text, '|' ORDER BY t::text)), '') FROM {} AS t WHERE {}"
        return {
            table: str(self._observer.execute(fill(query, identifier(table), Sql(condition)).encode()).fetchone())
            for table, condition in (tables or WRITABLE).items()
        }

    def plan(self, spec: Spec | None = None) -> Plan:
        with open_connection(self.database.dsn()) as owner:
            return make_plan(owner, spec or self.spec)

    def apply(self, spec: Spec | None = None, allow: Collection[str] = EVERYTHING, user: str | None = None) -> Outcome:
        with open_connection(self.database.dsn(user)) as connection:
            return apply(connection, spec or self.spec, allow=allow)

    def owner(self, text: str) -> None:
        """What the owner does, in one message."""
        with psycopg.connect(self.database.dsn(), autocommit=True) as owner:
            owner.execute(text.encode())

    def administrator(self, text: str) -> None:
        with psycopg.connect(self.database.dsn(self.database.server.superuser), autocommit=True) as administrator:
            administrator.execute(text.encode())


WRITABLE = {
    "notes": "user_id <> 'user_1'",
    "templates": "organisation_id IS DISTINCT FROM 1",
    "remarks": "note_id NOT IN (SELECT id FROM notes WHERE user_id = 'user_1')",
}
"""Tables that conversations may write to, and which of their rows are not ALDER's."""

ALL_TABLES = {
    **WRITABLE,
    **dict.fromkeys(
        ("orders", "products", "events", "users", "teams", "projects", "api_keys", "vaults"), "organisation_id <> 1"
    ),
    **dict.fromkeys(("folders", "vehicles", "trucks"), "organisation_id <> 1"),
    **dict.fromkeys(("countries", "organisations", "order_items", "vault_entries"), "true"),
}
"""Every table, and which of its rows a conversation of ALDER must leave as they are."""

__all__ = ["ALDER", "ALL_TABLES", "BIRCH", "CONVERSATION", "EVERYTHING", "WRITABLE", "Reply", "Sandbox", "Verdict",
           "hostile_spec", "replace", "send", "spec_text"]  # fmt: skip
