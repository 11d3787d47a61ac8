"""Tables without rows, compared on rows that are planted and rolled back.

A conversation's own session does not see rows that are not committed, and nothing is committed here. So one session
does both: the unrestricted role plants rows for two tenants, then becomes the conversation role with SET LOCAL ROLE,
takes a context and looks; ROLLBACK. Where it may not become that role, or rows cannot be made up, the table stays
uncovered.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence

import psycopg

from rlsgen.catalog.model import Column
from rlsgen.identifiers import Name, Sql, fill, identifier, identifiers, join, literal
from rlsgen.proof.verify.pairs import MEND, Subject
from rlsgen.proof.verify.sides import Context, SideError, Stage
from rlsgen.proof.verify.tenants import compared
from rlsgen.proof.verify.truth import Truth, spelled
from rlsgen.provision.resolve import Resolved, Table
from rlsgen.runtime.token import mint

_Row = Mapping[str, str | None]
_PLAIN: Mapping[str, str] = {
    "boolean": "false", "date": "2000-01-01", "timestamp with time zone": "2000-01-01 00:00:00+00",
    "timestamp without time zone": "2000-01-01 00:00:00", "time without time zone": "00:00", "interval": "0",
    "json": "{}", "jsonb": "{}", "bytea": "\\x00", "inet": "127.0.0.1", "cidr": "127.0.0.0/8",
}  # fmt: skip
_NUMBERS = frozenset({"smallint", "integer", "bigint", "numeric", "real", "double precision"})
_TEXTS = frozenset({"text", "character varying", "bpchar", "name"})


class _CannotPlant(Exception):
    """Why there can be no rows, for people."""


class Planter:
    """Plants rows for two tenants, looks as one of them, and rolls back."""

    def __init__(self, stage: Stage, resolved: Resolved) -> None:
        self._stage, self._resolved, self._truth = stage, resolved, Truth(resolved)
        self._side = stage.truth
        self._number = 30_000  # of made-up values: fits smallint, and is unlikely to be taken

    def plant(self, subject: Subject, contexts: Sequence[Context]) -> None:
        """Compare a table on planted rows; what goes wrong is noted.

        Raises:
            ServerError: the connection was lost.
            TimeIsUp: the time budget is spent.
        """
        started = time.monotonic()
        table = self._resolved.tables[subject.name]
        try:
            one, other = self._two(table, contexts)
            for context, stranger in ((one, other), (other, one)):
                self._under(subject, table, context, stranger)
        except _CannotPlant as reason:
            subject.note("uncovered", f"it has no rows for two tenants, and none could be planted: {reason}")
        except SideError as error:
            message = f"it has no rows for two tenants, and planting failed with SQLSTATE {error.state}"
            subject.note("uncovered", message)
        finally:
            self._side.rollback()
        subject.seconds += time.monotonic() - started

    def _two(self, table: Table, contexts: Sequence[Context]) -> tuple[Context, Context]:
        """Two tenants who differ in everything that decides about this table, if there are two."""
        fields = {field.name for field, _ in compared(table, self._resolved.spec)}
        for one in contexts:
            for other in contexts:
                known = fields <= one.keys() & other.keys() and one != other
                if known and all(one[name] != other[name] for name in fields):
                    return one, other
        raise _CannotPlant("no two tenants differ in the fields that its filter uses")

    def _under(self, subject: Subject, table: Table, context: Context, stranger: Context) -> None:
        self._begin()
        planted: dict[tuple[Name, int], _Row] = {}
        for owner in (context, stranger):
            self._planted(table, owner, planted)
        assert subject.query is not None  # noqa: S101 - only those with one come here
        true = self._side.digest(fill("({})", subject.query.sql), subject.key, subject.query.values(context))
        everything = self._side.digest(subject.name.sql, subject.key)
        if not true.count or everything == true:
            raise _CannotPlant("what was planted does not belong to one tenant alone")
        self._become(context)
        seen = self._side.digest(subject.name.sql, subject.key)
        self._side.rollback()
        if seen != true:
            if seen.count < true.count:
                subject.note("failed", f"a tenant does not see {true.count - seen.count} of its planted rows", MEND)
            else:
                subject.note("leak", "a tenant sees planted rows of another", MEND)
        subject.tenants.append(context)
        subject.digests.append(true)
        subject.rows, subject.foreign, subject.planted = max(subject.rows, true.count), True, True

    def _begin(self) -> None:
        conversation = self._resolved.spec.conversation
        try:
            self._side.begin(Sql("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"))
            with self._side.connection.transaction():
                self._side.connection.execute(fill("SET LOCAL ROLE {}", identifier(conversation)).encode())
        except psycopg.errors.InsufficientPrivilege as error:
            message = f"{self._side.connection.info.user} may not SET ROLE {conversation}"
            raise _CannotPlant(message) from error
        self._side.connection.execute("RESET ROLE")
        try:
            with self._side.connection.transaction():
                # No triggers, and no foreign keys that would want a world of rows around a planted one.
                self._side.connection.execute("SET LOCAL session_replication_role = replica")
        except psycopg.errors.InsufficientPrivilege:
            pass  # not a superuser: triggers run and foreign keys hold, as for every INSERT

    def _become(self, context: Context) -> None:
        side, spec = self._side, self._resolved.spec
        try:
            side.connection.execute(fill("SET LOCAL ROLE {}", identifier(spec.conversation)).encode())
            side.connection.execute("SET LOCAL row_security = on")
            token = mint(self._stage.talk.key, spec.context, context)
            side.connection.execute("SELECT rlsgen.set_context(%s)", [token])
        except psycopg.Error as error:
            raise side.failed(error) from error

    # Making rows up

    def _planted(self, table: Table, context: Context, planted: dict[tuple[Name, int], _Row]) -> _Row:
        """A row of this table that belongs to this tenant: planted with what it follows, where that is not there."""
        place = (table.name, id(context))
        if place in planted:
            return planted[place]
        values = self._deciding(table, context, planted)
        if any(column.generated for column in table.relation.columns if column.name in values):
            raise _CannotPlant("a column that decides whose a row is is generated")
        for column in table.relation.columns:
            filled = column.default or column.identity or column.generated or column.sequence
            if column.name not in values and column.not_null and not filled:
                values[column.name] = self._made_up(column)
        planted[place] = self._inserted(table, values)
        return planted[place]

    def _deciding(self, table: Table, context: Context, planted: dict[tuple[Name, int], _Row]) -> dict[str, Sql]:
        """What makes a row this tenant's: the columns of its paths, and those that its filter compares with fields."""
        values = dict[str, Sql]()
        for path in table.paths:
            if path.parent != table.name:
                parent = self._parent(self._resolved.tables[path.parent], context, planted)
                for column, theirs in zip(path.columns, path.parent_columns, strict=True):
                    values[column.name] = literal(parent[theirs.name])
        for field, column in compared(table, self._resolved.spec):
            value = context.get(field.name)
            if field.array and not column.element and isinstance(value, list | tuple):
                value = value[0] if value else None
            elif column.element and not field.array and value is not None:
                value = [value]
            values.setdefault(column.name, literal(spelled(value)))
        return values

    def _parent(self, parent: Table, context: Context, planted: dict[tuple[Name, int], _Row]) -> _Row:
        query = self._truth.rows(parent.name)
        columns = [column.name for column in parent.relation.columns]
        texts = join(", ", [fill("t.{}::text", identifier(name)) for name in columns])
        rows = self._side.ask(fill("SELECT {} FROM ({}) AS t LIMIT 1", texts, query.sql), query.values(context))
        return dict(zip(columns, rows[0], strict=True)) if rows else self._planted(parent, context, planted)

    def _inserted(self, table: Table, values: Mapping[str, Sql]) -> _Row:
        columns = [column.name for column in table.relation.columns]
        texts = join(", ", [fill("{}::text", identifier(name)) for name in columns])
        what = Sql("DEFAULT VALUES")
        if values:
            what = fill("({}) VALUES ({})", identifiers(values), join(", ", values.values()))
        row = self._side.ask(fill("INSERT INTO {} {} RETURNING {}", table.name.sql, what, texts))[0]
        return dict(zip(columns, row, strict=True))

    def _made_up(self, column: Column) -> Sql:
        self._number += 1
        if column.kind == "enum":
            return fill("enum_first(NULL::{})", Sql(column.base))  # the catalog's own spelling of the type
        if column.element:
            return literal("{}")
        if column.base in _NUMBERS:
            return literal(str(self._number))
        if column.base in _TEXTS:
            length = column.type.rpartition("(")[2].rstrip(")")
            return literal(f"{self._number}"[-int(length) :] if length.isdigit() else f"rlsgen {self._number}")
        return literal(str(uuid.uuid4()) if column.base == "uuid" else _PLAIN.get(column.base, ""))
