"""The one place where names and values become SQL text.

Names come from a spec or a catalog and are hostile. They reach SQL only as `Sql`, which is made here, or by formatting
a constant template with other `Sql` values. A plain `str` never passes.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import LiteralString, NamedTuple

from rlsgen.errors import RlsgenError


class Sql(str):
    """A fragment of SQL that is safe to put into a statement. Concatenation gives a plain `str`, on purpose."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Sql({str.__repr__(self)})"


class Name(NamedTuple):
    """A relation or function by schema and name, both exactly as the catalog spells them.

    A tuple, since names are looked up by the hundred thousand, and tuples are hashed and compared without Python code.
    """

    schema: str
    name: str

    def __str__(self) -> str:
        """For messages to people: quoted only where needed."""
        return f"{display(self.schema)}.{display(self.name)}"

    @property
    def sql(self) -> Sql:
        """The qualified name, quoted."""
        return Sql(f"{identifier(self.schema)}.{identifier(self.name)}")


@lru_cache(maxsize=16_384)
def identifier(name: str) -> Sql:
    """Quote a name. Always with quotes: no list of reserved words to fall out of date.

    Raises:
        RlsgenError: the name is empty or contains a NUL, which no Postgres name can.
    """
    if not name or "\x00" in name:
        raise RlsgenError(f"{name!r} cannot be the name of anything in Postgres")
    return Sql('"' + name.replace('"', '""') + '"')


def identifiers(names: Iterable[str]) -> Sql:
    """Quoted names, separated by commas."""
    return Sql(", ".join(identifier(name) for name in names))


def literal(value: str | int | bool | None) -> Sql:
    """A value as a literal that reads the same whatever `standard_conforming_strings` is.

    Raises:
        RlsgenError: a string contains a NUL.
    """
    if value is None:
        return Sql("NULL")
    if isinstance(value, bool):
        return Sql("true" if value else "false")
    if isinstance(value, int):
        return Sql(str(value))
    if "\x00" in value:
        raise RlsgenError("a string with a NUL character cannot be stored in Postgres")
    quoted = "'" + value.replace("'", "''") + "'"
    return Sql(" E" + quoted.replace("\\", "\\\\") if "\\" in value else quoted)


def dollar_quoted(body: str) -> Sql:
    """A function body between dollar quotes whose tag the body does not contain, nor begins at its end."""
    if body.endswith("$"):
        return literal(body)
    tag, number = "$rlsgen", 0
    while tag in body:
        number += 1
        tag = f"$rlsgen{number}"
    return Sql(f"{tag}${body}{tag}$")


def fill(template: LiteralString, *parts: Sql, **named: Sql) -> Sql:
    """Put fragments into a constant template with `{}` places.

    Raises:
        TypeError: a part is not `Sql`.
    """
    for part in (*parts, *named.values()):
        if not isinstance(part, Sql):
            raise TypeError(f"only Sql goes into SQL, not {type(part).__name__}")
    return Sql(template.format(*parts, **named))


def join(separator: LiteralString, parts: Iterable[Sql]) -> Sql:
    """Join fragments with a constant separator.

    Raises:
        TypeError: a part is not `Sql`.
    """
    pieces = list(parts)
    for part in pieces:
        if not isinstance(part, Sql):
            raise TypeError(f"only Sql goes into SQL, not {type(part).__name__}")
    return Sql(separator.join(pieces))


def display(name: str) -> str:
    """A name for a message: as it is if it needs no quotes, quoted otherwise. Never for SQL."""
    plain = name.isascii() and name.replace("_", "a").isalnum() and name.lower() == name and not name[0].isdigit()
    return name if plain else '"' + name.replace('"', '""') + '"'
