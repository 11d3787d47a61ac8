"""rlsgen describe: what conversations may use, made for a language model's prompt."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer

from rlsgen.catalog.connect import driver_errors, open_connection
from rlsgen.cli.context import read_context
from rlsgen.cli.options import (
    CONVERSATION_SOURCE,
    DEFAULT_SPEC,
    ContextEntries,
    ContextJson,
    ConversationDsn,
    SpecPath,
)
from rlsgen.cli.output import Exit, examples, show_exactly, write_json
from rlsgen.errors import RlsgenError
from rlsgen.runtime.describe import describe
from rlsgen.runtime.schema import read_schema
from rlsgen.spec.load import load_spec


class DescriptionFormat(StrEnum):
    """How a description is printed."""

    markdown = "markdown"
    json = "json"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "describe",
        epilog=examples(
            "rlsgen describe > schema.md",
            "rlsgen describe --table orders --table order_items",
            "rlsgen describe --context organisationId=1 --context userId=user_1  (also says what this one lacks)",
            "rlsgen describe --format json",
        ),
    )(describe_)


def describe_(
    conversation_dsn: ConversationDsn,
    spec: SpecPath = DEFAULT_SPEC,
    format: Annotated[
        DescriptionFormat, typer.Option("--format", help="markdown for a prompt, json for machines.")
    ] = DescriptionFormat.markdown,
    table: Annotated[
        list[str] | None, typer.Option("--table", metavar="NAME", help="Only this table or view, repeatable.")
    ] = None,
    filters: Annotated[bool, typer.Option("--filters", help="Show each table's filter, as the spec has it.")] = False,
    context: ContextEntries = None,
    context_json: ContextJson = None,
) -> int:
    """Print the schema as conversations may see it: tables, columns, keys, prompts. Nothing that is hidden, no rows."""
    declared = load_spec(spec)
    given = read_context(declared, context or [], context_json) if context or context_json is not None else None
    with open_connection(conversation_dsn, CONVERSATION_SOURCE) as connection, driver_errors("read the schema"):
        schema = read_schema(connection, declared)
    if not schema.relations:
        raise RlsgenError("conversations may use no table of this database", hint="has the spec been applied?")
    description = describe(declared, schema, context=given, tables=table or (), filters=filters)
    if format is DescriptionFormat.json:
        write_json(asdict(description))
    else:
        show_exactly(description.to_markdown())
    return Exit.FINE
