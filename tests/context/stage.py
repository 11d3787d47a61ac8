"""A database with the sealed context and one scoped table, made by hand as rlsgen would, by an ordinary owner."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg

from rlsgen.demo.shop import CONVERSATION
from rlsgen.errors import Position
from rlsgen.identifiers import Sql, fill, identifier
from rlsgen.provision.functions import Accessor, accessor_versions, context_functions, key_tables
from rlsgen.provision.keys import create_key
from rlsgen.runtime.token import SigningKey, mint
from rlsgen.spec.model import BaseType, ContextField, Limits, Spec
from tests.support.postgres import Connection, Database

REFUSED = "context token refused"
ABSENT = "no tenant context"

Mutation = Callable[[str], str]


def unchanged(sql: str) -> str:
    """The mutation that changes nothing."""
    return sql


def replacing(old: str, new: str, *, count: int = 1) -> Mutation:
    """A mutation of one function's SQL; a function that does not have `old` is left alone, and one must have it."""

    def mutate(sql: str) -> str:
        assert sql.count(old) in (0, count), f"{old!r} stands {sql.count(old)} times in the function"
        return sql.replace(old, new)

    return mutate


def context_field(name: str, base: BaseType, snake: str = "", **options: Any) -> ContextField:
    """A context field with everything that a spec may leave out."""
    values: dict[str, Any] = {
        "array": False,
        "required": True,
        "minimum": None,
        "maximum": None,
        "pattern": None,
        "max_length": None,
        "max_items": None,
        "loggable": False,
    }
    return ContextField(name, snake or name.lower(), base, position=Position("policies.yaml", 1, 1), **values | options)


def spec_of(*fields: ContextField, seal: bool = True) -> Spec:
    """A spec that declares a context and nothing else."""
    return Spec(
        file="policies.yaml",
        context=fields,
        conversation=CONVERSATION,
        unrestricted=(),
        schemas=("public",),
        undeclared="error",
        force=False,
        seal=seal,
        tables=(),
        views=(),
        limits=Limits(),
        positions={},
    )


ORGANISATION = context_field("organisationId", "integer", "organisation_id", minimum=1)
TEAM = context_field("teamId", "integer", "team_id", required=False)
USER = context_field("userId", "text", "user_id", pattern="[A-Za-z0-9_.@|-]{1,128}", max_length=100)
SPEC = spec_of(ORGANISATION, TEAM, USER)
CONTEXT: Mapping[str, object] = {"organisationId": 1, "teamId": 7, "userId": "user_1"}


def run(connection: Connection, sql: Sql) -> None:
    """Execute SQL that was composed, in the simple protocol."""
    connection.execute(sql.encode())


def encoded(data: bytes) -> str:
    """Base64url without padding, as in a JWT."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign(secret: bytes, header: str, payload: str) -> str:
    """A token of any text, signed correctly."""
    signed = f"{encoded(header.encode())}.{encoded(payload.encode())}"
    return f"{signed}.{encoded(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


@dataclass(slots=True)
class Stage:
    """The database, its spec and a signing key."""

    database: Database
    spec: Spec = SPEC
    mutation: Mutation = unchanged
    key: SigningKey = field(init=False)

    def __post_init__(self) -> None:
        with self.owner() as owner:
            for statement in _FOUNDATION:
                owner.execute(statement)
            run(owner, key_tables())
            self.functions(owner)
            if ORGANISATION in self.spec.context:
                for statement in _TABLE:
                    owner.execute(statement)
            self.key = create_key(owner)

    def owner(self) -> Connection:
        return self.database.connect()

    def superuser(self) -> Connection:
        return self.database.connect(self.database.server.superuser)

    def functions(
        self, owner: Connection, accessors: Sequence[Accessor] = (), retired: Sequence[Accessor] = ()
    ) -> None:
        """Make the functions of `spec`, changed by `mutation`, which must find what it changes in one of them."""
        desired = context_functions(self.spec, accessors or accessor_versions(self.spec, {}), retired)
        changed = False
        for each in desired:
            mutated = self.mutation(each.create)
            changed = changed or mutated != each.create
            owner.execute(mutated.encode())
            signature = fill("{}({})", each.name.sql, Sql("text" if each.arguments else ""))
            run(owner, fill("REVOKE ALL ON FUNCTION {} FROM PUBLIC", signature))
            if each.execute:
                run(owner, fill("GRANT EXECUTE ON FUNCTION {} TO {}", signature, identifier(CONVERSATION)))
        assert changed or self.mutation is unchanged, "the mutation changed nothing"

    @contextmanager
    def changed(self, mutation: Mutation) -> Iterator[None]:
        """The functions changed, for a while."""
        before, self.mutation = self.mutation, mutation
        try:
            with self.owner() as owner:
                self.functions(owner)
            yield
        finally:
            self.mutation = before
            with self.owner() as owner:
                self.functions(owner)

    def conversation(self, autocommit: bool = True) -> Connection:
        """A raw connection as the conversation role: what hostile SQL text runs on."""
        return self.database.connect(CONVERSATION, autocommit=autocommit)

    def token(self, context: Mapping[str, object] | None = None, **options: Any) -> str:
        """A good token."""
        return mint(self.key, self.spec.context, CONTEXT if context is None else context, **options)

    def payload(self, context: object = None, **claims: object) -> dict[str, object]:
        """The claims of a good token, or others; `...` leaves one out."""
        now = int(time.time())
        known = {"aud": self.key.audience, "exp": now + 30, "context": dict(CONTEXT) if context is None else context}
        return {name: value for name, value in (known | claims).items() if value is not ...}

    def forge(self, payload: Mapping[str, object] | str, header: Mapping[str, object] | str | None = None) -> str:
        """A token that says anything, signed with the right key."""
        head = {"alg": "HS256", "typ": "JWT", "kid": self.key.kid} if header is None else header
        return sign(
            self.key.secret,
            head if isinstance(head, str) else json.dumps(head),
            payload if isinstance(payload, str) else json.dumps(payload),
        )

    def sealed(self, context: Mapping[str, object] | None = None, mode: str = "READ ONLY") -> Connection:
        """A conversation's connection in a transaction that has a context."""
        connection = self.conversation()
        connection.execute(f"BEGIN {mode}".encode())
        connection.execute("SELECT rlsgen.set_context(%s)", [self.token(context)])
        return connection

    def accepts(self, token: str | None) -> bool:
        """Whether a token is taken, in a transaction of its own; if not, by the one error that there is."""
        connection = self.conversation()
        try:
            connection.execute("SELECT rlsgen.set_context(%s)", [token])
        except psycopg.errors.InsufficientPrivilege as error:
            if error.diag.message_primary != REFUSED:
                raise
            return False
        finally:
            connection.close()
        return True


def visible(connection: Connection) -> list[int]:
    """The organisations whose orders a connection sees."""
    return [each for (each,) in connection.execute("SELECT DISTINCT organisation_id FROM orders ORDER BY 1").fetchall()]


_FOUNDATION = [
    b"CREATE SCHEMA rlsgen",
    b"CREATE SCHEMA rlsgen_private",
    fill("GRANT USAGE ON SCHEMA rlsgen TO {}", identifier(CONVERSATION)).encode(),
    b"""CREATE TABLE rlsgen.provision (singleton boolean PRIMARY KEY CHECK (singleton), id uuid NOT NULL,
      format integer, spec_hash text, fingerprint text, system_identifier text, seal boolean)""",
    b"INSERT INTO rlsgen.provision (singleton, id) VALUES (true, gen_random_uuid())",
]
_TABLE = [
    b"CREATE TABLE orders (id bigint PRIMARY KEY, organisation_id integer NOT NULL, note text)",
    b"INSERT INTO orders SELECT n, 1 + n % 3, 'order of ' || (1 + n % 3) FROM generate_series(1, 300) AS n",
    b"CREATE INDEX ON orders (organisation_id)",
    fill(
        """CREATE POLICY rlsgen_select ON orders AS RESTRICTIVE FOR SELECT TO {0}
          USING (organisation_id = (SELECT rlsgen.organisation_id()));
        CREATE POLICY rlsgen_select_permit ON orders FOR SELECT TO {0}
          USING (organisation_id = (SELECT rlsgen.organisation_id()));
        ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
        GRANT USAGE ON SCHEMA public TO {0};
        GRANT SELECT ON orders TO {0}""",
        identifier(CONVERSATION),
    ).encode(),
    b"ANALYZE orders",
]
