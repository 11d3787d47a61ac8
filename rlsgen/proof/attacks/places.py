"""The places in an attack's SQL: what each stands for, and how they are filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping

from rlsgen.identifiers import Sql

PLACES: Mapping[str, str] = {
    "table": "a scoped table in which two tenants have rows",
    "name": "the table's name as a literal, for functions that take it",
    "column": "a column of it that conversations read",
    "foreign": "a condition on it that only a row of another tenant meets",
    "own": "a condition on it that a row of one's own meets",
    "setting": "the session variable of the context field that decides about it, as a literal",
    "setting-name": "the same, as SET takes it",
    "theirs": "the other tenant's value of that field, as a literal",
    "accessor": "the function that gives the field's value",
    "token": "the conversation's own token, as a literal",
    "role": "the conversation role",
    "owner": "the owner of the table",
    "policy": "the restrictive policy of the table",
    "writable": "a scoped table that conversations may update",
    "writable-column": "a column of it that they may update",
    "writable-foreign": "a condition on it that only a row of another tenant meets",
    "partition": "a partition or an inheritance child of a declared table",
    "hidden": "a hidden table",
    "hidden-column": "a hidden column",
    "hidden-column-table": "the table that has it",
    "view": "a view",
    "sequence": "a sequence",
}
_PLACE = re.compile(r"<([a-z][a-z-]*)>")


def named(text: str) -> list[str]:
    """The places in a text."""
    return _PLACE.findall(text)


def filled(text: str, places: Mapping[str, Sql]) -> Sql | None:
    """The text with its places filled in; None where this database has nothing for one of them."""
    if any(name not in places for name in named(text)):
        return None
    return Sql(_PLACE.sub(lambda match: places[match[1]], text))
