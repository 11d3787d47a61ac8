"""rlsgen verify."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rlsgen.cli.context import read_context
from rlsgen.cli.options import DEFAULT_SPEC, ConversationDsn, SigningKeyText, SpecPath
from rlsgen.cli.output import (
    Exit,
    FindingsFormat,
    examples,
    progress,
    say,
    show_exactly,
    show_table,
    write,
    write_json,
)
from rlsgen.spec.load import load_spec
from rlsgen.spec.model import Spec

# What verifies and attacks is imported when it is needed: other commands need not wait for the guard.
if TYPE_CHECKING:
    from rlsgen.proof.verify.result import VerifyResult

THOROUGH = {1: 6, 2: 60, 3: 0}
"""Tenants to compare by --thorough; 0 is all of them."""

UnrestrictedDsn = Annotated[
    str | None,
    typer.Option(
        "--dsn",
        envvar=["RLSGEN_DSN", "DATABASE_URL"],
        show_envvar=True,
        help="The database, as a role that reads every row: the owner, or one with BYPASSRLS; else PG* variables.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=examples(
            "rlsgen verify --dsn postgresql://owner@host/shop --conversation-dsn postgresql://nl_conversation@host/shop",
            "rlsgen verify --thorough 2 --time-budget 600",
            "rlsgen verify --writes --plant --format junit > verify.xml  (on a copy, or in CI)",
            "rlsgen verify --attacks ours.yaml",
        )
    )(verify)


def verify(
    conversation_dsn: ConversationDsn,
    signing_key: SigningKeyText,
    dsn: UnrestrictedDsn = None,
    spec: SpecPath = DEFAULT_SPEC,
    format: Annotated[
        FindingsFormat, typer.Option("--format", help="text for people; json; github, sarif and junit for CI.")
    ] = FindingsFormat.text,
    thorough: Annotated[
        int, typer.Option("--thorough", min=1, max=3, help="Tenants to compare: 1 is 6 of them, 2 is 60, 3 is all.")
    ] = 1,
    time_budget: Annotated[
        float | None,
        typer.Option("--time-budget", min=0.001, metavar="SECONDS", help="Stop after this; what is left is uncovered."),
    ] = None,
    statement_timeout: Annotated[
        float, typer.Option("--statement-timeout", min=0.001, metavar="SECONDS", help="Of every single statement.")
    ] = 30.0,
    writes: Annotated[
        bool, typer.Option("--writes", help="Try to write too, in transactions that are rolled back.")
    ] = False,
    plant: Annotated[
        bool, typer.Option("--plant", help="Put rows into tables that have none for two tenants, and roll back.")
    ] = False,
    attacks: Annotated[
        list[Path] | None, typer.Option("--attacks", metavar="FILE", help="Attacks of your own, repeatable.")
    ] = None,
    no_attacks: Annotated[bool, typer.Option("--no-attacks", help="Leave the attack catalogue out.")] = False,
    context_json: Annotated[
        list[str] | None,
        typer.Option("--context-json", metavar="JSON", help="A tenant to compare, as one object, repeatable."),
    ] = None,
    allow_uncovered: Annotated[
        bool, typer.Option("--allow-uncovered", help="Exit with 0 although something could not be compared.")
    ] = False,
) -> int:
    """Does isolation hold, on this database, for its tenants? Compares, and attacks. Reads only, unless told otherwise.

    Exit codes: 0 it holds, 1 failed, 3 there are leaks, or something that could not be compared.
    """
    from rlsgen.proof.attacks.catalogue import catalogue, load_attacks  # noqa: PLC0415
    from rlsgen.proof.verify import Options  # noqa: PLC0415
    from rlsgen.proof.verify import verify as run  # noqa: PLC0415
    from rlsgen.runtime.token import SigningKey  # noqa: PLC0415

    declared = load_spec(spec)
    own = [attack for path in attacks or [] for attack in load_attacks(path)]
    options = Options(
        tenants=THOROUGH[thorough], statement_seconds=statement_timeout, time_budget=time_budget, writes=writes,
        plant=plant,
    )  # fmt: skip
    with progress() as bar:
        result = run(
            declared, SigningKey.parse(signing_key), dsn, conversation_dsn, options=options,
            contexts=[read_context(declared, [], text) for text in context_json or []],
            attacks=(*(() if no_attacks else catalogue()), *own), progress=bar,
        )  # fmt: skip
    _show(result, format, declared)
    if result.leaks or (result.uncovered and not allow_uncovered and not result.failed):
        return Exit.DIFFERENCES
    return Exit.FAILED if result.failed else Exit.FINE


def _show(result: VerifyResult, format: FindingsFormat, spec: Spec) -> None:
    from rlsgen.proof import formats  # noqa: PLC0415
    from rlsgen.proof.verify.findings import RULES, cases, findings  # noqa: PLC0415

    match format:
        case FindingsFormat.json:
            write_json(result.to_json())
        case FindingsFormat.github:
            show_exactly(formats.to_github(findings(result), spec.file))
        case FindingsFormat.sarif:
            show_exactly(formats.to_sarif(findings(result), RULES, spec.file))
        case FindingsFormat.junit:
            found, rules = cases(result)
            show_exactly(formats.to_junit(found, rules, suite="rlsgen verify"))
        case FindingsFormat.text:
            _show_text(result)


def _show_text(result: VerifyResult) -> None:
    from rlsgen.cli.output import printable  # noqa: PLC0415
    from rlsgen.proof.formats import to_text  # noqa: PLC0415
    from rlsgen.proof.verify.findings import findings  # noqa: PLC0415

    rows = [
        [
            str(table.table),
            table.kind,
            table.status,
            str(len(table.tenants)),
            str(table.pairs),
            f"{table.seconds:.2f} s",
        ]
        for table in result.tables
    ]
    show_table("Tables", ["table", "kind", "status", "tenants", "pairs", "time"], rows)
    if text := to_text(findings(result)):
        write(printable(text))
    for line in _summary(result):
        say(line)


def _summary(result: VerifyResult) -> list[str]:
    statuses = Counter(table.status for table in result.tables)
    tables = ", ".join(f"{number} {status}" for status, number in statuses.items()) or "none"
    lines = [f"Tables: {tables}; {len(result.contexts)} tenants, {sum(t.pairs for t in result.tables):,} pairs."]
    if result.attacks:
        ended = Counter(attack.status for attack in result.attacks)
        lines.append(f"Attacks: {', '.join(f'{number} {status}' for status, number in ended.items())}.")
        reasons = Counter(attack.detail for attack in result.attacks if attack.status == "skipped")
        lines += [f"Skipped {number} attacks: {why}." for why, number in reasons.items()]
    if not result.snapshot:
        lines.append(
            "The two connections could not share a snapshot (a standby, or two servers): where rows change at the"
            " moment, a difference may be one of time."
        )
    if result.leaks:
        lines.append(f"{result.leaks} leaks: isolation does not hold.")
    elif result.failed:
        lines.append("No leaks, but conversations do not work as the spec says.")
    elif result.uncovered:
        lines.append("No leaks where it could be compared; not everything could.")
    else:
        lines.append(f"Isolation holds. {result.seconds:.1f} s")
    return lines
