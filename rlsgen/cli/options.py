"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlsgen.cli.output import Format
from rlsgen.provision.plan import Hazard


def _hazards(incomplete: str) -> list[tuple[str, str]]:
    return [(str(each), each.meaning) for each in Hazard if each.startswith(incomplete)]


Dsn = Annotated[
    str | None,
    typer.Option(
        "--dsn",
        envvar=["RLSGEN_DSN", "DATABASE_URL"],
        show_envvar=True,
        help="The database, as its owner: postgresql://user@host/db or 'host=… dbname=…'; else PG* variables decide.",
    ),
]
SpecPath = Annotated[
    Path,
    typer.Option("--spec", help="The tenant-scoping spec.", dir_okay=True, envvar="RLSGEN_SPEC", show_default=True),
]
OutputFormat = Annotated[Format, typer.Option("--format", help="text for people, json for machines.")]
SigningKeyText = Annotated[
    str,
    typer.Option(
        "--signing-key",
        envvar="RLSGEN_SIGNING_KEY",
        show_envvar=True,
        help="What `rlsgen keys create` printed. Better in the variable: other users can see command lines.",
    ),
]
Allow = Annotated[
    list[str] | None,
    typer.Option(
        "--allow",
        metavar="HAZARD",
        autocompletion=_hazards,
        help=f"Allow a hazard by name, repeatable: {', '.join(Hazard)}.",
    ),
]
LockTimeout = Annotated[
    float,
    typer.Option("--lock-timeout", min=0.001, help="Seconds to wait for a lock before giving way and trying again."),
]
DEFAULT_SPEC = Path("policies.yaml")
