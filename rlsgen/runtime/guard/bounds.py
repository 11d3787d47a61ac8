"""How much a statement may have in FROM: checking it must not take longer than running it."""

from __future__ import annotations

from rlsgen.runtime.guard.text import Text

MAX_RESULTS = 1_664
"""Columns of a result: Postgres' own bound, MaxTupleAttributeNumber."""
MAX_COLUMNS = 10_000
"""Of everything in one FROM: stars over stars grow exponentially."""
MAX_ALL_COLUMNS = 30_000
"""Of all that the statement names in FROM: we write each table's columns out, and joins look at all of them."""
MAX_ENTRIES = 1_000
"""Tables, functions and sub-queries in one FROM: each is compared with those to its left, here and in Postgres."""


class Bounds:
    """Counts what one statement has in FROM. Each method raises StatementRefused where it is too much."""

    def __init__(self, text: Text) -> None:
        self._text = text
        self._columns = 0

    def results(self, columns: int, at: int) -> None:
        """So many columns in one result."""
        self._most(columns, MAX_RESULTS, "columns at this place", at)

    def beside(self, entries: int, columns: int, at: int) -> None:
        """So many entries, with so many columns, beside each other in one FROM."""
        self._most(columns, MAX_COLUMNS, "columns at this place", at)
        self._most(entries, MAX_ENTRIES, "tables at this place", at)

    def more(self, columns: int, at: int) -> None:
        """One more entry, with so many columns."""
        self._columns += columns
        self._most(self._columns, MAX_ALL_COLUMNS, "columns in all of FROM", at)

    def _most(self, number: int, most: int, what: str, at: int) -> None:
        if number > most:
            hint = "name the columns that are needed, and join fewer tables"
            raise self._text.refused(f"more than {most:,} {what}", reason="size", at=at, hint=hint)
