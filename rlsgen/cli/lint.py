"""rlsgen lint."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from rlsgen.catalog.connect import open_connection
from rlsgen.cli.options import DEFAULT_SPEC, Dsn, SpecPath
from rlsgen.cli.output import Exit, FindingsFormat, examples, out, printable, show_exactly, working, write, write_json
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.spec.load import load_spec

# What finds and formats is imported when it is needed: other commands need not wait for dozens of rules.
_STYLES = {Severity.error: "bold red", Severity.warning: "yellow", Severity.notice: "blue"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=examples(
            "rlsgen lint",
            "rlsgen lint --severity error --format github",
            "rlsgen lint --format sarif > lint.sarif",
            "rlsgen lint --explain policy-altered",
        )
    )(lint)


def lint(
    dsn: Dsn = None,
    spec: SpecPath = DEFAULT_SPEC,
    format: Annotated[
        FindingsFormat, typer.Option("--format", help="text for people; json; github, sarif and junit for CI.")
    ] = FindingsFormat.text,
    severity: Annotated[
        Severity, typer.Option("--severity", help="Leave out what is less bad than this.")
    ] = Severity.warning,
    explain: Annotated[str | None, typer.Option("--explain", metavar="RULE", help="Say what a rule is about.")] = None,
    rules: Annotated[bool, typer.Option("--rules", help="List the rules.")] = False,
) -> int:
    """What on this database would defeat the spec? Reads the catalog in one snapshot and changes nothing.

    Exit codes: 0 no findings, 1 failed, 3 findings.
    """
    from rlsgen.proof.rules import RULES  # noqa: PLC0415

    if explain is not None or rules:
        return _explain(RULES, explain, format)
    from rlsgen.proof.lint import examine  # noqa: PLC0415

    declared = load_spec(spec)
    with open_connection(dsn) as connection, working("looking at the database"):
        result = examine(connection, declared)
    found = result.at_least(severity)
    if format is FindingsFormat.json:
        from rlsgen.proof.formats import lint_document  # noqa: PLC0415

        write_json(lint_document(found, result.ignored))
    else:
        _show(found, len(result.ignored), format, declared.file)
    return Exit.DIFFERENCES if found else Exit.FINE


def _show(found: tuple[Finding, ...], ignored: int, format: FindingsFormat, file: str) -> None:
    from rlsgen.proof import formats  # noqa: PLC0415
    from rlsgen.proof.rules import RULES  # noqa: PLC0415

    match format:
        case FindingsFormat.github:
            show_exactly(formats.to_github(found, file))
        case FindingsFormat.sarif:
            show_exactly(formats.to_sarif(found, RULES, file))
        case FindingsFormat.junit:
            show_exactly(formats.to_junit(found, RULES))
        case _ if out().is_terminal:
            _table(found)
            out().print(formats.summary(found, ignored))
        case _:
            write(printable(formats.to_text(found) + formats.summary(found, ignored)))


def _table(found: tuple[Finding, ...]) -> None:
    """A row for each finding, and under it what to do."""
    if not found:
        return
    table = Table(show_lines=True)
    table.add_column("finding")
    table.add_column("what, and what to do")
    for finding in found:
        where = f"\n{finding.position}" if finding.position else ""
        first = Text.assemble(
            (f"{finding.severity} ", _STYLES[finding.severity]),
            finding.rule,
            (f"\n{printable(finding.object)}", "bold"),
            (printable(where), "dim"),
        )
        sql = f"\n{printable(finding.sql)}" if finding.sql else ""
        second = Text.assemble(
            printable(finding.message), (f"\n{printable(finding.remedy)}", "green"), (_short(sql), "dim")
        )
        table.add_row(first, second)
    out().print(table, soft_wrap=False)


def _short(sql: str, most: int = 400) -> str:
    return sql if len(sql) <= most else f"{sql[:most]}… (all of it: --format json)"


def _explain(rules: tuple[Rule, ...], wanted: str | None, format: FindingsFormat) -> int:
    from rlsgen.proof.manual import explanation  # noqa: PLC0415
    from rlsgen.spec.validation import suggest  # noqa: PLC0415

    found = [rule for rule in rules if wanted in (None, rule.id)]
    if not found:
        near = suggest(str(wanted), [rule.id for rule in rules], "--rules shows all of them")
        raise typer.BadParameter(f"--explain {wanted}: no such rule; {near}")
    if format is FindingsFormat.json:
        keys = ("id", "severity", "title", "explanation")
        write_json({"rules": [{key: str(getattr(rule, key)) for key in keys} for rule in found]})
    elif wanted is not None:
        write(explanation(found[0]))
    else:
        write("\n".join(f"{rule.id:28}{rule.severity:9}{rule.title}" for rule in found))
    return Exit.FINE
