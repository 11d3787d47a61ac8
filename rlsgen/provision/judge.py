"""Postgres judges the filters: Parse and Describe of a query over each table, which runs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import psycopg
from psycopg import pq

from rlsgen.catalog.connect import driver_errors
from rlsgen.errors import Position, Problem, ServerError
from rlsgen.identifiers import Name, Sql, fill, join
from rlsgen.provision.expression import Rewriting, type_sql
from rlsgen.provision.resolve import Resolved, Table, find, suggestion
from rlsgen.provision.soundness import soundness_problems
from rlsgen.spec.model import ContextField, FilterText, RelationRef

Connection = psycopg.Connection[Any]
TOGETHER = 100  # filters in one query, each of which locks its table as reading it would
_UNDEFINED_COLUMN, _AMBIGUOUS_COLUMN = "42703", "42702"

_FUNCTIONS = """
SELECT n.nspname, p.proname, bool_or(p.provolatile = 'v'), bool_or(p.prokind = 'a'), bool_or(p.prosecdef)
FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
WHERE p.proname = ANY (%s) AND n.nspname = ANY (%s) GROUP BY 1, 2
"""


def judge(connection: Connection, resolved: Resolved, tables: Iterable[Table], search_path: Sql) -> list[Problem]:
    """What Postgres says against the filters and checks of these tables, at its place in the file.

    Raises:
        ServerError: the connection fails.
    """
    checked = [(table, text) for table in tables for text in (table.spec.filter, table.spec.check) if text is not None]
    if not checked:
        return []
    by_function = list(_function_problems(connection, resolved, checked))
    problems = [problem for _, problem in by_function]
    fields = {field.name.lower(): field for field in resolved.spec.context}
    problems += [problem for table, text in checked for problem in soundness_problems(table, text, fields)]
    # What has been told already, Postgres would say in other words.
    told = {id(text) for text, _ in by_function}
    told |= {id(text) for _, text in checked if any(not _known(resolved, ref) for ref in text.relations)}
    with driver_errors("check the filters"):
        connection.execute(fill("SET search_path = {}", search_path), prepare=False)
    try:
        judgement = _Judgement(connection, resolved)
        asked = [(table, text) for table, text in checked if id(text) not in told]
        for start in range(0, len(asked), TOGETHER):
            problems += judgement.of_all(asked[start : start + TOGETHER])
    finally:
        with driver_errors("check the filters"):
            connection.execute("RESET search_path", prepare=False)
    return problems


def _known(resolved: Resolved, ref: RelationRef) -> bool:
    return find(resolved.spec, resolved.catalog, ref) is not None


class _Judgement:
    def __init__(self, connection: Connection, resolved: Resolved) -> None:
        self._connection = connection
        self._resolved = resolved
        self._fields = {field.name.lower(): field for field in resolved.spec.context}
        self._rewriting = Rewriting(resolved.spec.context, _null_of, resolved.name_of)

    def of_all(self, filters: Sequence[tuple[Table, FilterText]]) -> Iterator[Problem]:
        """Asked about in one query; one by one, if the server has something against that."""
        queries = [_query(table, self._rewriting.of(table.relation, text)) for table, text in filters]
        if self._prepare(join("\nUNION ALL\n", queries)) is not None:
            for table, text in filters:
                yield from self.of(table, text)

    def of(self, table: Table, text: FilterText) -> Iterator[Problem]:
        expression = self._rewriting.of(table.relation, text)
        refused = self._prepare(_query(table, expression))
        if refused is None:
            return
        column, message = self._column(table, text, refused)
        position = self._position(table, text, refused, expression)
        if column is not None:
            known = [each.name for each in table.relation.columns]
            hint = (
                suggestion(column, known)
                or f"{table.name} has: {', '.join(known[:12])}{'…' if len(known) > 12 else ''}"
            )
        else:
            hint = refused.get("hint", "") or "the filter must be one boolean expression over the table's columns"
        yield Problem(f"filter of {table.name}: {message}", position, hint)

    def _prepare(self, query: Sql) -> dict[str, str] | None:
        """What the server has against a query; None if nothing."""
        connection = self._connection.pgconn
        within = connection.transaction_status == pq.TransactionStatus.INTRANS
        if within:  # a refusal must not end the transaction that somebody else is in
            self._connection.execute("SAVEPOINT rlsgen_judge", prepare=False)
        result = connection.prepare(b"", query.encode())
        if within:
            undo = "ROLLBACK TO SAVEPOINT rlsgen_judge; RELEASE SAVEPOINT rlsgen_judge"
            self._connection.execute(undo, prepare=False)
        if result.status == pq.ExecStatus.COMMAND_OK:
            return None
        if connection.status != pq.ConnStatus.OK:
            raise ServerError("the connection was lost while filters were checked", hint="try again")
        fields = {
            "state": pq.DiagnosticField.SQLSTATE,
            "message": pq.DiagnosticField.MESSAGE_PRIMARY,
            "hint": pq.DiagnosticField.MESSAGE_HINT,
            "position": pq.DiagnosticField.STATEMENT_POSITION,
        }
        return {key: (result.error_field(field) or b"").decode(errors="replace") for key, field in fields.items()}

    def _column(self, table: Table, text: FilterText, refused: dict[str, str]) -> tuple[str | None, str]:
        message = refused["message"]
        if refused["state"] != _UNDEFINED_COLUMN:
            return None, message
        from rlsgen.provision.expression import column_names  # noqa: PLC0415

        missing = [name for name in column_names(text) if f'"{name}"' in message or f".{name} " in f"{message} "]
        return (missing[0] if missing else None), message

    def _position(self, table: Table, text: FilterText, refused: dict[str, str], expression: Sql) -> Position:
        """The place in the file: the text as it was written, context fields replaced, is parsed (not run)."""
        pieces, places = _substituted(text, self._fields)
        head = fill("SELECT 1 FROM {} WHERE (", table.name.sql)
        again = self._prepare(Sql(head + pieces + "\n)"))
        if again is None or not again["position"]:
            return text.position(len(text.text) - len(text.text.lstrip()))
        offset = int(again["position"]) - 1 - len(head)
        return text.position(places[offset] if 0 <= offset < len(places) else 0)


def _query(table: Table, condition: Sql) -> Sql:
    return fill("SELECT 1 FROM {} WHERE {}", table.name.sql, condition)


def _null_of(field: ContextField) -> Sql:
    return fill("NULL::{}", type_sql(field.type))


def _substituted(text: FilterText, fields: dict[str, ContextField]) -> tuple[str, list[int]]:
    """The text with `userContext.x` replaced by a typed NULL, and for every character the one that it came from."""
    import postgast  # noqa: PLC0415

    source = text.text.encode()
    replaced: list[tuple[int, int, str]] = []
    tokens = list(postgast.scan(text.text).tokens)
    for first, dot, second in zip(tokens, tokens[1:], tokens[2:], strict=False):
        name = source[first.start : first.end].decode().strip('"').lower()
        field = fields.get(source[second.start : second.end].decode().strip('"').lower())
        if name == "usercontext" and source[dot.start : dot.end] == b"." and field is not None:
            null = f"NULL::{field.type}"
            replaced.append((first.start, second.end, f"(({null}))" if field.array else f"({null})"))
    out, places, at = "", [], 0
    for start, end, value in [*replaced, (len(source), len(source), "")]:
        kept = source[at:start].decode()
        before = len(source[:at].decode())
        out += kept + value
        places += [before + number for number in range(len(kept))] + [before + len(kept)] * len(value)
        at = end
    return out, places


def _function_problems(
    connection: Connection, resolved: Resolved, checked: list[tuple[Table, FilterText]]
) -> Iterator[tuple[FilterText, Problem]]:
    """Functions that a filter must not call: volatile ones, whose answer a policy cannot rely on."""
    called = sorted({function for _, text in checked for function in text.functions}, key=str)
    if not called:
        return
    schemas = ["pg_catalog", *resolved.spec.schemas, *(schema for schema, _ in called if schema)]
    with driver_errors("check the functions of the filters"):
        rows = connection.execute(_FUNCTIONS, ([name for _, name in called], schemas), prepare=False).fetchall()
    known = {Name(schema, name): (volatile, aggregate, definer) for schema, name, volatile, aggregate, definer in rows}
    for table, text in checked:
        for schema, name in text.functions:
            candidates = [Name(schema, name)] if schema else [Name(each, name) for each in schemas]
            found = next((known[each] for each in candidates if each in known), None)
            if found and found[0]:
                problem = Problem(
                    f"filter of {table.name}: function {name} is volatile; a policy needs one answer per statement",
                    text.position(0),
                    "use a stable or immutable function, such as now() instead of clock_timestamp()",
                )
                yield text, problem
            elif found and found[1] and not text.relations:
                problem = Problem(
                    f"filter of {table.name}: {name} is an aggregate, and a filter looks at one row",
                    text.position(0),
                    "compare columns with context fields, or use a sub-query",
                )
                yield text, problem
