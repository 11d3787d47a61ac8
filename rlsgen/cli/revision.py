"""rlsgen revision: isolation as an Alembic revision, for those without autogenerate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlsgen.cli.options import Allow
from rlsgen.cli.output import Exit, examples, say
from rlsgen.cli.provision import allowed_hazards
from rlsgen.errors import RlsgenError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=examples(
            "rlsgen revision -m 'orders are scoped'",
            "rlsgen revision --into head  (adds its part to the revision that you have just written)",
            "rlsgen revision -m merge --head heads",
        )
    )(revision)


def revision(
    message: Annotated[str | None, typer.Option("--message", "-m", help="What the new revision is about.")] = None,
    into: Annotated[
        str | None,
        typer.Option("--into", metavar="REVISION", help="Write into this revision, which is not applied yet."),
    ] = None,
    config: Annotated[Path, typer.Option("--config", "-c", help="Alembic's configuration.")] = Path("alembic.ini"),
    name: Annotated[str, typer.Option("--name", "-n", help="The section of it.")] = "alembic",
    x: Annotated[list[str] | None, typer.Option("-x", metavar="KEY=VALUE", help="For env.py, repeatable.")] = None,
    spec: Annotated[
        Path | None, typer.Option("--spec", envvar="RLSGEN_SPEC", help="The spec; else what the project says.")
    ] = None,
    allow: Allow = None,
    head: Annotated[str, typer.Option(help="What it comes after; `heads` merges branches.")] = "head",
    splice: Annotated[bool, typer.Option("--splice", help="Allow a --head that is none.")] = False,
    branch_label: Annotated[str | None, typer.Option(help="A label for its branch.")] = None,
    version_path: Annotated[str | None, typer.Option(help="The directory for its file.")] = None,
    rev_id: Annotated[str | None, typer.Option(help="Its identifier.")] = None,
    depends_on: Annotated[list[str] | None, typer.Option(help="Revisions it depends on, repeatable.")] = None,
) -> int:
    """Write a revision that brings the database to what the spec says: frozen operations, with their reverse.

    The database is the one of the project's env.py. It is not changed.

    Exit codes: 0 written, or nothing to do, 1 failed, 4 a hazard was not allowed.
    """
    try:
        from rlsgen.migrations import revision as revisions  # noqa: PLC0415 - an extra
    except ImportError as error:
        if not (error.name or "").startswith(("alembic", "sqlalchemy")):
            raise
        raise RlsgenError("this needs Alembic", hint="pip install 'rlsgen[alembic]'") from error
    settings = revisions.configuration(config, name, x or ())
    hazards = frozenset(allowed_hazards(allow))
    if into is not None:
        written = revisions.fill_revision(settings, into, spec, hazards)
    else:
        wish = revisions.Wish(
            message, head, splice, branch_label, version_path, rev_id, tuple(depends_on or ()), spec, hazards
        )
        written = revisions.make_revision(settings, wish)
    say(f"Wrote {written}" if written else "No changes: the database is as the spec says.")
    return Exit.FINE
