"""The guard of tests: statements of psycopg and SQLAlchemy on scoped tables need a context, as Postgres sees it.

A statement is looked at before it is sent. Its relations come from its tree; the rest is asked of the server, on the
statement's own connection: which scoped tables are under these relations (through views and partitions), whether row
security is in force there for this role, whether the conversation's policies are the ones that govern it, and whether
its transaction has a context.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, LiteralString

import psycopg
from psycopg.pq import PipelineStatus, TransactionStatus
from psycopg.rows import tuple_row

from rlsgen.identifiers import Sql, fill, join, literal
from rlsgen.spec.model import Spec
from rlsgen.testing.touched import touched

# `reader` is whose rights and policies count on a relation: under a view without security_invoker its owner's, under
# what holds rows of its own (a materialized view, a partition without row security) nobody's. What the role has no
# right to, the server refuses.
_ASK: LiteralString = """
WITH RECURSIVE me (oid) AS (SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user),
conversation (oid) AS (SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname = {conversation}),
touched (oid, reader) AS (
  SELECT pg_catalog.to_regclass(n)::pg_catalog.oid, me.oid
  FROM pg_catalog.unnest(ARRAY[{names}]::pg_catalog.text[]) AS n, me
  WHERE pg_catalog.has_any_column_privilege(pg_catalog.to_regclass(n)::pg_catalog.oid, 'SELECT, INSERT, UPDATE')
    OR pg_catalog.has_table_privilege(pg_catalog.to_regclass(n)::pg_catalog.oid, 'DELETE, TRUNCATE')
  UNION
  SELECT up.oid, up.reader
  FROM touched AS t JOIN pg_catalog.pg_class AS c ON c.oid = t.oid, LATERAL (
    SELECT d.refobjid,
      CASE WHEN c.relkind = 'm' THEN 0::pg_catalog.oid
        WHEN EXISTS (SELECT FROM pg_catalog.pg_options_to_table(c.reloptions) AS o
          WHERE CASE o.option_name WHEN 'security_invoker' THEN o.option_value::pg_catalog.bool END) THEN t.reader
        ELSE c.relowner END
      FROM pg_catalog.pg_rewrite AS r JOIN pg_catalog.pg_depend AS d
      ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid
      AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
      WHERE r.ev_class = t.oid AND r.rulename = '_RETURN' AND d.refobjid <> t.oid
    UNION ALL
    SELECT i.inhparent, CASE WHEN c.relrowsecurity THEN t.reader ELSE 0::pg_catalog.oid END
      FROM pg_catalog.pg_inherits AS i WHERE i.inhrelid = t.oid) AS up (oid, reader)
)
SELECT s.nspname, c.relname,
  CASE t.reader WHEN me.oid THEN pg_catalog.row_security_active(c.oid) WHEN 0 THEN false
    ELSE c.relrowsecurity AND (c.relforcerowsecurity OR NOT pg_catalog.pg_has_role(t.reader, c.relowner, 'USAGE'))
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.oid = t.reader AND (r.rolsuper OR r.rolbypassrls))
    END,
  EXISTS (SELECT FROM conversation AS v WHERE pg_catalog.pg_has_role(t.reader, v.oid, 'USAGE'))
    OR (c.relforcerowsecurity AND session_user = {conversation}),
  {context}, current_user::pg_catalog.text, session_user::pg_catalog.text
FROM me, touched AS t JOIN pg_catalog.pg_class AS c ON c.oid = t.oid
JOIN pg_catalog.pg_namespace AS s ON s.oid = c.relnamespace ORDER BY 1, 2"""
_LOOKED_AT = ("psycopg", "psycopg_async", "rlsgen")  # by psycopg's cursors; rlsgen's engines seal by themselves
_SHOWN = 600  # characters of a statement
_why: ContextVar[str] = ContextVar("rlsgen_unscoped", default="")


class UnscopedStatement(AssertionError):
    """A statement touched scoped tables, and nothing limited it to a tenant's rows. It was not sent."""


@contextmanager
def unscoped(why: str) -> Iterator[None]:
    """Statements of this block (in its thread or task) may touch every tenant's rows; say why.

    Raises:
        ValueError: no reason is given.
    """
    if not why.strip():
        raise ValueError('say why these statements need no context: unscoped("why")')
    before = _why.set(why)
    try:
        yield
    finally:
        _why.reset(before)


@dataclass(slots=True)
class _Watch:
    """One test's guard, and what it has seen."""

    spec: Spec
    exempt: Collection[str]
    seen: list[UnscopedStatement] = field(default_factory=list)

    def question(self, text: str) -> Sql | None:
        """What to ask the server about a statement; None if it touches nothing."""
        if _why.get():
            return None
        found = touched(text)
        if found is None:
            raise self._wrong(text, "it is nested too deeply to see which tables it touches", "")
        if not found:
            return None
        settings = ["app.rlsgen_seal"] if self.spec.seal else [each.setting for each in self.spec.context]
        present = [fill("coalesce(pg_catalog.current_setting({}, true), '') <> ''", literal(s)) for s in settings]
        return fill(
            _ASK,
            names=join(", ", [literal(name) for name in sorted(found)]),
            conversation=literal(self.spec.conversation),
            context=fill("({})", join(" OR ", present or [Sql("false")])),
        )

    def judge(self, text: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Raise if a scoped table is touched and its rows are not filtered."""
        found: dict[str, str] = {}
        for schema, name, active, governed, context, role, session in rows:
            if self._scoped(schema, name) and role not in self.exempt and session not in self.exempt:
                if not (active and governed):
                    found[f"{schema}.{name}"] = f"no filter of the spec holds there for the role {role}"
                elif not context:
                    found[f"{schema}.{name}"] = f"the transaction of {role} has no context"
        if found:
            tables = f": {', '.join(found)}"
            raise self._wrong(text, "; ".join(dict.fromkeys(found.values())), tables)

    def _scoped(self, schema: str, name: str) -> bool:
        return any(
            each.access == "scoped"
            and each.ref.name == name
            and (each.ref.schema == schema or (each.ref.schema is None and schema in self.spec.schemas))
            for each in self.spec.tables
        )

    def _wrong(self, text: str, what: str, tables: str) -> UnscopedStatement:
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
        error = UnscopedStatement(
            f"a statement touches scoped tables without a context{tables}\n{what}\n    {shown}\n"
            'ask in a conversation or with as_context; if it may read every tenant, say why: `with unscoped("why"):`, '
            '@pytest.mark.rlsgen_unscoped("why"), or the role in rlsgen_unscoped_roles'
        )
        self.seen.append(error)
        return error


@contextmanager
def watching(spec: Spec, exempt: Collection[str]) -> Iterator[list[UnscopedStatement]]:
    """Look at every statement that this process sends until the end; gives what was found, also if somebody hid it."""
    watch = _Watch(spec, exempt)
    with ExitStack() as stack:
        for owner in (psycopg.Cursor, psycopg.ServerCursor):
            for name in ("execute", "executemany", "copy", "stream"):
                _replace(stack, owner, name, _SYNC[name], watch)
        for other in (psycopg.AsyncCursor, psycopg.AsyncServerCursor):
            for name in ("execute", "executemany", "copy", "stream"):
                _replace(stack, other, name, _ASYNC[name], watch)
        if importlib.util.find_spec("sqlalchemy") is not None:
            _listen(stack, watch)
        yield watch.seen


def _replace(stack: ExitStack, owner: Any, name: str, make: Any, watch: _Watch) -> None:
    original = owner.__dict__.get(name)
    if original is not None:
        setattr(owner, name, functools.wraps(original)(make(original, watch)))
        stack.callback(setattr, owner, name, original)


# psycopg


def _text(cursor: Any, query: Any, parameters: Any) -> str:
    """The statement with its parameters in it, as far as that is needed to read it."""
    connection = cursor.connection
    if parameters is not None and not isinstance(cursor, psycopg.RawCursor | psycopg.AsyncRawCursor):
        client = psycopg.AsyncClientCursor if isinstance(connection, psycopg.AsyncConnection) else psycopg.ClientCursor
        try:
            return str(client(connection).mogrify(query, parameters))
        except (psycopg.Error, TypeError):
            pass  # parameters that do not fit: psycopg will say so when the statement is sent
    if isinstance(query, psycopg.sql.Composable):
        return query.as_string(connection)
    return query.decode(errors="replace") if isinstance(query, bytes) else str(query)


def _ready(connection: Any) -> bool:
    """Whether a statement would run; in a pipeline others may be on their way, and ours waits for them."""
    if connection.pgconn.pipeline_status != PipelineStatus.OFF:
        return bool(connection.pgconn.pipeline_status == PipelineStatus.ON)
    return connection.info.transaction_status in (TransactionStatus.IDLE, TransactionStatus.INTRANS)


def _question(watch: _Watch, cursor: Any, query: Any, parameters: Any) -> tuple[str, Sql | None]:
    if cursor.closed or not _ready(cursor.connection):
        return "", None  # the statement fails by itself
    text = _text(cursor, query, parameters)
    return text, watch.question(text)


def _check(watch: _Watch, cursor: Any, query: Any, parameters: Any) -> None:
    text, question = _question(watch, cursor, query, parameters)
    if question is not None:
        with unscoped("the guard asks"), psycopg.Cursor(cursor.connection, row_factory=tuple_row) as own:
            rows = own.execute(question.encode(), prepare=False).fetchall()
        watch.judge(text, rows)


async def _check_async(watch: _Watch, cursor: Any, query: Any, parameters: Any) -> None:
    text, question = _question(watch, cursor, query, parameters)
    if question is not None:
        with unscoped("the guard asks"):
            async with psycopg.AsyncCursor(cursor.connection, row_factory=tuple_row) as own:
                rows = await (await own.execute(question.encode(), prepare=False)).fetchall()
        watch.judge(text, rows)


def _sync_execute(original: Any, watch: _Watch) -> Any:
    def execute(self: Any, query: Any, params: Any = None, **options: Any) -> Any:
        _check(watch, self, query, params)
        return original(self, query, params, **options)

    return execute


def _sync_many(original: Any, watch: _Watch) -> Any:
    def executemany(self: Any, query: Any, params_seq: Iterable[Any], **options: Any) -> Any:
        sets = list(params_seq)
        for first in sets[:1]:
            _check(watch, self, query, first)
        return original(self, query, sets, **options)

    return executemany


def _sync_copy(original: Any, watch: _Watch) -> Any:
    @contextmanager
    def copy(self: Any, statement: Any, params: Any = None, **options: Any) -> Iterator[Any]:
        _check(watch, self, statement, params)
        with original(self, statement, params, **options) as opened:
            yield opened

    return copy


def _sync_stream(original: Any, watch: _Watch) -> Any:
    def stream(self: Any, query: Any, params: Any = None, **options: Any) -> Iterator[Any]:
        _check(watch, self, query, params)
        yield from original(self, query, params, **options)

    return stream


def _async_execute(original: Any, watch: _Watch) -> Any:
    async def execute(self: Any, query: Any, params: Any = None, **options: Any) -> Any:
        await _check_async(watch, self, query, params)
        return await original(self, query, params, **options)

    return execute


def _async_many(original: Any, watch: _Watch) -> Any:
    async def executemany(self: Any, query: Any, params_seq: Iterable[Any], **options: Any) -> Any:
        sets = list(params_seq)
        for first in sets[:1]:
            await _check_async(watch, self, query, first)
        return await original(self, query, sets, **options)

    return executemany


def _async_copy(original: Any, watch: _Watch) -> Any:
    @asynccontextmanager
    async def copy(self: Any, statement: Any, params: Any = None, **options: Any) -> AsyncIterator[Any]:
        await _check_async(watch, self, statement, params)
        async with original(self, statement, params, **options) as opened:
            yield opened

    return copy


def _async_stream(original: Any, watch: _Watch) -> Any:
    async def stream(self: Any, query: Any, params: Any = None, **options: Any) -> AsyncIterator[Any]:
        await _check_async(watch, self, query, params)
        async for row in original(self, query, params, **options):
            yield row

    return stream


_SYNC: Mapping[str, Any] = {
    "execute": _sync_execute, "executemany": _sync_many, "copy": _sync_copy, "stream": _sync_stream,
}  # fmt: skip
_ASYNC: Mapping[str, Any] = {
    "execute": _async_execute, "executemany": _async_many, "copy": _async_copy, "stream": _async_stream,
}  # fmt: skip


# SQLAlchemy on other drivers; on psycopg its statements pass above


def _listen(stack: ExitStack, watch: _Watch) -> None:
    from sqlalchemy import event  # noqa: PLC0415 - only where it is installed
    from sqlalchemy.engine import Engine  # noqa: PLC0415

    def look(connection: Any, _: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        dialect = connection.dialect
        if dialect.name != "postgresql" or dialect.driver in _LOOKED_AT:
            return
        text = plain(statement, parameters[0] if many and parameters else parameters, dialect.paramstyle)
        if (question := watch.question(text)) is not None:
            cursor = connection.connection.cursor()
            try:
                cursor.execute(str(question))
                rows = cursor.fetchall()
            finally:
                cursor.close()
            watch.judge(text, rows)

    event.listen(Engine, "before_cursor_execute", look)
    stack.callback(event.remove, Engine, "before_cursor_execute", look)


class _Nulls(dict[str, str]):
    def __missing__(self, _: str) -> str:
        return "NULL"


def plain(statement: str, parameters: Any, style: str) -> str:
    """A statement in Python's placeholders as Postgres' grammar reads it: NULL stands for each."""
    if style == "pyformat":
        return statement % (_Nulls() if isinstance(parameters, Mapping) else ("NULL",) * len(parameters))
    return statement % (("NULL",) * len(parameters)) if style == "format" else statement
