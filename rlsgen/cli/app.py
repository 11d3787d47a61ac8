"""The application: all commands, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import os
import signal
import sys
from typing import Annotated

import typer

from rlsgen import __version__
from rlsgen.cli import demo, keys, provision, schema
from rlsgen.cli.output import Exit, err, show_error
from rlsgen.errors import RlsgenError

app = typer.Typer(
    name="rlsgen",
    help="Declare who may see which rows; Postgres enforces it, whatever SQL a language model writes.",
    epilog="Start with: rlsgen demo. On your own database: rlsgen check, rlsgen plan, rlsgen apply.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rlsgen {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    pass


demo.register(app)
provision.register(app)
keys.register(app)
schema.register(app)


def run() -> int:
    """Run the command line and return its exit code."""
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except RlsgenError as error:
        return show_error(error)
    except typer.Exit as exit_:
        return exit_.exit_code
    except (typer.Abort, KeyboardInterrupt):
        err().print("interrupted; what was committed stands, and `rlsgen plan` shows what is left")
        return 128 + signal.SIGINT
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED
    except _usage_errors() as error:
        error.show()
        return int(error.exit_code)
    return code if isinstance(code, int) else Exit.FINE


def _usage_errors() -> type:
    from click import ClickException  # noqa: PLC0415

    return ClickException
