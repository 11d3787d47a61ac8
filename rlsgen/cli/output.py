"""What commands print: tables and colour on a terminal, plain text in a pipe; results on stdout, the rest on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum, StrEnum

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from rlsgen.errors import HazardRefused, Problem, RlsgenError, SpecError


class Exit(IntEnum):
    """What the exit code tells CI."""

    FINE = 0
    FAILED = 1
    USAGE = 2
    DIFFERENCES = 3
    HAZARD = 4


class Format(StrEnum):
    """How results are printed."""

    text = "text"
    json = "json"


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
    """A result for machines or files, exactly as it is."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


_STYLES = {"+": "green", "-": "red", "~": "yellow"}


def show_plan(text: str) -> None:
    """A plan for people: signs in colour, hazards in bold."""
    console = out()
    for line in text.splitlines():
        style = _STYLES.get(line.lstrip()[:1], "") if line.startswith("  ") else ""
        style = "bold red" if line.startswith("Hazard ") else style
        console.print(Text(line, style=style))


def show_problems(problems: Iterable[Problem], style: str = "red") -> None:
    """Problems or advice, one after another, each with its place and what to do."""
    console = err()
    for problem in problems:
        where = f"{problem.position}: " if problem.position else ""
        console.print(Text.assemble((where, "bold"), (problem.message, style)))
        if problem.hint:
            console.print(Text(f"    {problem.hint}", style="dim"))


def show_error(error: RlsgenError) -> Exit:
    """An error, and the exit code that it means."""
    if isinstance(error, SpecError):
        show_problems(error.problems)
        number = len(error.problems)
        err().print(f"{number} problem{'s' if number > 1 else ''}; nothing was changed")
        return Exit.FAILED
    err().print(Text.assemble(("rlsgen: ", "bold"), (error.message, "red")))
    if error.hint:
        err().print(Text(f"    {error.hint}", style="dim"))
    return Exit.HAZARD if isinstance(error, HazardRefused) else Exit.FAILED


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on a terminal, tab-separated lines in a pipe."""
    console = out()
    if not console.is_terminal:
        for row in rows:
            write("\t".join(row))
        return
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    console.print(table, markup=True)


class Bar:
    """A progress bar for a known number of transactions; silent where stderr is no terminal."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("starting", total=None)

    def __call__(self, title: str, done: int, total: int) -> None:
        """Say what is being done now."""
        self._progress.update(self._task, description=escape(title), completed=done, total=total)


@contextmanager
def progress() -> Iterator[Bar]:
    """A progress bar on stderr."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield Bar(bar)
