"""What commands print: tables and colour on a terminal, plain text in a pipe; results on stdout, the rest on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from enum import IntEnum, StrEnum

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from rlsgen.errors import HazardRefused, Problem, RlsgenError, SpecError, StatementError

EXCERPT = 60
"""Characters of a statement that an error shows before and after its place."""


class Exit(IntEnum):
    """What the exit code tells CI."""

    FINE = 0
    FAILED = 1
    USAGE = 2
    DIFFERENCES = 3
    HAZARD = 4
    INTERRUPTED = 130  # 128 + SIGINT, as shells have it


class Format(StrEnum):
    """How results are printed."""

    text = "text"
    json = "json"


class FindingsFormat(StrEnum):
    """How findings are printed."""

    text = "text"
    json = "json"
    github = "github"
    sarif = "sarif"
    junit = "junit"


class PlanFormat(StrEnum):
    """How a plan is printed."""

    text = "text"
    json = "json"
    sql = "sql"


def out() -> Console:
    """Results."""
    return Console(soft_wrap=True, highlight=False, markup=False, emoji=False)


def err() -> Console:
    """Progress and diagnostics."""
    return Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)


def write(text: str) -> None:
    """A result, as it is."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def say(text: str) -> None:
    """A result for people, on one line whatever names are in it."""
    out().print(printable(text).replace("\n", "\\n"))


def write_json(document: object) -> None:
    """A result for machines: in ASCII, so that it is valid in every locale and harmless on every terminal."""
    write(json.dumps(document, indent=1, default=str))


def printable(text: str) -> str:
    """Text that only prints: characters that could steer a terminal or turn the reading direction become escapes."""
    if text.isprintable():
        return text
    return "".join(
        each if each in "\n\t" or each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def examples(*commands: str) -> str:
    """The end of a help text. (Typer joins single lines.)"""
    return "\n\n".join(["Examples:", *commands])


_STYLES = {"+": "green", "-": "red", "~": "yellow"}


def show_plan(text: str) -> None:
    """A plan for people: signs in colour, hazards in bold."""
    console = out()
    if not console.is_terminal:
        write(printable(text))
        return
    for line in printable(text).splitlines():
        style = _STYLES.get(line.lstrip()[:1], "") if line.startswith("  ") else ""
        style = "bold red" if line.startswith("Hazard ") else style
        console.print(Text(line, style=style))


def show_exactly(text: str) -> None:
    """SQL, or a prompt, exactly as it is for programs and files; on a terminal, what only prints."""
    if sys.stdout.isatty():
        write(printable(text))
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode())  # UTF-8 whatever the locale: a replaced character would be another name


def show_problems(problems: Iterable[Problem], style: str = "red") -> None:
    """Problems or advice, one after another, each with its place and what to do."""
    console = err()
    for problem in problems:
        where = f"{problem.position}: " if problem.position else ""
        console.print(Text.assemble((_indented(where), "bold"), (_indented(problem.message), style)))
        if problem.hint:
            console.print(Text(f"    {_indented(problem.hint)}", style="dim"))


def _indented(text: str) -> str:
    """Lines after the first one step in, so that a line break in a name forges no message of its own."""
    first, *others = printable(text).split("\n")
    return "\n".join([first, *(f"    {each}".rstrip() for each in others)])


def show_error(error: RlsgenError) -> Exit:
    """An error, and the exit code that it means."""
    if isinstance(error, SpecError):
        show_problems(error.problems)
        number = len(error.problems)
        err().print(f"{number} problem{'s' if number > 1 else ''}; nothing was changed")
        return Exit.FAILED
    err().print(Text.assemble(("rlsgen: ", "bold"), (_indented(error.message), "red")))
    if error.hint:
        err().print(Text(f"    {_indented(error.hint)}", style="dim"))
    return Exit.HAZARD if isinstance(error, HazardRefused) else Exit.FAILED


def show_statement_error(error: StatementError, text: str) -> Exit:
    """An error about a statement, with a mark under its place in the text."""
    err().print(Text.assemble(("rlsgen: ", "bold"), (_indented(error.message), "red")))
    for line in _excerpt(text, error.offset) if error.offset is not None else ():
        err().print(Text(line))
    if error.hint:
        err().print(Text(f"    {_indented(error.hint)}", style="dim"))
    return Exit.FAILED


def _excerpt(text: str, offset: int) -> tuple[str, str]:
    """The line of a text that has the place, or the part of it that fits, and a caret under the place."""
    start = text.rfind("\n", 0, offset) + 1
    end = text.find("\n", offset)
    end = len(text) if end < 0 else end
    number = f"{text.count(chr(10), 0, start) + 1}: "
    first, last = max(start, offset - EXCERPT), min(end, offset + EXCERPT)
    before = printable(("…" if first > start else "") + text[first:offset]).replace("\t", " ")
    after = printable(text[offset:last] + ("…" if last < end else "")).replace("\t", " ")
    return f"    {number}{before}{after}", f"    {' ' * (len(number) + cell_len(before))}^"


def show_usage(error: typer.TyperException) -> Exit:
    """How a command is to be called; without any arguments, its help has been printed already."""
    context = getattr(error, "ctx", None)
    message = error.format_message().replace("Value error, ", "", 1)  # pydantic's, which typer passes on
    if message.strip():
        err().print(Text.assemble(("rlsgen: ", "bold"), (_indented(message), "red")))
        if context is not None:
            err().print(Text(f"    see {context.command_path} --help", style="dim"))
    return Exit.USAGE


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on a terminal, tab-separated lines in a pipe."""
    console = out()
    if not console.is_terminal:
        for row in rows:
            write(printable("\t".join(row)))
        return
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console.print(table, soft_wrap=False)


@contextmanager
def working(what: str) -> Iterator[None]:
    """A sign of life on a terminal while something takes its time."""
    console = err()
    with console.status(what) if console.is_terminal else nullcontext():
        yield


class Bar:
    """A progress bar for a known number of transactions; silent where stderr is no terminal."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("reading the database", total=None)

    def __call__(self, title: str, done: int, total: int) -> None:
        """Say what is being done now."""
        self._progress.update(self._task, description=printable(title), completed=done, total=total)


@contextmanager
def progress() -> Iterator[Bar]:
    """A progress bar on stderr."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield Bar(bar)
