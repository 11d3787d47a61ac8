"""The demo: the sample shop provisioned, the same questions for two organisations, and what is refused."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jwt
import psycopg
from psycopg.rows import tuple_row

from rlsgen.catalog.connect import open_connection
from rlsgen.demo.server import Server
from rlsgen.demo.shop import APPLICATION, CONVERSATION, CONVERSATIONS, OWNER, QUESTIONS, create_roles, create_shop
from rlsgen.errors import RlsgenError
from rlsgen.identifiers import fill, literal
from rlsgen.provision.apply import apply
from rlsgen.provision.keys import create_key
from rlsgen.provision.plan import Hazard, Plan
from rlsgen.runtime.token import CLOCK_SKEW_SECONDS, SigningKey, mint
from rlsgen.spec.load import load_spec
from rlsgen.spec.model import Spec

DATABASE = "shop"
ALLOWED = (Hazard.PUBLIC_REVOKE, Hazard.PLANNER_STATISTICS)
"""What the demo accepts for its own throw-away database: TEMP revoked from PUBLIC, and one private column."""

_COUNTS = "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM order_items), (SELECT count(*) FROM api_keys)"


@dataclass(frozen=True, slots=True)
class Shop:
    """The shop's database before rlsgen came."""

    owner_dsn: str
    conversation_dsn: str
    application_dsn: str
    counts: tuple[int, ...]  # as the application saw them


@dataclass(frozen=True, slots=True)
class Answer:
    """What one conversation got for one question."""

    organisation: str
    context: Mapping[str, object]
    question: str
    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a hostile conversation tried, and what Postgres said."""

    attempt: str
    sql: str
    error: str


@dataclass(frozen=True, slots=True)
class Tour:
    """Everything that the demo shows."""

    plan: Plan
    signing_key: str
    answers: tuple[Answer, ...]
    refused: tuple[Attempt, ...]
    application: str


def sample_spec() -> Path:
    """The sample spec: the top-level policies.yaml of a checkout, or the wheel's copy of it."""
    packaged = Path(str(resources.files("rlsgen.demo").joinpath("policies.yaml")))
    return packaged if packaged.is_file() else Path(__file__).resolve().parents[2] / "policies.yaml"


def make_shop(server: Server) -> Shop:
    """Roles with random passwords, the database, its tables and rows: what a company has before."""
    passwords = {role: secrets.token_urlsafe(18) for role in (OWNER, APPLICATION, CONVERSATION)}
    with psycopg.connect(server.dsn(), autocommit=True) as administrator:
        create_roles(administrator, passwords)
        administrator.execute("CREATE DATABASE shop OWNER shop_owner")
    owner, application, conversation = (
        server.dsn(DATABASE, role, passwords[role]) for role in (OWNER, APPLICATION, CONVERSATION)
    )
    with psycopg.connect(owner, autocommit=True) as connection:
        create_shop(connection)
    with psycopg.connect(application) as connection:
        counts = connection.execute(_COUNTS).fetchone() or ()
    return Shop(owner, conversation, application, tuple(counts))


def tour(shop: Shop) -> Tour:
    """Plan, apply, ask, attack."""
    spec = load_spec(sample_spec())
    with open_connection(shop.owner_dsn) as owner:
        plan = apply(owner, spec, allow=ALLOWED).plan
        key = create_key(owner)
    with psycopg.connect(shop.conversation_dsn, autocommit=True, row_factory=tuple_row) as connection:
        answers = tuple(
            _ask(connection, spec, key, conversation.organisation, conversation.context, question.text, question.sql)
            for question in QUESTIONS
            for conversation in CONVERSATIONS
        )
        refused = tuple(_attack(connection, spec, key))
    return Tour(plan, key.reveal(), answers, refused, _application(shop))


def _ask(
    connection: psycopg.Connection[Any], spec: Spec, key: SigningKey, organisation: str, context: Mapping[str, object],
    question: str, sql: str,
) -> Answer:  # fmt: skip
    with connection.transaction(force_rollback=True):
        connection.execute("SELECT rlsgen.set_context(%s)", [mint(key, spec.context, context)])
        cursor = connection.execute(sql.encode())
        columns = tuple(column.name for column in cursor.description or ())
        return Answer(organisation, context, question, columns, tuple(cursor.fetchall()))


def _attack(connection: psycopg.Connection[Any], spec: Spec, key: SigningKey) -> list[Attempt]:
    one, other = CONVERSATIONS[0], CONVERSATIONS[1]
    token = mint(key, spec.context, one.context)
    stale = _expired(token, key)
    theirs = _foreign_order(connection, spec, key, other.context)
    tries: list[tuple[str, str | None, str]] = [
        ("a query without a context", None, "SELECT count(*) FROM orders"),
        ("a context forged with set_config", token,
         "SELECT count(*) FROM (SELECT set_config('app.organisation_id', '2', true)) AS s, orders"),
        ("an expired token", stale, "SELECT count(*) FROM orders"),
        ("a second context in one transaction", token, fill("SELECT rlsgen.set_context({})", literal(token))),
        (f"order {theirs} of {other.organisation}, by its id", token,
         fill("SELECT * FROM orders WHERE id = {}", literal(theirs))),
        ("a hidden table", token, "SELECT * FROM api_keys"),
        ("a hidden column", token, "SELECT password_hash FROM users"),
        ("a partition, past the policies of its parent", token, _partition(connection)),
        ("a write into a shared row", token, "DELETE FROM templates"),
        ("row security switched off", token, "SET LOCAL row_security = off; SELECT count(*) FROM orders"),
        ("the policies dropped", token, "DROP POLICY rlsgen_only_select ON orders"),
        ("the keys", token, "SELECT * FROM rlsgen_private.signing_key"),
    ]  # fmt: skip
    return [Attempt(what, sql.replace(token, "…"), _try(connection, first, sql)) for what, first, sql in tries]


def _try(connection: psycopg.Connection[Any], token: str | None, sql: str) -> str:
    """What Postgres said; that nothing came back is an answer too, and anything else is the end of the demo."""
    with connection.transaction(force_rollback=True):
        try:
            if token is not None:
                connection.execute("SELECT rlsgen.set_context(%s)", [token])
            rows = connection.execute(sql.encode()).fetchall()
        except psycopg.Error as error:
            return error.diag.message_primary or "refused"
    if rows:
        raise RlsgenError(f"the demo has found a hole: this gave {len(rows)} rows: {sql}")
    return "no rows: for this conversation it does not exist"


def _expired(token: str, key: SigningKey) -> str:
    """The same token, out of date: signed with the right key all the same."""
    claims = jwt.decode(token, options={"verify_signature": False})
    header = jwt.get_unverified_header(token)
    claims["exp"] -= 3 * CLOCK_SKEW_SECONDS + 60
    claims["iat"] = claims["exp"] - 30
    return jwt.encode(claims, key.secret, algorithm="HS256", headers={"kid": header["kid"]})


def _foreign_order(
    connection: psycopg.Connection[Any], spec: Spec, key: SigningKey, context: Mapping[str, object]
) -> int:
    answer = _ask(connection, spec, key, "", context, "", "SELECT min(id) FROM orders")
    return int(str(answer.rows[0][0]))


def _partition(connection: psycopg.Connection[Any]) -> str:
    row = connection.execute(
        "SELECT quote_ident(c.relname) FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = 'public.events'::regclass AND c.relkind = 'r' ORDER BY c.relname LIMIT 1"
    ).fetchone()
    return f"SELECT count(*) FROM public.{row[0]}" if row else "SELECT count(*) FROM events_missing"  # noqa: S608


def _application(shop: Shop) -> str:
    """The main application, tried: it must see what it saw, and write, copy and delete as before."""
    with psycopg.connect(shop.application_dsn) as connection, connection.transaction(force_rollback=True):
        counts = tuple(connection.execute(_COUNTS).fetchone() or ())
        if counts != shop.counts:
            raise RlsgenError(f"the application saw {shop.counts} and sees {counts}")
        with connection.cursor().copy("COPY countries TO STDOUT") as copied:
            lines = sum(1 for _ in copied)
        changed = connection.execute("UPDATE orders SET status = status").rowcount
        deleted = connection.execute("DELETE FROM order_items").rowcount
    return (
        f"shop_app reads all {counts[0]:,} orders and {counts[1]:,} items as before; it updated {changed:,} orders, "
        f"deleted {deleted:,} items and copied {lines} rows out, and rolled that back"
    )
