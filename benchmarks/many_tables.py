"""Databases of any number of tables, each with a key, two indexes and foreign keys, and the spec that fits them.

Tables come in tens, which together have every kind of entry that a spec knows. Nothing is random: the same number of
tables gives the same database and the same spec.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, LiteralString

import psycopg

from rlsgen.demo.shop import APPLICATION, CONVERSATION, OWNER
from rlsgen.identifiers import Sql, fill, identifier, join, literal

PARTITIONS = 3
"""Of each partitioned table, which is one in ten; they come on top of the number of tables."""

_COLUMNS: LiteralString = """
    id bigint GENERATED ALWAYS AS IDENTITY,
    organisation_id integer NOT NULL REFERENCES organisations (id),
    team_id integer,
    user_id text NOT NULL,
    parent_id bigint,
    code varchar(21) NOT NULL,
    name text NOT NULL,
    status text NOT NULL DEFAULT 'open',
    amount numeric(12, 2) NOT NULL DEFAULT 0,
    archived boolean NOT NULL DEFAULT false,
    details jsonb,
    created_at timestamptz NOT NULL DEFAULT now()"""

# What the spec says of the tables of a ten, by their place in it.
_ENTRIES: tuple[LiteralString, ...] = (
    "{{access: hidden, filter: organisation_id = userContext.organisationId}}",
    "{{through: parent_id -> {parent}(id)}}",  # the parent is hidden: by a function
    "{{through: parent_id -> {parent}(id), filter: not archived}}",
    "{{}}",
    "{{columns: {{hide: [details]}}}}",
    "{{}}",  # partitioned
    "{{filter: organisation_id = userContext.organisationId AND team_id = userContext.teamId}}",
    "{name}.user_id = userContext.userId AND NOT {name}.archived",  # names the table: no two of these are equal
    "{{allow: [select, insert, update, delete], check: organisation_id = userContext.organisationId AND NOT archived}}",
    "{{access: shared, why: the same for everyone}}",
)
_PATHS = (1, 2)
_PARTITIONED = 5


def table_name(number: int) -> str:
    """Of the table of that number, counted from 0."""
    return f"table_{number:05}"


def create_tables(connection: psycopg.Connection[Any], tables: int) -> None:
    """Make the tables in an empty database, as its owner, in one short transaction each."""
    connection.execute(b"CREATE TABLE organisations (id integer PRIMARY KEY, name text NOT NULL)")
    for number in range(tables - 1):
        connection.execute(join(";\n", list(_statements(number))).encode(), prepare=False)


def _statements(number: int) -> Iterator[Sql]:
    name, parent = identifier(table_name(number)), identifier(table_name(number - 1))
    partitioned = number % len(_ENTRIES) == _PARTITIONED
    key = Sql("PRIMARY KEY (id, created_at)" if partitioned else "PRIMARY KEY (id)")
    kind = Sql(" PARTITION BY RANGE (created_at)" if partitioned else "")
    foreign = Sql("")
    if number % len(_ENTRIES) in _PATHS:
        foreign = fill(",\n    FOREIGN KEY (parent_id) REFERENCES {} (id)", parent)
    yield fill("CREATE TABLE {} (" + _COLUMNS + ",\n    {}{}\n){}", name, key, foreign, kind)
    yield fill("CREATE INDEX ON {} (organisation_id, created_at)", name)
    yield fill("CREATE INDEX ON {} ({})", name, Sql("parent_id" if foreign else "user_id, created_at"))
    if partitioned:
        for part in range(PARTITIONS):
            bounds = [literal(f"{2024 + part + more}-01-01") for more in range(2)]
            child = identifier(f"{table_name(number)}_{part}")
            yield fill("CREATE TABLE {} PARTITION OF {} FOR VALUES FROM ({}) TO ({})", child, name, *bounds)


def spec_text(tables: int) -> str:
    """The `policies.yaml` that declares all of them."""
    entries = [f"  {name}: {entry}\n" for name, entry in _entries(tables)]
    return f"""version: 1
context:
  organisationId: {{type: integer, minimum: 1}}
  teamId: {{type: integer, required: false}}
  userId: {{type: text, pattern: "[A-Za-z0-9_.@-]{{1,128}}"}}
roles:
  conversation: {CONVERSATION}
  unrestricted: [{OWNER}, {APPLICATION}]
schemas: [public]
default_filter: organisation_id = userContext.organisationId
tables:
{"".join(entries)}"""


def _entries(tables: int) -> Iterator[tuple[str, str]]:
    yield "organisations", "id = userContext.organisationId"
    for number in range(tables - 1):
        entry = _ENTRIES[number % len(_ENTRIES)]
        yield table_name(number), entry.format(name=table_name(number), parent=table_name(number - 1))
