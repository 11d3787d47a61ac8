"""Descriptions of a schema: what conversations may use, spelled as SQL has to spell it, and nothing that is hidden."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
import yaml

from rlsgen import ConversationPool
from rlsgen.demo.shop import CONVERSATION, OWNER
from rlsgen.errors import InvalidContext, RlsgenError, ServerError
from rlsgen.provision.apply import apply
from rlsgen.runtime.describe import Description, describe, spelled
from rlsgen.runtime.schema import Schema, read_schema
from rlsgen.spec.load import parse_spec
from rlsgen.spec.model import Spec
from tests.runtime.conftest import Place
from tests.support.postgres import Database, Server

HOSTILE = r"""
CREATE SCHEMA billing;
CREATE TYPE public."Mood" AS ENUM ('fine', 'it''s \ bad', E'two\nlines');
CREATE DOMAIN public.amount AS numeric(12, 2) CHECK (VALUE >= 0);
CREATE TABLE public.tenants (id integer PRIMARY KEY, zz_plan text UNIQUE);
CREATE TABLE public.zz_vault (id integer PRIMARY KEY, tenant_id integer NOT NULL);
CREATE TABLE public."order" (
    id integer, tenant_id integer NOT NULL REFERENCES public.tenants, "select" varchar(21), "Größe" public.amount,
    mood public."Mood"[], zz_secret text UNIQUE, zz_vault_id integer REFERENCES public.zz_vault, vault_id integer
    REFERENCES public.zz_vault, at timestamp(3) with time zone,
    PRIMARY KEY (tenant_id, id), UNIQUE (tenant_id, zz_secret)
);
CREATE TABLE public."Line.Item" (
    tenant_id integer, order_id integer, n smallint GENERATED ALWAYS AS IDENTITY, "say ""hi" text NOT NULL,
    PRIMARY KEY (tenant_id, order_id, n), FOREIGN KEY (tenant_id, order_id) REFERENCES public."order"
);
CREATE TABLE public.marks (id integer PRIMARY KEY, vault_id integer, tenant_id integer);
CREATE TABLE public.zz_flagged (id integer PRIMARY KEY, tenant_id integer, zz_flag boolean);
CREATE TABLE public.flagged (id integer PRIMARY KEY, tenant_id integer, zz_flag boolean);
CREATE TABLE public.both_ (tenant_id integer);
CREATE TABLE billing.both_ (tenant_id integer);
CREATE TABLE billing.invoices (id uuid PRIMARY KEY, tenant_id integer, paid_by text);
CREATE VIEW public.totals WITH (security_invoker) AS SELECT tenant_id, count(*) AS n FROM public."order" GROUP BY 1;
COMMENT ON TABLE billing.invoices IS 'zz_comment: for accountants';
"""
SPEC: dict[str, Any] = {
    "version": 1,
    "context": {"tenantId": {"type": "integer"}, "who": {"type": "text", "required": False}},
    "roles": {"conversation": CONVERSATION, "unrestricted": [OWNER]},
    "schemas": ["public", "billing"],
    "default_filter": "tenant_id = userContext.tenantId",
    "tables": {
        "tenants": {"filter": "id = userContext.tenantId", "columns": {"hide": ["zz_plan"]}},
        '"order"': {"columns": {"hide": ["zz_secret", "zz_vault_id"]}, "prompt": "What they bought."},
        '"Line.Item"': {"through": '(tenant_id, order_id) -> "order"(tenant_id, id)', "allow": ["select", "insert"]},
        "marks": {
            "filter": "tenant_id = userContext.tenantId",
            "through": "vault_id -> zz_vault(id)",
        },
        "zz_vault": {"access": "hidden", "filter": "tenant_id = userContext.tenantId"},
        "flagged": {"filter": "tenant_id = userContext.tenantId AND zz_flag", "columns": {"hide": ["zz_flag"]}},
        "zz_flagged": "hidden",
        "public.both_": "hidden",
        "billing.both_": {},
        "billing.invoices": {
            "filter": "tenant_id = userContext.tenantId AND paid_by = userContext.who",
            "allow": ["select", "update", "delete"],
            "check": "tenant_id = userContext.tenantId AND paid_by = userContext.who AND id IS NOT NULL",
        },
    },
    "views": {"totals": "invoker"},
}


@dataclass(frozen=True, slots=True)
class Hostile:
    database: Database
    spec: Spec
    schema: Schema


def spec_of(document: dict[str, Any]) -> Spec:
    return parse_spec(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), "policies.yaml")


def conversation_schema(database: Database, spec: Spec) -> Schema:
    with psycopg.connect(database.dsn(CONVERSATION), autocommit=True) as connection:
        return read_schema(connection, spec)


@pytest.fixture
def hostile(database: Database) -> Hostile:
    owner = database.connect()
    owner.execute(HOSTILE.encode())
    spec = spec_of(SPEC)
    apply(owner, spec, allow=("PUBLIC_REVOKE",))
    return Hostile(database, spec, conversation_schema(database, spec))


@pytest.fixture(scope="session")
def shop_schema(place: Place) -> Schema:
    return conversation_schema(place.database, place.spec)


def everything(description: Description) -> str:
    return description.to_markdown() + description.to_json()


def section(markdown: str, heading: str) -> list[str]:
    found = [part.splitlines() for part in markdown.split("\n\n")]
    return next(lines[1:] for lines in found if lines[0] == f"## {heading}")


def test_the_sample_shop(place: Place, shop_schema: Schema) -> None:
    markdown = describe(place.spec, shop_schema).to_markdown()
    names = [line.removeprefix("## ") for line in markdown.splitlines() if line.startswith("## ")]
    declared = [table.ref.name for table in place.spec.tables if table.access != "hidden"]
    assert names == [*declared, "monthly_revenue (view)"]
    assert section(markdown, "users") == [
        "A user is a customer if last_order_at is not null. Also called accounts.",
        "- id text primary key",
        "- organisation_id integer -> organisations(id)",
        "- team_id integer null -> teams(id)",
        "- name text",
        "- email text",
        "- last_order_at timestamptz null",
        "- created_at timestamptz",
        "Unique: (organisation_id, email)",
    ]
    assert section(markdown, "order_items")[0] == "- order_id bigint -> orders(id)"
    assert section(markdown, "countries")[0] == "Everyone sees the same rows."
    assert section(markdown, "notes")[:2] == [
        "INSERT and UPDATE: user_id, title, body, pinned, created_at",
        "DELETE is allowed.",
    ]
    assert section(markdown, "templates")[0] == "Only some of the rows may be written."
    assert len(markdown) < 3_000, "it is made for prompts, which are paid by the token"


def test_nothing_hidden_of_the_shop(place: Place, shop_schema: Schema) -> None:
    for filters in (False, True):
        text = everything(describe(place.spec, shop_schema, filters=filters))
        for word in ("api_keys", "password_hash", "key_hash", "rlsgen", "events_20", "12000", "12,000"):
            assert word not in text
        assert ("userContext" in text) is filters


def test_nothing_hidden_of_a_hostile_schema(hostile: Hostile) -> None:
    for options in ({}, {"filters": True}, {"context": {"tenantId": 1}}):
        assert "zz_" not in everything(describe(hostile.spec, hostile.schema, **options))


def test_what_is_not_hidden_would_be_seen(hostile: Hostile) -> None:
    """The control: the same words are there once the spec hides nothing."""
    tables = {**SPEC["tables"], '"order"': {}, "tenants": {"filter": "id = userContext.tenantId"}, "zz_flagged": {},
              "flagged": {"filter": "tenant_id = userContext.tenantId AND zz_flag"}, "zz_vault": {}}  # fmt: skip
    spec = spec_of({**SPEC, "tables": tables})
    apply(hostile.database.connect(), spec, allow=("PUBLIC_REVOKE",))
    text = everything(describe(spec, conversation_schema(hostile.database, spec), filters=True))
    for word in ("zz_secret", "zz_plan", "zz_flagged", "zz_flag", "zz_vault_id", "vault_id -> zz_vault(id)"):
        assert word in text


def test_names_are_what_postgres_reads(hostile: Hostile) -> None:
    with psycopg.connect(hostile.database.dsn(CONVERSATION), autocommit=True) as connection:
        connection.execute("SET search_path = pg_catalog, public, billing")
        for table in describe(hostile.spec, hostile.schema).tables:
            columns = ", ".join(column.name for column in table.columns)
            sql = f"SELECT {columns} FROM {table.name} LIMIT 0"
            assert connection.execute(sql.encode()).fetchall() == []
            for column in table.columns:
                connection.execute(f"SELECT NULL::{column.type}".encode())


def test_a_hostile_schema_in_words(hostile: Hostile) -> None:
    markdown = describe(hostile.spec, hostile.schema).to_markdown()
    assert section(markdown, '"order"') == [
        "What they bought.",
        "- id integer",
        "- tenant_id integer -> tenants(id)",
        '- "select" varchar(21) null',
        '- "Größe" amount null',
        "- mood \"Mood\"[] null ('fine', E'it''s \\\\ bad', E'two\\U0000000Alines')",
        "- vault_id integer null",
        "- at timestamptz(3) null",
        "Primary key: (tenant_id, id)",
    ]
    assert section(markdown, '"Line.Item"') == [
        'INSERT: tenant_id, order_id, "say ""hi"',
        "- tenant_id integer",
        "- order_id integer",
        "- n smallint",
        '- "say ""hi" text',
        "Primary key: (tenant_id, order_id, n)",
        '(tenant_id, order_id) -> "order"(tenant_id, id)',
    ]
    assert section(markdown, "totals (view)") == ["- tenant_id integer", "- n bigint"]
    assert section(markdown, "invoices")[:3] == [
        "Rows may need a who in the conversation's context.",
        "Only some of the rows may be written.",
        "UPDATE: id, tenant_id, paid_by",
    ]
    # The first of two schemas has one of this name, which is hidden: without the schema it would mean that one.
    assert section(markdown, "billing.both_") == ["- tenant_id integer null"]


def test_filters_are_the_specs_words(hostile: Hostile) -> None:
    filters = {table.name: table.filter for table in describe(hostile.spec, hostile.schema, filters=True).tables}
    assert filters['"Line.Item"'] == '(tenant_id, order_id) -> "order"(tenant_id, id)'
    assert filters["invoices"] == "tenant_id = userContext.tenantId AND paid_by = userContext.who"
    assert filters["marks"] == "tenant_id = userContext.tenantId"  # and a hidden parent, which is not said
    assert filters["flagged"] is None  # it names a hidden column
    assert filters["totals"] is None


def test_what_a_context_lacks(hostile: Hostile) -> None:
    lacking = describe(hostile.spec, hostile.schema, context={"tenantId": 714_243})
    notes = {table.name: table.notes for table in lacking.tables}
    assert "this conversation has no who" in notes["invoices"][0]
    assert notes['"order"'] == ()
    assert "714243" not in everything(lacking)
    whole = describe(hostile.spec, hostile.schema, context={"tenantId": 714_243, "who": "secret_person"})
    assert not any("this conversation has no" in note for table in whole.tables for note in table.notes)
    assert "secret_person" not in everything(whole)
    with pytest.raises(InvalidContext):
        describe(hostile.spec, hostile.schema, context={"tenant": 1})


def test_only_reading(hostile: Hostile) -> None:
    reading = describe(hostile.spec, hostile.schema, writes=False)
    assert {table.allow for table in reading.tables} == {("select",)}
    assert not any(column.writable for table in reading.tables for column in table.columns)
    assert "INSERT" not in reading.to_markdown()


def test_some_tables(hostile: Hostile) -> None:
    chosen = describe(hostile.spec, hostile.schema, tables=["billing.invoices", '"order"'])
    assert [table.name for table in chosen.tables] == ['"order"', "invoices"]  # the spec's order
    hidden = ["zz_vault", "both_", "pg_class", "pg_catalog.pg_class", "rlsgen.provision", "no_such", "Order; DROP"]
    for name in hidden:
        with pytest.raises(RlsgenError) as refused:
            describe(hostile.spec, hostile.schema, tables=[name])
        assert "zz_" not in str(refused.value).replace(name, "") + refused.value.hint
    with pytest.raises(RlsgenError) as refused:
        describe(hostile.spec, hostile.schema, tables=["invoice"])
    assert refused.value.hint == "did you mean invoices?"


def test_the_same_every_time(hostile: Hostile) -> None:
    again = conversation_schema(hostile.database, hostile.spec)
    assert everything(describe(hostile.spec, again)) == everything(describe(hostile.spec, hostile.schema))


def test_json_has_everything(hostile: Hostile) -> None:
    document = json.loads(describe(hostile.spec, hostile.schema).to_json())
    order = next(table for table in document["tables"] if table["name"] == '"order"')
    assert order["references"] == [{"columns": ["tenant_id"], "table": "tenants", "to": ["id"]}]
    assert order["columns"][0] == {
        "name": "id", "type": "integer", "nullable": False, "labels": [], "writable": [],
    }  # fmt: skip
    assert order["columns"][4]["labels"] == ["fine", "it's \\ bad", "two\nlines"]
    assert order["primary_key"] == ["tenant_id", "id"]
    assert order["rows"] == "conversation"


def test_as_another_role_nothing_is_read(place: Place) -> None:
    with place.owner() as owner, pytest.raises(ServerError, match="this is a connection of shop_owner"):
        read_schema(owner, place.spec)


def test_a_conversation_describes_without_the_database(place: Place, shop_schema: Schema) -> None:
    context = {"organisationId": 1, "userId": "user_1"}
    with ConversationPool(place.dsn, place.spec, place.key, known_holes="warn") as pool:
        conversation = pool.conversation(context)
        text = conversation.describe().to_markdown()
        assert text == describe(place.spec, shop_schema, context=context).to_markdown()
        assert "This conversation has no teamId" in text
        assert [table.name for table in conversation.describe(["orders"], filters=True).tables] == ["orders"]


NAMES = (
    "a b",
    'a"b',
    "é",
    "1st",
    "A",
    "select",
    "left",
    "between",
    "value",
    "name",
    "user",
    "a\nb",
    "a\\b\tc",
    "\u202e",
    "😀",
)


@pytest.mark.parametrize("name", [*NAMES, "$x"], ids=ascii)
def test_any_name_can_be_written(server: Server, name: str) -> None:
    """Postgres reads back what `spelled` writes, as a column and as a table, and it stands on one line."""
    assert spelled(name).isprintable()
    with server.administer() as connection:
        quoted = psycopg.sql.Identifier(name)
        connection.execute(psycopg.sql.SQL("CREATE TEMPORARY TABLE {0} ({0} integer)").format(quoted))
        cursor = connection.execute(f"SELECT {spelled(name)} FROM {spelled(name)}".encode())
        assert [column.name for column in cursor.description or ()] == [name]
