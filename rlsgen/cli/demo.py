"""rlsgen demo: the sample shop on embedded Postgres, provisioned, asked and attacked."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from rlsgen.cli.options import OutputFormat
from rlsgen.cli.output import Exit, Format, err, out, write
from rlsgen.errors import RlsgenError

if TYPE_CHECKING:
    from rlsgen.demo.server import Server
    from rlsgen.demo.tour import Shop, Tour


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Examples: rlsgen demo · rlsgen demo --keep --format json · rlsgen demo --stop")(demo)


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the server running; print its DSNs and the signing key.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="End what --keep left running, and delete it.")] = False,
    format: OutputFormat = Format.text,  # noqa: A002
) -> int:
    """See it happen: a sample shop on embedded Postgres, two organisations, the same questions, and attacks that fail."""
    from rlsgen.demo import server as servers  # noqa: PLC0415  (needs rlsgen[demo])
    from rlsgen.demo.tour import make_shop, tour  # noqa: PLC0415

    if stop:
        found = servers.find(servers.default_directory())
        if found is None:
            err().print("no demo is running")
            return Exit.FINE
        found.remove()
        err().print("the demo's server is stopped and deleted")
        return Exit.FINE
    started = time.monotonic()
    quiet = format is Format.json
    with _server(keep) as server:
        shop = make_shop(server)
        result = tour(shop, lambda text: None if quiet else err().print(f"… {text}"))
        if quiet:
            write(_document(shop, result))
        else:
            _show(result, time.monotonic() - started)
            if keep:
                _show_access(shop, result)
    return Exit.FINE


@contextmanager
def _server(keep: bool) -> Iterator[Server]:
    from rlsgen.demo import server as servers  # noqa: PLC0415

    if keep:
        if servers.find(servers.default_directory()) is not None:
            raise RlsgenError("a demo is still there from before", hint="end it first: rlsgen demo --stop")
        server = servers.start(servers.default_directory())
        try:
            yield server
        except BaseException:
            server.remove()
            raise
        return
    with servers.temporary_server() as server:
        yield server


def _document(shop: Shop, result: Tour) -> str:
    document = {
        "dsn": {"owner": shop.owner_dsn, "conversation": shop.conversation_dsn, "application": shop.application_dsn},
        "signing_key": result.signing_key,
        "changes": len(list(result.plan.steps)),
        "conversations": [
            {"context": dict(answer.context), "question": answer.question, "columns": answer.columns, "rows": answer.rows}
            for answer in result.answers
        ],
        "refused": [{"attempt": each.attempt, "sql": each.sql, "error": each.error} for each in result.refused],
        "application": result.application,
    }
    return json.dumps(document, ensure_ascii=False, indent=1, default=str)


def _show(result: Tour, seconds: float) -> None:
    console = out()
    plan = result.plan
    console.print(f"\npolicies.yaml: {len(list(plan.steps))} changes in {len(plan.transactions)} transactions.\n")
    questions = dict.fromkeys(answer.question for answer in result.answers)
    for question in questions:
        console.print(Text(question, style="bold"))
        for answer in result.answers:
            if answer.question == question:
                rows = "; ".join(", ".join(map(str, row)) for row in answer.rows) or "(none)"
                console.print(Text.assemble((f"  {answer.organisation:<16}", "cyan"), rows))
    console.print(Text("\nA hostile conversation of Alder Supplies tries", style="bold"))
    for attempt in result.refused:
        console.print(Text.assemble(f"  {attempt.attempt:<46} ", (attempt.error, "green")))
    console.print(Text("\nThe application", style="bold"))
    console.print(f"  {result.application}")
    console.print(
        f"\nEvery question was the same SQL for both; no filter was in it. Postgres added it. ({seconds:.1f} s)"
    )


def _show_access(shop: Shop, result: Tour) -> None:
    console = out()
    console.print(f"\nThe server stays up until `rlsgen demo --stop`. Try to break out:\n"
                  f"  owner:         {shop.owner_dsn}\n  conversation:  {shop.conversation_dsn}\n"
                  f"  signing key:   {result.signing_key}\n"
                  "  a token:       RLSGEN_SIGNING_KEY=… rlsgen token --spec policies.yaml -c organisationId=1 -c userId=user_1")  # fmt: skip


