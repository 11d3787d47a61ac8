"""How the tests of shapes act: as the owner who provisions, and as a conversation with a real token."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from psycopg import errors

from rlsgen.catalog.read import read_catalog
from rlsgen.identifiers import Name, fill, identifier
from rlsgen.provision.apply import Outcome, apply, execute, make_plan
from rlsgen.provision.destroy import destroy_plan
from rlsgen.provision.diff import search_path
from rlsgen.provision.keys import create_key
from rlsgen.provision.plan import Hazard, Plan
from rlsgen.runtime.token import SigningKey, mint
from rlsgen.spec.load import parse_spec
from rlsgen.spec.model import Spec
from tests.shapes.truth import CONTEXTS, REFUSED, REFUSED_COLUMNS, TRUTH, Context, parameters
from tests.support.postgres import Database

HERE = Path(__file__).parent
TEXT = (HERE / "shapes.yaml").read_text(encoding="utf-8")
SPEC = parse_spec(TEXT, "shapes.yaml")
CONVERSATION = "nl_conversation"
Change = Callable[[dict[str, Any]], None]
EVERYTHING = tuple(Hazard)


def changed(*changes: Change, text: str = TEXT) -> Spec:
    """The spec with changes made to its document."""
    document = deepcopy(yaml.safe_load(text))
    for change in changes:
        change(document)
    return parse_spec(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), "shapes.yaml")


@dataclass
class Case:
    """A database, the spec that it should follow, and a signing key made when it is first needed."""

    database: Database
    spec: Spec = SPEC
    owner: str = "shop_owner"
    settled: bool = True  # whether it stands as its template does, so that another test may have it
    _key: SigningKey | None = None
    _owner: psycopg.Connection[Any] | None = field(default=None, repr=False)
    _talker: psycopg.Connection[Any] | None = field(default=None, repr=False)

    @property
    def admin(self) -> psycopg.Connection[Any]:
        """A connection of the role that provisions, kept."""
        if self._owner is None or self._owner.closed:
            self._owner = self.database.connect(self.owner)
        return self._owner

    @property
    def talker(self) -> psycopg.Connection[Any]:
        """A connection of the conversation role, kept."""
        if self._talker is None or self._talker.closed:
            self._talker = self.database.connect(CONVERSATION)
        return self._talker

    @property
    def key(self) -> SigningKey:
        if self._key is None:
            self._key = create_key(self.admin)
        return self._key

    def plan(self, spec: Spec | None = None) -> Plan:
        return make_plan(self.admin, spec or self.spec)

    def apply(self, spec: Spec | None = None) -> Outcome:
        self.spec = spec or self.spec
        return apply(self.admin, self.spec, allow=EVERYTHING)

    def destroy(self, table: Name | None = None) -> Plan:
        catalog = read_catalog(self.admin, self.spec.conversation)
        made = destroy_plan(catalog, self.spec.conversation, search_path(self.spec), table)
        execute(self.admin, made)
        return made

    @contextmanager
    def conversation(self, context: Context) -> Iterator[psycopg.Connection[Any]]:
        """A transaction of the conversation role under a real token; rolled back at the end."""
        token = mint(self.key, self.spec.context, context)
        with self.talker.transaction(force_rollback=True):
            self.talker.execute("SELECT rlsgen.set_context(%s)", [token])
            yield self.talker


def load(database: Database) -> None:
    """shapes.sql, as the owner, in one transaction."""
    connection = database.connect()
    with connection.transaction():
        connection.execute((HERE / "shapes.sql").read_bytes())
    database.close()


def provision(case: Case) -> None:
    case.apply()


def revoke_public_temporary(database: Database) -> None:
    target = identifier(database.name)
    with database.server.administer() as administrator:
        administrator.execute(fill("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC", target).encode())
        administrator.execute(fill("GRANT TEMPORARY ON DATABASE {} TO shop_app", target).encode())


def rows(
    connection: psycopg.Connection[Any], query: str, values: Sequence[object] | Mapping[str, object] | None = None
) -> list[tuple[Any, ...]]:
    """The rows of a query, sorted."""
    return sorted(connection.execute(query.encode(), values).fetchall(), key=repr)


def truth_of(case: Case, table: str, context: Context) -> list[tuple[Any, ...]]:
    """What a conversation should see, computed by the superuser: row security never touches it."""
    superuser = superuser_of(case)
    return rows(superuser, TRUTH[table][1], parameters(context))


def superuser_of(case: Case) -> psycopg.Connection[Any]:
    """A connection of the superuser, kept."""
    open_ = [
        each for each in case.database._open if not each.closed and each.info.user == case.database.server.superuser
    ]
    return open_[0] if open_ else case.database.connect(case.database.server.superuser)


def assert_isolated(
    case: Case, tables: Iterable[str] = tuple(TRUTH), contexts: Iterable[Context] = CONTEXTS, *, refused: bool = True
) -> None:
    """For every context and table: the conversation sees what the hand-written truth says, and nothing else."""
    for context in contexts:
        with case.conversation(context) as talker:
            for table in tables:
                seen = rows(talker, f"SELECT {TRUTH[table][0]} FROM {table}")
                assert seen == truth_of(case, table, context), f"{table} for {context}"
    if refused:
        assert_refused(case)


def assert_refused(case: Case) -> None:
    """What no conversation may read is refused: with a token, and by name."""
    queries = [f"SELECT FROM {relation}" for relation in REFUSED]
    queries += [f"SELECT {column} FROM {table}" for table, column in REFUSED_COLUMNS]
    queries += [f"SELECT t.*::text FROM {table} AS t" for table, _ in REFUSED_COLUMNS]
    with case.conversation(CONTEXTS[0]) as talker:
        for query in queries:
            with pytest.raises(errors.InsufficientPrivilege), talker.transaction():
                talker.execute(query.encode())


def assert_nothing_to_do(case: Case, spec: Spec | None = None) -> None:
    made = case.plan(spec)
    assert not made.transactions, made.to_text()


def dump(case: Case, *options: str, user: str | None = None) -> str:
    """pg_dump's text, without the random words that newer versions put at its ends."""
    program = case.database.server.program("pg_dump")
    dsn = case.database.dsn(user or case.owner)
    done = subprocess.run([program, *options, dsn], check=True, capture_output=True, text=True)
    return "\n".join(line for line in done.stdout.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))
