"""rlsgen schema: the spec's JSON Schema."""

from __future__ import annotations

import typer

from rlsgen.cli.output import Exit, examples, write_json
from rlsgen.spec.schema import json_schema


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=examples(
            "rlsgen schema > policies.schema.json",
            "In policies.yaml: # yaml-language-server: $schema=policies.schema.json",
        )
    )(schema)


def schema() -> int:
    """Print the JSON Schema of policies.yaml, for editors and validators."""
    write_json(json_schema())
    return Exit.FINE
