"""The mutants: what mutants.yaml says, each entry for each table that it names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from rlsgen.identifiers import Name
from rlsgen.spec.names import parse_relation

Place = Literal["shop", "shapes"]


@dataclass(frozen=True, slots=True)
class Mutant:
    """One way to break a database, and what must be named for it; see mutants.yaml."""

    id: str
    what: str
    base: Place = "shop"
    sql: str = ""
    admin: str = ""
    undo: str = ""
    replace: Mapping[str, str] = field(default_factory=dict)
    before: str = ""
    spec: Mapping[str, Any] = field(default_factory=dict)
    lint: tuple[str, ...] = ()
    verify: tuple[str, ...] = ()
    attacks: tuple[str, ...] = ()
    writes: bool = False
    tenants: int = 2  # that verify compares, besides those who have no rows
    first: bool = True  # of those that are made of tables of one database

    def of(self, place: Place, table: str, *, first: bool) -> Mutant:
        """The same of one table."""
        ref = parse_relation(table)
        name = str(Name(ref.schema or "public", ref.name))

        def put(text: str) -> str:
            return text.replace("<table>", table).replace("<name>", name)

        return replace(
            self,
            id=f"{self.id}: {name}",
            what=put(self.what).replace(table, f"`{table}`"),
            base=place,
            first=first,
            sql=put(self.sql),
            lint=tuple(put(each) for each in self.lint),
            verify=tuple(put(each) for each in self.verify),
        )


def mutants() -> Iterator[Mutant]:
    """All of them, in the file's order."""
    document = yaml.safe_load(Path(__file__).with_name("mutants.yaml").read_text(encoding="utf-8"))
    for name, entry in document.items():
        over: dict[Place, list[str]] = entry.pop("over", {})
        for key in ("lint", "verify"):
            found = entry.get(key, ())
            entry[key] = (found,) if isinstance(found, str) else tuple(found)
        made = Mutant(name, **entry)
        if not over:
            yield made
        for place, tables in over.items():
            yield from (made.of(place, table, first=table == tables[0]) for table in tables)


MUTANTS = tuple(mutants())
