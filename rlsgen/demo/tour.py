"""The demo: the sample shop provisioned, the same questions for two organisations, what is refused, and the proof."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
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
from rlsgen.errors import QueryFailed, RlsgenError, StatementRefused
from rlsgen.identifiers import fill, literal
from rlsgen.proof.attacks.catalogue import catalogue
from rlsgen.proof.verify import Options, VerifyResult, verify
from rlsgen.provision.apply import apply
from rlsgen.provision.keys import create_key
from rlsgen.provision.plan import Hazard, Plan
from rlsgen.runtime.pool import Conversation, ConversationPool
from rlsgen.runtime.token import CLOCK_SKEW_SECONDS, SigningKey, mint
from rlsgen.spec.load import load_spec
from rlsgen.spec.model import Spec

DATABASE = "shop"
ALLOWED = (Hazard.PUBLIC_REVOKE, Hazard.PLANNER_STATISTICS)
"""What the demo accepts for its own throw-away database: TEMP revoked from PUBLIC, and one private column."""

NOTHING = "no rows: for this conversation it does not exist"
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
    """What a hostile conversation tried: on a raw connection, and as a statement through the pool's guard."""

    attempt: str
    sql: str
    postgres: str  # what the database alone said
    open: bool  # whether it let it through, since rights cannot forbid it
    guard: str | None  # what the guard said; None: it is nothing that a statement could do


@dataclass(frozen=True, slots=True)
class Tour:
    """Everything that the demo shows."""

    plan: Plan
    signing_key: str
    answers: tuple[Answer, ...]
    refused: tuple[Attempt, ...]
    application: str
    warnings: tuple[str, ...]  # of the pool's self-check
    verified: VerifyResult


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


def tour(shop: Shop, *, thoroughly: bool = False) -> Tour:
    """Plan, apply, ask, attack, verify; `thoroughly` with writes, which a throw-away database may try.

    Raises:
        RlsgenError: something got through that must not.
    """
    spec = load_spec(sample_spec())
    with open_connection(shop.owner_dsn) as owner:
        plan = apply(owner, spec, allow=ALLOWED).plan
        key = create_key(owner)
    # The embedded Postgres has holes that are mended in later ones; a pool in production refuses such a server.
    with ConversationPool(shop.conversation_dsn, spec, key, known_holes="warn") as pool:
        talks = [(each, pool.conversation(each.context)) for each in CONVERSATIONS]
        answers = tuple(
            _ask(conversation, each.organisation, each.context, question.text, question.sql)
            for question in QUESTIONS
            for each, conversation in talks
        )
        with psycopg.connect(shop.conversation_dsn, autocommit=True, row_factory=tuple_row) as raw:
            refused = tuple(_attack(raw, talks[0][1], talks[1][1], spec, key))
        warnings = tuple(str(each.message) for each in pool.health().warnings)
    verified = _verified(shop, spec, key, thoroughly)
    return Tour(plan, key.reveal(), answers, refused, _application(shop), warnings, verified)


def _verified(shop: Shop, spec: Spec, key: SigningKey, thoroughly: bool) -> VerifyResult:
    options = Options(writes=thoroughly, plant=thoroughly)
    result = verify(spec, key, shop.owner_dsn, shop.conversation_dsn, options=options, attacks=catalogue())
    if result.leaks or result.failed:
        raise RlsgenError(f"the demo has found a hole: {result.leaks} leaks and {result.failed} failures of verify")
    return result


def _ask(
    conversation: Conversation, organisation: str, context: Mapping[str, object], question: str, sql: str
) -> Answer:
    result = conversation.query(sql)
    return Answer(organisation, context, question, tuple(each.name for each in result.columns), tuple(result.rows))


def _attack(
    raw: psycopg.Connection[Any], mine: Conversation, theirs: Conversation, spec: Spec, key: SigningKey
) -> Iterator[Attempt]:
    one, other = CONVERSATIONS[0], CONVERSATIONS[1]
    token = mint(key, spec.context, one.context)
    stale = _expired(token, key)
    foreign = theirs.query("SELECT min(id) FROM orders").rows[0][0]
    tries: list[tuple[str, str | None, str]] = [
        ("a query without a context", None, "SELECT count(*) FROM orders"),
        ("a context forged with set_config", token,
         "SELECT count(*) FROM (SELECT set_config('app.organisation_id', '2', true)) AS s, orders"),
        ("an expired token", stale, "SELECT count(*) FROM orders"),
        ("a second context in one transaction", token, fill("SELECT rlsgen.set_context({})", literal(token))),
        (f"order {foreign} of {other.organisation}, by its id", token,
         fill("SELECT * FROM orders WHERE id = {}", literal(foreign))),
        ("a hidden table", token, "SELECT * FROM api_keys"),
        ("a hidden column", token, "SELECT password_hash FROM users"),
        ("a partition, past the policies of its parent", token, _partition(raw)),
        ("a write into a shared row", token, "DELETE FROM templates"),
        ("row security switched off", token, "SET LOCAL row_security = off; SELECT count(*) FROM orders"),
        ("the policies dropped", token, "DROP POLICY rlsgen_only_select ON orders"),
        ("the keys", token, "SELECT * FROM rlsgen_private.signing_key"),
    ]  # fmt: skip
    for what, first, sql in tries:
        said = None if first != token else _try_guard(mine, sql)
        yield Attempt(what, sql.replace(token, "…"), _try(raw, first, sql), open=False, guard=said)
    # Rights end here: these touch no row, and tell something all the same, or keep the server busy.
    for what, sql in [
        ("the planner's numbers, which count everybody", "EXPLAIN SELECT * FROM orders WHERE organisation_id = 2"),
        ("what other conversations run", "SELECT query FROM pg_stat_activity"),
        ("the server kept waiting", "SELECT pg_sleep(0.01)"),
    ]:
        yield Attempt(what, sql, _try_open(raw, token, sql), open=True, guard=_try_guard(mine, sql))


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
    return NOTHING


def _try_open(connection: psycopg.Connection[Any], token: str, sql: str) -> str:
    """That Postgres let it through: what is shown as open must be open."""
    with connection.transaction(force_rollback=True):
        connection.execute("SELECT rlsgen.set_context(%s)", [token])
        connection.execute(sql.encode())
    return "cannot be forbidden"


def _try_guard(conversation: Conversation, sql: str) -> str:
    """What the guard said, or that nothing came back; anything else is the end of the demo."""
    try:
        rows = conversation.query(sql).rows
    except (StatementRefused, QueryFailed) as error:
        return error.message
    if rows:
        raise RlsgenError(f"the demo has found a hole: through the guard this gave {len(rows)} rows: {sql}")
    return NOTHING


def _expired(token: str, key: SigningKey) -> str:
    """The same token, out of date: signed with the right key all the same."""
    claims = jwt.decode(token, options={"verify_signature": False})
    header = jwt.get_unverified_header(token)
    claims["exp"] -= 3 * CLOCK_SKEW_SECONDS + 60
    claims["iat"] = claims["exp"] - 30
    return jwt.encode(claims, key.secret, algorithm="HS256", headers={"kid": header["kid"]})


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
