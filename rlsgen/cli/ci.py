"""rlsgen ci."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rlsgen.cli.context import read_context
from rlsgen.cli.options import DEFAULT_SPEC, Allow, SpecPath
from rlsgen.cli.output import (
    Exit,
    FindingsFormat,
    err,
    examples,
    printable,
    say,
    show_exactly,
    working,
    write,
    write_json,
)
from rlsgen.cli.provision import allowed_hazards
from rlsgen.cli.verify import THOROUGH
from rlsgen.errors import RlsgenError
from rlsgen.proof.finding import Severity

# What proves is imported when it is needed: other commands need not wait for it.
if TYPE_CHECKING:
    from rlsgen.ci.run import Result

SUMMARY = "GITHUB_STEP_SUMMARY"
"""The file that GitHub shows on the page of a run."""
_MARKS = {"fine": "ok      ", "findings": "FINDINGS", "failed": "FAILED  ", "skipped": "skipped "}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=examples(
            "rlsgen ci --alembic alembic.ini --seed tests/seed.sql --base origin/main:policies.yaml",
            "rlsgen ci --sql migrations/ --format github --sarif rlsgen.sarif --junit rlsgen.xml",
            "rlsgen ci --dsn postgresql://postgres@localhost/empty --severity error",
        )
    )(ci)


def ci(
    alembic: Annotated[
        Path | None,
        typer.Option("--alembic", metavar="FILE", help="Migrate by this alembic.ini; without --sql, ./alembic.ini."),
    ] = None,
    sql: Annotated[
        list[Path] | None,
        typer.Option("--sql", metavar="PATH", help="Migrate by SQL files, or the folder that has them; repeatable."),
    ] = None,
    spec: SpecPath = DEFAULT_SPEC,
    base: Annotated[
        str,
        typer.Option("--base", help="Compare access with this spec: a file, or REVISION:PATH as git has it."),
    ] = "",
    seed: Annotated[
        list[Path] | None,
        typer.Option("--seed", metavar="FILE", help="SQL with rows of some tenants, run after the migrations."),
    ] = None,
    setup: Annotated[
        list[Path] | None,
        typer.Option("--setup", metavar="FILE", help="SQL for an administrator, run first: extensions, other roles."),
    ] = None,
    dsn: Annotated[
        str | None,
        typer.Option("--dsn", help="An empty database to use, as who makes roles; else a server that is thrown away."),
    ] = None,
    conversation_dsn: Annotated[
        str | None,
        typer.Option(
            "--conversation-dsn", envvar="RLSGEN_CONVERSATION_DSN",
            help="With --dsn, where the conversation role exists already: how it logs in.",
        ),
    ] = None,
    postgres_bin: Annotated[
        Path | None,
        typer.Option("--postgres-bin", metavar="DIR", help="Start the server from here; else embedded Postgres."),
    ] = None,
    database: Annotated[str, typer.Option("--database", help="What to call the database on that server.")] = "ci",
    x: Annotated[
        list[str] | None, typer.Option("-x", metavar="NAME=VALUE", help="For env.py, as `alembic -x`; repeatable.")
    ] = None,
    several_heads: Annotated[
        bool, typer.Option("--several-heads", help="Several heads are how these migrations are meant.")
    ] = False,
    access_only: Annotated[
        bool, typer.Option("--access-only", help="Without a database: read the spec, and compare it with --base.")
    ] = False,
    severity: Annotated[
        Severity, typer.Option("--severity", help="Leave out what lint finds less bad than this.")
    ] = Severity.warning,
    allow: Allow = None,
    allow_widened: Annotated[
        bool, typer.Option("--allow-widened", help="Report wider access, but let it through.")
    ] = False,
    allow_uncovered: Annotated[
        bool, typer.Option("--allow-uncovered", help="Let it through that something could not be compared.")
    ] = False,
    context_json: Annotated[
        list[str] | None,
        typer.Option("--context-json", metavar="JSON", help="A tenant to compare, as one object, repeatable."),
    ] = None,
    thorough: Annotated[
        int, typer.Option("--thorough", min=1, max=3, help="Tenants to compare: 1 is 6 of them, 2 is 60, 3 is all.")
    ] = 1,
    format: Annotated[
        FindingsFormat, typer.Option("--format", help="On stdout: text for people; json; github, sarif, junit for CI.")
    ] = FindingsFormat.text,
    sarif: Annotated[Path | None, typer.Option("--sarif", metavar="FILE", help="Write SARIF here too.")] = None,
    junit: Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Write JUnit's XML here too.")] = None,
    markdown: Annotated[
        Path | None,
        typer.Option("--markdown", metavar="FILE", help=f"Write a summary here too; to ${SUMMARY} it always goes."),
    ] = None,
) -> int:  # fmt: skip
    """Does this change keep tenants apart? Migrates an empty database, applies the spec, proves it, compares access.

    Without --dsn on a server of its own, which is thrown away. All hazards are allowed; with --allow, those named.

    Exit codes: 0 fine, 1 a step failed, 3 findings or wider access, 4 a hazard was not among those of --allow.
    """
    from rlsgen.ci.run import Options, run  # noqa: PLC0415
    from rlsgen.spec.load import load_spec  # noqa: PLC0415

    default = Path("alembic.ini")
    if alembic is None and not sql and not default.is_file() and not access_only:
        raise typer.BadParameter("where are the migrations? --alembic alembic.ini, or --sql migrations/")
    if alembic is not None and sql:
        raise typer.BadParameter("--alembic excludes --sql")
    options = Options(
        spec=spec, alembic=alembic or (None if sql else default), sql=tuple(sql or ()), setup=tuple(setup or ()),
        seed=tuple(seed or ()), base=base, dsn=dsn, conversation_dsn=conversation_dsn, database=database,
        binaries=postgres_bin, alembic_arguments=tuple(x or ()), several_heads=several_heads, access_only=access_only,
        severity=severity,
        allow=frozenset(allowed_hazards(allow)) if allow else None, allow_widened=allow_widened,
        allow_uncovered=allow_uncovered, tenants=THOROUGH[thorough],
        contexts=[read_context(load_spec(spec), [], each) for each in context_json or []],
    )  # fmt: skip
    result = run(options, working=_told)
    _save(result, sarif, junit, markdown)
    _show(result, format)
    exits = {"fine": Exit.FINE, "failed": Exit.FAILED, "findings": Exit.DIFFERENCES, "hazard": Exit.HAZARD}
    return exits[result.verdict]


@contextmanager
def _told(title: str) -> Iterator[None]:
    """On a terminal a sign of life; in CI's log a line for each step, so that one sees where it stands."""
    if not err().is_terminal:
        err().print(title)
    with working(title):
        yield


def _forms(result: Result, form: FindingsFormat) -> str:
    from rlsgen.ci.run import RULES  # noqa: PLC0415
    from rlsgen.proof import formats  # noqa: PLC0415

    match form:
        case FindingsFormat.github:
            return formats.to_github(result.findings, result.file)
        case FindingsFormat.sarif:
            return formats.to_sarif(result.findings, RULES, result.file)
        case FindingsFormat.junit:
            return formats.to_junit(result.findings, RULES, suite="rlsgen ci")
        case _:
            return formats.to_text(result.findings)


def _save(result: Result, sarif: Path | None, junit: Path | None, markdown: Path | None) -> None:
    from rlsgen.ci.summary import to_markdown  # noqa: PLC0415

    if sarif is not None:
        _write(sarif, _forms(result, FindingsFormat.sarif), "w")
    if junit is not None:
        _write(junit, _forms(result, FindingsFormat.junit), "w")
    if markdown is not None:
        _write(markdown, to_markdown(result), "w")
    if os.environ.get(SUMMARY):
        _write(Path(os.environ[SUMMARY]), to_markdown(result), "a")  # other steps write to it as well


def _write(path: Path, content: str, mode: str) -> None:
    try:
        with path.open(mode, encoding="utf-8") as file:
            file.write(content)
    except OSError as error:
        raise RlsgenError(f"cannot write {path}: {error.strerror}") from error


def _show(result: Result, form: FindingsFormat) -> None:
    from rlsgen.ci.changes import Direction  # noqa: PLC0415
    from rlsgen.ci.summary import document  # noqa: PLC0415

    if form is FindingsFormat.json:
        write_json(document(result))
        return
    if form is not FindingsFormat.text:
        show_exactly(_forms(result, form))
        return
    for step in result.steps.values():
        say(f"{_MARKS[step.status]} {step.title}{f': {step.detail}' if step.detail else ''}")
    if text := _forms(result, form):
        write(printable(text))
    if result.access is not None:
        say("Access: " + ", ".join(f"{result.access.count(each)} {each}" for each in Direction) + ".")
    if result.hazards:
        say(f"To allow when it is deployed: {' '.join(f'--allow {name}' for name in result.hazards)}")
    say({"fine": "Fine.", "failed": "Failed.", "findings": "Findings.", "hazard": "Refused."}[result.verdict])
