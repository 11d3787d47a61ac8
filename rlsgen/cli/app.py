"""The application: all commands, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
from typing import Annotated

import typer

from rlsgen import __version__
from rlsgen.catalog.connect import driver_errors
from rlsgen.cli import ci, demo, describe, keys, lint, provision, query, report, revision, schema, verify
from rlsgen.cli.output import Exit, err, examples, show_error, show_usage
from rlsgen.errors import RlsgenError

app = typer.Typer(
    name="rlsgen",
    help="Declare who may see which rows; Postgres enforces it, whatever SQL a language model writes.",
    epilog=examples("rlsgen demo", "rlsgen check && rlsgen plan", "rlsgen apply"),
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
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


demo.register(app)
provision.register(app)
revision.register(app)
keys.register(app)
lint.register(app)
verify.register(app)
report.register(app)
ci.register(app)
query.register(app)
describe.register(app)
schema.register(app)


def run() -> int:
    """Run the command line and return its exit code."""
    # Whoever stops it politely gets the same clean end as Ctrl-C: a rolled-back transaction, no server left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a locale without "é" must not stop anything
    logging.getLogger("rlsgen").addHandler(logging.NullHandler())  # commands say themselves what is to be said
    logging.getLogger("psycopg").addHandler(logging.NullHandler())  # what it finds while it tidies up after Ctrl-C
    try:
        with driver_errors("go on"):
            code = app(prog_name="rlsgen", standalone_mode=False)
        sys.stdout.flush()
    except RlsgenError as error:
        return show_error(error)
    except typer.TyperException as error:
        return show_usage(error)
    except typer.Abort:
        err().print("not confirmed; nothing was changed")
        return Exit.FAILED
    except KeyboardInterrupt:
        code = Exit.INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED
    if code == Exit.INTERRUPTED:  # typer makes it of a KeyboardInterrupt
        err().print("rlsgen: interrupted")
    return code if isinstance(code, int) else Exit.FINE
