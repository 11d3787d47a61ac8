"""The ledger's entries, found by what they are about."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property

from rlsgen.catalog.model import LedgerEntry
from rlsgen.identifiers import Name


class Ledger(dict[tuple[str, Name, str], LedgerEntry]):
    """Entries by kind, relation and name of the object."""

    def __init__(self, entries: Iterable[LedgerEntry]) -> None:
        super().__init__(((entry.kind, entry.relation, entry.name), entry) for entry in entries)

    def of(self, relation: Name, *kinds: str) -> Sequence[LedgerEntry]:
        """The entries of one relation, of all kinds or of these, in the ledger's order."""
        found = self._by_relation.get(relation, ())
        return [entry for entry in found if entry.kind in kinds] if kinds else found

    @cached_property
    def _by_relation(self) -> dict[Name, list[LedgerEntry]]:
        found: dict[Name, list[LedgerEntry]] = defaultdict(list)
        for entry in self.values():
            found[entry.relation].append(entry)
        return dict(found)
