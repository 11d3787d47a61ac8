"""A database with one of everything that a catalog can hold; the names of its roles differ from run to run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, LiteralString

import psycopg
import pytest

from rlsgen.identifiers import Name, Sql, fill, identifier, literal
from tests.support.postgres import Database, Databases, Roles, Server

HOSTILE = Name('Odd "Schema".x', "Ta.ble \n\"É\\' ; DROP TABLE t; -- %s {}")
HOSTILE_COLUMN = 'a\t"b".c\n😀'
HOSTILE_POLICY = 'p"o.l\nı'
HOSTILE_INDEX = 'i"x.\n'


@dataclass(frozen=True, slots=True)
class Shapes:
    """The database, and the roles that have to do with it."""

    database: Database
    owner: str
    conversation: str
    reader: str
    group: str  # with a hostile name
    parent: str  # a group of groups

    def run(self, connection: psycopg.Connection[Any], script: LiteralString) -> None:
        """Run a script with the names of this database's roles in it."""
        before_16 = connection.info.server_version < 160000
        named = {
            "owner": identifier(self.owner),
            "conversation": identifier(self.conversation),
            "reader": identifier(self.reader),
            "group": identifier(self.group),
            "parent": identifier(self.parent),
            "database": identifier(self.database.name),
            "conninfo": literal(self.database.dsn()),
            "hostile": HOSTILE.sql,
            "hostile_schema": identifier(HOSTILE.schema),
            "hostile_column": identifier(HOSTILE_COLUMN),
            "hostile_policy": identifier(HOSTILE_POLICY),
            "hostile_index": identifier(HOSTILE_INDEX),
            "without_inherit": Sql("" if before_16 else "WITH INHERIT FALSE, SET FALSE"),
        }
        connection.execute(fill(script, **named).encode())


@contextmanager
def build(server: Server, prefix: str) -> Iterator[Shapes]:
    """Make the database, and drop it with its roles at the end."""
    roles, databases = Roles(server, f"{prefix}_role"), Databases(server, f"{prefix}_database")
    try:
        owner, conversation, reader = roles(), roles(), roles("LOGIN NOINHERIT")
        group, parent = roles("NOLOGIN", name=f'{prefix} "Group", É\n=r/x'), roles("NOLOGIN")
        shapes = Shapes(databases(owner=owner), owner, conversation, reader, group, parent)
        for name, user in (("before", server.superuser), ("owner", owner), ("after", server.superuser)):
            script = files("tests.catalog").joinpath(f"shapes_{name}.sql").read_text(encoding="utf-8")
            shapes.run(shapes.database.connect(user), script)
        with pytest.raises(psycopg.errors.UniqueViolation):  # which leaves an invalid index behind
            shapes.database.connect(owner).execute("CREATE UNIQUE INDEX CONCURRENTLY broken ON indexed (twice)")
        yield shapes
        shapes.database.connect(server.superuser).execute("DROP SUBSCRIPTION sub")
    finally:
        databases.drop()
        roles.drop()
