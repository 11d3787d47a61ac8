"""rlsgen demo: the sample shop on embedded Postgres, provisioned, asked and attacked."""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rlsgen.cli.options import OutputFormat
from rlsgen.cli.output import Exit, Format, err, examples, out, working, write, write_json
from rlsgen.errors import RlsgenError

if TYPE_CHECKING:
    from rlsgen.demo.server import Server
    from rlsgen.demo.tour import Answer, Shop, Tour

LINES = 4
"""Rows of an answer that the table shows."""
WIDTH = 110
"""Columns of the tables in a pipe, and at most on a terminal."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=examples(
            "rlsgen demo",
            "rlsgen demo --report report.html",
            "rlsgen demo --keep --format json > demo.json",
            "rlsgen demo --stop",
        )
    )(demo)


def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the server running; print its DSNs and the signing key.")
    ] = False,
    stop: Annotated[bool, typer.Option("--stop", help="End what --keep left running, and delete it.")] = False,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="Write what `rlsgen report` says of it: one HTML page."),
    ] = None,
    format: OutputFormat = Format.text,
) -> int:
    """See it happen on embedded Postgres: a shop, two organisations, the same questions, failing attacks, the proof."""
    if stop and (keep or report):
        raise typer.BadParameter("--stop excludes --keep and --report")
    if stop:
        return _stop()
    from rlsgen.demo.tour import make_shop, tour  # noqa: PLC0415  (--stop needs none of it)

    started = time.monotonic()
    with ExitStack() as stack:
        with working("a Postgres server, a shop, and who may see what: a few seconds"):
            server = stack.enter_context(_server(keep))
            shop = make_shop(server)
            result = tour(shop, thoroughly=report is not None)
        if report is not None:
            _report(shop, result, report)
        if format is Format.json:
            write_json(_document(shop, result))
            return Exit.FINE
        _show(result)
        out().print(
            f"\nA server, a shop, a plan, an apply and all of this took {time.monotonic() - started:.1f} seconds."
        )
        if keep:
            _show_access(server, shop, result)
    return Exit.FINE


def _report(shop: Shop, result: Tour, path: Path) -> None:
    from rlsgen.cli.report import ReportFormat, make, save  # noqa: PLC0415
    from rlsgen.demo.tour import sample_spec  # noqa: PLC0415
    from rlsgen.spec.load import load_spec  # noqa: PLC0415

    save(make(load_spec(sample_spec()), shop.owner_dsn, result.verified), ReportFormat.html, path)


def _stop() -> int:
    from rlsgen.demo import server as servers  # noqa: PLC0415  (needs no Postgres)

    stopped = servers.discard(servers.default_directory())
    err().print("the demo's server is stopped and deleted" if stopped else "no demo is there")
    return Exit.FINE


@contextmanager
def _server(keep: bool) -> Iterator[Server]:
    from rlsgen.demo import server as servers  # noqa: PLC0415

    if not keep:
        with servers.temporary_server() as server:
            yield server
        return
    directory = servers.default_directory()
    if servers.find(directory) is not None:
        raise RlsgenError("a demo is still running", hint="end it first: rlsgen demo --stop")
    servers.discard(directory)  # what a crash of the machine left
    try:
        yield servers.start(directory)
    except BaseException:
        servers.discard(directory)
        raise


def _document(shop: Shop, result: Tour) -> dict[str, object]:
    return {
        "dsn": {"owner": shop.owner_dsn, "conversation": shop.conversation_dsn},
        "signing_key": result.signing_key,
        "conversations": [
            {"context": dict(answer.context), "question": answer.question, "rows": answer.rows}
            for answer in result.answers
        ],
        "refused": [
            *({"attempt": each.attempt, "error": each.postgres} for each in result.refused if not each.open),
            *(
                {"attempt": f"{each.attempt}, through the guard", "error": each.guard}
                for each in result.refused
                if each.guard is not None
            ),
        ],
    }


def _show(result: Tour) -> None:
    changes, transactions = len(list(result.plan.steps)), len(result.plan.transactions)
    answers = {(answer.question, answer.organisation): answer for answer in result.answers}
    organisations = list(dict.fromkeys(answer.organisation for answer in result.answers))
    out().print(
        f"policies.yaml is applied: {changes} changes in {transactions} short transactions. Two customers of one shop\n"
        "ask the same questions, each in a conversation of its own: one SQL for both, without a word about who asks.\n"
    )
    table = _table("", *organisations, leading=1)
    for question in dict.fromkeys(answer.question for answer in result.answers):
        cells = (_cell(answers[question, each]) for each in organisations)
        table.add_row(Text(question, style="bold"), *cells)
    _print(table)
    out().print(
        f"\nThen {organisations[0]} turns hostile, with any SQL it likes: on a raw connection, where the database is\n"
        "alone with it, and through the conversation pool, whose guard looks at each statement before it runs:\n"
    )
    attempts = _table("It tries", "Postgres alone answers", "the guard answers", leading=0)
    for attempt in result.refused:
        statement = Padding(Text(attempt.sql, style="dim", overflow="fold"), (0, 0, 0, 2))
        alone = Text(attempt.postgres, style="yellow" if attempt.open else "green")
        guard = Text("-", style="dim") if attempt.guard is None else Text(attempt.guard, style="green")
        attempts.add_row(Group(Text(attempt.attempt), statement), alone, guard)
    _print(attempts)
    out().print(f"\nThe application notices nothing. {result.application}.")
    out().print(f"\n{_proof(result)}")
    for warning in result.warnings[:1]:
        out().print(Text(f"\nNot for production: {warning}.", style="yellow"))


def _proof(result: Tour) -> str:
    """What verify says, in short."""
    found = result.verified
    ended = Counter(attack.status for attack in found.attacks)
    left = f"; {ended['skipped']} more would write: --report tries them too" if ended["skipped"] else ""
    pairs = sum(table.pairs for table in found.tables)
    return (
        "Then the proof, as `rlsgen verify` gives it for any database. "
        f"{len(found.tables)} tables and views were compared\n"
        f"with what plain joins say, for {len(found.contexts)} tenants and {pairs} pairs of them: no foreign row. Of"
        f" {ended['blocked']} attacks none\ngot through{left}."
    )


def _table(*columns: str, leading: int) -> Table:
    return Table(
        *columns,
        box=box.SIMPLE_HEAD,
        header_style="bold cyan",
        pad_edge=False,
        show_edge=False,
        padding=(0, 2, 0, 0),
        leading=leading,
    )


def _print(table: Table) -> None:
    """The same table everywhere: as wide as a terminal allows; in a pipe of a fixed width, without trailing space."""
    console = out()
    console.width = min(console.width, WIDTH) if console.is_terminal else WIDTH
    with console.capture() as captured:
        console.print(table, soft_wrap=False)
    write("\n".join(line.rstrip() for line in captured.get().rstrip().splitlines()))


def _cell(answer: Answer) -> Text:
    """An answer for people: one row with its columns' names; of several the first few."""
    if not answer.rows:
        return Text("(none)", style="dim")
    if len(answer.rows) == 1 and len(answer.columns) > 1 and not isinstance(answer.rows[0][0], str):
        pairs = zip(answer.columns, answer.rows[0], strict=True)
        return Text(", ".join(f"{_value(value)} {column}" for column, value in pairs))
    lines = [", ".join(map(_value, row)) for row in answer.rows[:LINES]]
    more = len(answer.rows) - LINES
    return Text("\n".join([*lines, *([f"and {more} more"] if more > 0 else [])]))


def _value(value: object) -> str:
    if isinstance(value, int | Decimal):
        return f"{value:,}"
    return f"{value:%d %b %Y}" if isinstance(value, date) else str(value)


def _show_access(server: Server, shop: Shop, result: Tour) -> None:
    from rlsgen.demo.tour import sample_spec  # noqa: PLC0415

    psql, spec = shlex.quote(str(server.binaries / "psql")), shlex.quote(str(sample_spec()))
    console = out()
    console.print(Text("\nThe server stays up until `rlsgen demo --stop`. Try to break out of it:", style="bold"))
    console.print(
        # Text for a shell, not SQL of ours.
        f"""
  owner         {shop.owner_dsn}
  conversation  {shop.conversation_dsn}
  signing key   {result.signing_key}

  export RLSGEN_SIGNING_KEY={result.signing_key}
  export RLSGEN_CONVERSATION_DSN={shlex.quote(shop.conversation_dsn)}
  rlsgen query --spec {spec} -c organisationId=1 -c userId=user_1 --trace "SELECT count(*) FROM orders"
  TOKEN=$(rlsgen token --spec {spec} -c organisationId=1 -c userId=user_1)
  {psql} '{shop.conversation_dsn}' -c "BEGIN; SELECT rlsgen.set_context('$TOKEN'); SELECT count(*) FROM orders"
"""  # noqa: S608
    )
