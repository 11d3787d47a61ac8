"""rlsgen report."""

from __future__ import annotations

import json
import os
import tempfile
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rlsgen.catalog.connect import open_connection
from rlsgen.catalog.read import read_catalog
from rlsgen.cli.options import DEFAULT_SPEC, SpecPath
from rlsgen.cli.output import Exit, err, examples, printable, progress, show_exactly, working
from rlsgen.cli.verify import THOROUGH, UnrestrictedDsn
from rlsgen.errors import RlsgenError
from rlsgen.spec.load import load_spec
from rlsgen.spec.model import Spec

# What lints, verifies and draws is imported when it is needed: other commands need not wait for it.
if TYPE_CHECKING:
    from rlsgen.proof.report import Report
    from rlsgen.proof.verify import Options, VerifyResult


class ReportFormat(StrEnum):
    """How a report is written."""

    html = "html"
    json = "json"
    markdown = "markdown"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=examples(
            "rlsgen report --out report.html",
            "rlsgen report --format markdown --no-verify",
            "rlsgen report --thorough 3 --time-budget 3600 --out report.html",
        )
    )(report)


def report(
    dsn: UnrestrictedDsn = None,
    conversation_dsn: Annotated[
        str | None,
        typer.Option(
            "--conversation-dsn", envvar="RLSGEN_CONVERSATION_DSN", show_envvar=True,
            help="The database, as the conversation role; not needed with --no-verify.",
        ),
    ] = None,
    signing_key: Annotated[
        str | None,
        typer.Option(
            "--signing-key", envvar="RLSGEN_SIGNING_KEY", show_envvar=True,
            help="What `rlsgen keys create` printed; not needed with --no-verify.",
        ),
    ] = None,
    spec: SpecPath = DEFAULT_SPEC,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where it goes; without it, to stdout.")
    ] = None,
    format: Annotated[
        ReportFormat, typer.Option("--format", help="html: one page that needs nothing else; json; markdown.")
    ] = ReportFormat.html,
    no_verify: Annotated[
        bool, typer.Option("--no-verify", help="Lint alone: compare nothing, attack nothing. The report says so.")
    ] = False,
    thorough: Annotated[
        int, typer.Option("--thorough", min=1, max=3, help="Tenants to compare: 1 is 6 of them, 2 is 60, 3 is all.")
    ] = 1,
    time_budget: Annotated[
        float | None,
        typer.Option("--time-budget", min=0.001, metavar="SECONDS", help="Stop verify after this; the report says so."),
    ] = None,
    writes: Annotated[
        bool, typer.Option("--writes", help="Try to write too, in transactions that are rolled back.")
    ] = False,
    plant: Annotated[
        bool, typer.Option("--plant", help="Put rows into tables that have none for two tenants, and roll back.")
    ] = False,
) -> int:  # fmt: skip
    """One page for a security reviewer: who sees what, what was tried, what was found, and what is not promised.

    Lints, verifies and attacks as `rlsgen lint` and `rlsgen verify` do. No row of any tenant is in it.

    Exit codes: 0 isolation holds, 1 failed, 3 leaks, errors, or something that could not be compared.
    """
    from rlsgen.proof.verify import Options  # noqa: PLC0415

    declared = load_spec(spec)
    options = Options(tenants=THOROUGH[thorough], time_budget=time_budget, writes=writes, plant=plant)
    if no_verify:
        made = make(declared, dsn, None)
    elif conversation_dsn is None or signing_key is None:
        what = "--conversation-dsn" if conversation_dsn is None else "--signing-key"
        raise typer.BadParameter(f"{what} is needed to compare rows; or say --no-verify")
    else:
        made = make(declared, dsn, _verified(declared, signing_key, dsn, conversation_dsn, options))
    save(made, format, out)
    return Exit.FINE if made.verdict.good or (no_verify and made.verdict.level == "unproven") else Exit.DIFFERENCES


def _verified(spec: Spec, signing_key: str, dsn: str | None, conversation_dsn: str, options: Options) -> VerifyResult:
    from rlsgen.proof.attacks.catalogue import catalogue  # noqa: PLC0415
    from rlsgen.proof.verify import verify  # noqa: PLC0415
    from rlsgen.runtime.token import SigningKey  # noqa: PLC0415

    key = SigningKey.parse(signing_key)
    with progress() as bar:
        return verify(spec, key, dsn, conversation_dsn, options=options, attacks=catalogue(), progress=bar)


def make(spec: Spec, dsn: str | None, verified: VerifyResult | None) -> Report:
    """The report of a database as it is now.

    Raises:
        ServerError: the database cannot be read.
    """
    from rlsgen.proof.attacks.catalogue import catalogue  # noqa: PLC0415
    from rlsgen.proof.lint import examine  # noqa: PLC0415
    from rlsgen.proof.report import gather  # noqa: PLC0415

    now = datetime.now(UTC)
    with open_connection(dsn) as connection, working("looking at the database"):
        catalog = read_catalog(connection, spec.conversation)
        linted = examine(connection, spec, catalog=catalog, now=now)
    return gather(spec, catalog, linted, verified, at=now, threats={each.id: each.threat for each in catalogue()})


def save(made: Report, format: ReportFormat, path: Path | None) -> None:
    """Write it, whole or not at all.

    Raises:
        RlsgenError: the file cannot be written.
    """
    if path is None:
        show_exactly(_text(made, format))
        return
    _replace(path, _text(made, format))
    err().print(printable(f"{made.verdict.headline}: {path}"))


def _text(made: Report, format: ReportFormat) -> str:
    from rlsgen.proof.report import to_html, to_markdown  # noqa: PLC0415

    match format:
        case ReportFormat.html:
            return to_html(made)
        case ReportFormat.markdown:
            return to_markdown(made)
        case ReportFormat.json:
            return json.dumps(made.to_json(), indent=1) + "\n"


def _replace(path: Path, text: str) -> None:
    """Written beside it and moved there, so that a reader never finds half a report."""
    try:
        if path.exists() and not path.is_file():  # /dev/stdout, a pipe
            path.write_text(text, "utf-8")
            return
        handle, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=".rlsgen-report-")
        try:
            with open(handle, "w", encoding="utf-8") as file:
                file.write(text)
            mask = os.umask(0)
            os.umask(mask)
            Path(name).chmod(0o666 & ~mask)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise RlsgenError(f"{path} cannot be written: {error.strerror}") from error
