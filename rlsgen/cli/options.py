"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlsgen.cli.output import Format
from rlsgen.provision.plan import Hazard


def _hazards(incomplete: str) -> list[tuple[str, str]]:
    return [(str(each), each.meaning) for each in Hazard if each.startswith(incomplete)]


CONVERSATION_SOURCE = "--conversation-dsn or RLSGEN_CONVERSATION_DSN"

Dsn = Annotated[
    str | None,
    typer.Option(
        "--dsn",
        envvar=["RLSGEN_DSN", "DATABASE_URL"],
        show_envvar=True,
        help="The database, as its owner: postgresql://user@host/db or 'host=… dbname=…'; else PG* variables decide.",
    ),
]
ConversationDsn = Annotated[
    str,
    typer.Option(
        "--conversation-dsn",
        envvar="RLSGEN_CONVERSATION_DSN",
        show_envvar=True,
        help="The database, as the conversation role: postgresql://nl_conversation@host/db.",
    ),
]
ContextEntries = Annotated[
    list[str] | None,
    typer.Option(
        "--context", "-c", metavar="FIELD=VALUE", help="A context field, repeatable; arrays as JSON: 'ids=[1,2]'."
    ),
]
ContextJson = Annotated[
    str | None,
    typer.Option("--context-json", metavar="JSON", help="""The context as one object: '{"organisationId": 1}'."""),
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
