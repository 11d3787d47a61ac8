"""rlsgen query: one statement in one conversation, as the language layer would run it."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from rlsgen.catalog.connect import read_dsn
from rlsgen.cli.context import read_context
from rlsgen.cli.options import (
    DEFAULT_SPEC,
    ContextEntries,
    ContextJson,
    ConversationDsn,
    SigningKeyText,
    SpecPath,
)
from rlsgen.cli.output import Exit, err, examples, out, printable, say, show_statement_error, write, write_json
from rlsgen.cli.trace import show_trace, trace_document
from rlsgen.cli.values import json_value, text_value
from rlsgen.errors import StatementError
from rlsgen.spec.load import load_spec

if TYPE_CHECKING:
    from rlsgen.runtime.health import Health
    from rlsgen.runtime.result import Result
    from rlsgen.runtime.trace import Trace

_NUMBERS = ("smallint", "integer", "bigint", "numeric", "real", "double precision")
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


class ResultFormat(StrEnum):
    """How a result is printed."""

    text = "text"
    json = "json"
    csv = "csv"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=examples(
            'rlsgen query --context organisationId=1 --context userId=ann "SELECT count(*) FROM orders"',
            'rlsgen query -c organisationId=1 -c userId=ann --trace "SELECT sum(total) FROM orders"',
            'rlsgen query --context-json \'{"organisationId": 1, "userId": "ann"}\' --format csv - < report.sql',
            "rlsgen query -c organisationId=1 -c userId=ann --param 43 'SELECT * FROM orders WHERE id = $1'",
        )
    )(query)


def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One statement; - reads it from stdin.")],
    conversation_dsn: ConversationDsn,
    signing_key: SigningKeyText,
    context: ContextEntries = None,
    context_json: ContextJson = None,
    spec: SpecPath = DEFAULT_SPEC,
    format: Annotated[
        ResultFormat, typer.Option("--format", help="text for people, json and csv for machines.")
    ] = ResultFormat.text,
    param: Annotated[
        list[str] | None, typer.Option("--param", "-p", help="The value of $1, then $2...; as text, in order.")
    ] = None,
    trace: Annotated[
        bool,
        typer.Option("--trace", help="Show which filter applied to which table, and what Postgres' plan did with it."),
    ] = False,
    analyze: Annotated[
        bool, typer.Option("--analyze", help="As --trace, with the numbers of a second run of the statement.")
    ] = False,
    no_twins: Annotated[
        bool, typer.Option("--no-twins", help="Do not tell the planner the context's values; to compare plans.")
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout", min=0.001, metavar="SECONDS", help="Cancel it after so long; else the spec's limit decides."
        ),
    ] = None,
) -> int:
    """Run one statement as a conversation would: guarded, in its context, within the limits of the spec."""
    from rlsgen.runtime.pool import ConversationPool  # noqa: PLC0415  (no other command needs it)

    if format is ResultFormat.csv and (trace or analyze):
        raise typer.BadParameter("a trace is no CSV: use --format text or json")
    declared = load_spec(spec)
    given = read_context(declared, context or [], context_json)
    text = sys.stdin.read() if sql == "-" else sql
    limits = declared.limits if timeout is None else replace(declared.limits, seconds=timeout)
    plan = None
    try:
        with (
            # Who types the statement is no hostile customer: a hole of the server is told, and does not stop it.
            ConversationPool(
                read_dsn(conversation_dsn), declared, signing_key,
                max_size=1, twins=not no_twins, limits=limits, known_holes="warn",
            ) as pool,
            pool.conversation(given, user="rlsgen query") as conversation,
        ):  # fmt: skip
            _show_warnings(pool.health())
            result = conversation.query(text, param or [])
            if trace or analyze:
                plan = conversation.explain(text, param or [], analyze=analyze)
    except StatementError as error:
        return show_statement_error(error, text)
    _show(result, plan, format)
    return Exit.FINE


def _show_warnings(health: Health) -> None:
    for warning in health.warnings:
        err().print(Text(f"warning: {printable(warning.message)}; {warning.hint}".rstrip("; "), style="yellow"))


def _show(result: Result, plan: Trace | None, format: ResultFormat) -> None:
    match format:
        case ResultFormat.json:
            write_json(_document(result, plan))
        case ResultFormat.csv:
            _write_csv(result)
        case ResultFormat.text:
            _show_rows(result)
            if plan is not None:
                show_trace(plan)
    if result.truncated:
        err().print(
            Text(f"cut after {len(result.rows):,} rows by the limits of the spec: there are more", style="yellow")
        )


def _document(result: Result, plan: Trace | None) -> dict[str, object]:
    document: dict[str, object] = {
        "columns": [{"name": column.name, "type": column.type} for column in result.columns],
        "rows": [[json_value(value) for value in row] for row in result.rows],
        "filters": [{"relation": str(each.relation), "filter": each.filter} for each in result.filters],
        "truncated": result.truncated,
        "command": result.command,
        "row_count": result.row_count,
        "elapsed_ms": round(result.elapsed * 1000, 3),
    }
    return document if plan is None else {**document, "trace": trace_document(plan)}


def _write_csv(result: Result) -> None:
    """With a header; NULL is an empty field, as an empty text is."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([column.name for column in result.columns])
    writer.writerows([[text_value(value) for value in row] for row in result.rows])


def _show_rows(result: Result) -> None:
    """A table on a terminal; in a pipe lines as COPY writes them, under a line of names."""
    console = out()
    if not result.columns:
        say(f"{result.command}: {result.row_count:,} row{'' if result.row_count == 1 else 's'}")
        return
    if not console.is_terminal:
        write("\t".join(printable(column.name.translate(_ESCAPES)) for column in result.columns))
        for row in result.rows:
            write("\t".join(_plain(value) for value in row))
        return
    table = Table(header_style="bold")
    for column in result.columns:
        right = column.type.partition("(")[0] in _NUMBERS
        table.add_column(Text(printable(column.name)), justify="right" if right else "left")
    for row in result.rows:
        table.add_row(*_cells(row))
    console.print(table, soft_wrap=False)
    count = f"{len(result.rows):,} row{'' if len(result.rows) == 1 else 's'} in {result.elapsed * 1000:,.0f} ms"
    err().print(Text("; ".join([count, *(f"{each.relation}: {each.filter}" for each in result.filters)]), style="dim"))


def _cells(row: tuple[object, ...]) -> Iterator[Text]:
    for value in row:
        shown = text_value(value)
        yield Text("NULL", style="dim") if shown is None else Text(printable(shown))


def _plain(value: object) -> str:
    shown = text_value(value)
    return "\\N" if shown is None else printable(shown.translate(_ESCAPES))
