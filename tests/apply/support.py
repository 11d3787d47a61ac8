"""A company to provision, and what must hold of its database at any moment: the probes of a safe state."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from psycopg import errors

from rlsgen.demo.shop import APPLICATION, CONVERSATION, OWNER
from rlsgen.identifiers import Sql, fill, identifier
from rlsgen.provision.apply import Patience, apply, make_plan
from rlsgen.provision.keys import create_key
from rlsgen.provision.plan import Plan
from rlsgen.runtime.token import SigningKey, mint
from rlsgen.spec.load import parse_spec
from rlsgen.spec.model import Spec
from tests.support.postgres import Connection, Database

SQL = Path(__file__).with_name("company.sql")
ROOT = Path(__file__).resolve().parents[2]
RELATIONS = (
    "organisations", "orders", "order_items", "notes", "folders", "events", "events_2024", "events_2024_0",
    "events_2024_1", "events_2025", "countries", "secrets", "order_totals",
)  # fmt: skip
# What the company's own spec needs: TEMP of PUBLIC, a private column, keys that its application cannot dump.
ALLOWED = ("PUBLIC_REVOKE", "PLANNER_STATISTICS", "DUMP")
CONTEXT = {"organisationId": 1, "userId": "user_1"}
BY_ORGANISATION = "organisation_id = userContext.organisationId"
QUICK = Patience(lock_timeout=0.1, attempts=3, first_pause=0.01, longest_pause=0.05)

_COMPANY: dict[str, Any] = {
    "version": 1,
    "context": {"organisationId": {"type": "integer", "minimum": 1}, "userId": {"type": "text"}},
    "roles": {"conversation": CONVERSATION, "unrestricted": [OWNER, APPLICATION]},
    "default_filter": BY_ORGANISATION,
    "tables": {
        "organisations": {},
        "orders": {"columns": {"private": ["email"]}},
        "order_items": {"through": "order_id -> orders(id)"},
        "notes": {"filter": "user_id = userContext.userId", "allow": ["select", "insert", "update", "delete"]},
        "folders": {"filter": BY_ORGANISATION, "through": "parent_id -> folders(id)"},
        "events": {},
        "countries": {"access": "shared", "why": "the same for everyone"},
        "secrets": "hidden",
    },
    "views": {"order_totals": "invoker"},
}


def document(**changes: Any) -> dict[str, Any]:
    """The company's spec as a document. Keys are those of tables, or of the document itself; None takes one away."""
    made = copy.deepcopy(_COMPANY)
    for key, value in changes.items():
        place = made if key in made or key in ("force", "seal", "schemas", "undeclared") else made["tables"]
        place[key] = value
        if value is None:
            del place[key]
    return made


def company(**changes: Any) -> Spec:
    """The company's spec, with `changes` as in `document`."""
    return parse_spec(yaml.safe_dump(document(**changes), sort_keys=False), "policies.yaml")


def provision(database: Database, spec: Spec | None = None, allow: Collection[str] = ALLOWED, **options: Any) -> Plan:
    """Apply as the owner; the plan that was applied."""
    return apply(database.connect(), spec or company(), allow=allow, **options).plan


def left(database: Database, spec: Spec | None = None, user: str | None = None) -> list[str]:
    """What a plan would still do."""
    with database.connect(user) as connection:
        return [f"{step.action} {step.object}" for step in make_plan(connection, spec or company()).steps]


def sql(template: Any, *parts: str) -> bytes:
    """A statement with names in it, quoted."""
    return fill(template, *(part if isinstance(part, Sql) else identifier(part) for part in parts)).encode()


# Probes


def pairs(connection: Connection) -> dict[str, dict[int, int]]:
    """How many rows of which organisation a role sees, relation by relation; relations that refuse it are left out."""
    seen = {}
    for relation in RELATIONS:
        try:
            with connection.transaction():
                query = sql("SELECT organisation_id, count(*) FROM {}.{} GROUP BY 1 ORDER BY 1", "public", relation)
                seen[relation] = dict(connection.execute(query).fetchall())
        except errors.InsufficientPrivilege:
            continue
    return seen


@dataclass(slots=True)
class Probe:
    """Looks at a database as all three roles do; made before rlsgen comes, so that it knows what stood then."""

    database: Database
    context: Mapping[str, object]
    before: dict[str, dict[int, int]]
    key: SigningKey | None = None

    @classmethod
    def of(cls, database: Database) -> Probe:
        with database.connect() as owner:
            return cls(database, CONTEXT, pairs(owner))

    def token(self, spec: Spec) -> str | None:
        """A valid token, as soon as the database can take one."""
        with self.database.connect() as owner:
            ready = owner.execute(
                "SELECT to_regclass('rlsgen_private.signing_key') IS NOT NULL"
                " AND to_regprocedure('rlsgen.set_context(text)') IS NOT NULL"
            ).fetchone()
            if ready != (True,):
                return None
            if self.key is None:
                self.key = create_key(owner)
        return mint(self.key, spec.context, self.context)

    def conversation(self, token: str | None) -> dict[str, dict[int, int]]:
        """What the conversation role sees, with a context or without."""
        with self.database.connect(CONVERSATION, autocommit=False) as connection:
            if token is not None:
                try:
                    connection.execute("SELECT rlsgen.set_context(%s)", [token])
                except errors.InsufficientPrivilege:  # no USAGE yet, or the token is of another spec
                    connection.rollback()
            return pairs(connection)

    def assert_safe(self, *specs: Spec, shared: Collection[str] = ("countries",)) -> None:
        """No foreign row for the conversation role, in any relation, and nothing lost for the others.

        `specs`: whose contexts to try. `shared`: relations that one of the specs in force shows to everybody.
        """
        own = self.context["organisationId"]
        for token in (None, *(self.token(spec) for spec in specs)):
            for relation, rows in self.conversation(token).items():
                mine = {own} if token is not None else set()
                foreign = {organisation for organisation in rows if organisation not in mine}
                assert not foreign or relation in shared, f"{relation} shows rows of {foreign}, {token is not None=}"
        self.assert_others_as_before()

    def assert_others_as_before(self) -> None:
        """Owner and application see every row, and write."""
        for role in (OWNER, APPLICATION):
            with self.database.connect(role) as connection:
                assert pairs(connection) == self.before, role
                with connection.transaction(force_rollback=True):
                    written = [
                        connection.execute(statement).rowcount
                        for statement in (
                            "INSERT INTO orders (organisation_id, team_id, email) VALUES (2, 20, 'new')",
                            "UPDATE order_items SET product = product || '!'",
                            "INSERT INTO events VALUES (3, '2024-02-29', 'leap')",
                            "DELETE FROM folders WHERE id % 10 = 3",
                            "UPDATE notes SET user_id = 'user_3' WHERE organisation_id = 2",
                        )
                    ]
                assert written == [1, 48, 1, 3, 4], role

    def assert_finished(self, spec: Spec) -> None:
        """The spec is in force: own rows are there, and the plan is empty."""
        assert left(self.database, spec) == []
        assert self.conversation(self.token(spec))["orders"] == {1: self.before["orders"][1]}


# Other sessions


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Ask again and again until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not true within {seconds} s: {condition}"
        time.sleep(0.005)


def waiting_for_locks(administrator: Connection, database: Database, application: str = "rlsgen") -> list[int]:
    """Backends of an application that wait for a heavyweight lock in this database."""
    rows = administrator.execute(
        "SELECT pid FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock' AND application_name = %s",
        [database.name, application],
    ).fetchall()
    return [pid for (pid,) in rows]


def held_advisory_locks(administrator: Connection, database: Database) -> int:
    """How many session advisory locks are held in this database."""
    row = administrator.execute(
        "SELECT count(*) FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database"
        " WHERE l.locktype = 'advisory' AND l.granted AND d.datname = %s",
        [database.name],
    ).fetchone()
    assert row is not None
    return int(row[0])


# Programs


def command(*arguments: str) -> list[str]:
    """The command line, as a program."""
    return [sys.executable, "-c", "from rlsgen.cli import main; main()", *arguments]


def run(
    *arguments: str, dsn: str | None = None, stdin: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command line and wait for it."""
    return subprocess.run(
        command(*arguments), input=stdin, capture_output=True, text=True, check=False, timeout=60, cwd=ROOT,
        env=program_environment(dsn, **environment),
    )  # fmt: skip


def program_environment(dsn: str | None = None, **more: str) -> dict[str, str]:
    """Our environment without whatever names another database."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "RLSGEN_", "DATABASE_URL"))}
    return kept | ({"RLSGEN_DSN": dsn} if dsn else {}) | more


def dump(database: Database, *options: str, user: str | None = None) -> subprocess.CompletedProcess[str]:
    """pg_dump of a database, by default by its owner."""
    program = database.server.program("pg_dump")
    return subprocess.run(
        [str(program), *options, database.dsn(user)], capture_output=True, text=True, check=False, timeout=60
    )


def schema_of(database: Database) -> str:
    """The whole schema and its privileges, as a superuser dumps it; without the tokens that newer versions add."""
    done = dump(database, "--schema-only", user=database.server.superuser)
    assert done.returncode == 0, done.stderr
    kept = [line for line in done.stdout.splitlines() if not line.startswith(("\\restrict", "\\unrestrict", "--"))]
    return "\n".join(kept)


def same_content(one: Database, other: Database, query: str) -> None:
    """Both databases answer a query alike."""
    with one.connect() as left_one, other.connect() as right_one:
        assert left_one.execute(query.encode()).fetchall() == right_one.execute(query.encode()).fetchall()
