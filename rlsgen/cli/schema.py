"""rlsgen schema: the spec's JSON Schema."""

from __future__ import annotations

import json

import typer

from rlsgen.cli.output import Exit, write
from rlsgen.spec.schema import json_schema


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: rlsgen schema > policies.schema.json, and in policies.yaml: "
                "# yaml-language-server: $schema=policies.schema.json")(schema)  # fmt: skip


def schema() -> int:
    """Print the JSON Schema of policies.yaml, for editors and validators."""
    write(json.dumps(json_schema(), ensure_ascii=False, indent=2))
    return Exit.FINE
