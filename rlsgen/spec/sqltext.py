"""SQL text as tokens of Postgres' own scanner, with offsets in characters.

libpg_query counts bytes in tokens and trees, but characters in errors: `PgQueryError.cursorpos` comes from Postgres'
`scanner_errposition`, although postgast's documentation says bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import postgast
from postgast import pg_query_pb2 as pb

from rlsgen.errors import RlsgenError

COMMENTS = (pb.SQL_COMMENT, pb.C_COMMENT)


class SqlTextError(RlsgenError):
    """A piece of SQL in a spec cannot be used; `offset` counts characters from its start."""

    def __init__(self, message: str, offset: int, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.offset = offset


@dataclass(frozen=True, slots=True)
class Token:
    """One token; `kind` is a value of `pg_query_pb2.Token`, offsets count characters."""

    kind: int
    keyword: bool
    text: str
    start: int
    end: int


def tokens(text: str) -> list[Token]:
    """The tokens of a text, comments included.

    Raises:
        SqlTextError: the text cannot be split into tokens: an open quote, a bad escape, a NUL or half a surrogate pair.
    """
    if "\x00" in text:  # C would see the text end here
        raise SqlTextError("a NUL character cannot be part of SQL", text.index("\x00"))
    try:
        found = postgast.scan(text).tokens
    except postgast.PgQueryError as error:
        raise SqlTextError(error.message, min(max(error.cursorpos - 1, 0), len(text))) from None
    except UnicodeEncodeError as error:
        raise SqlTextError("half of a surrogate pair is no text", error.start) from None
    at = _ascii_offset if text.isascii() else Offsets(text).character
    result = []
    for token in found:
        start, end = at(token.start), at(token.end)
        result.append(Token(token.token, token.keyword_kind != pb.NO_KEYWORD, text[start:end], start, end))
    return result


def _ascii_offset(offset: int) -> int:
    return offset


class Offsets:
    """From bytes to characters of one text."""

    __slots__ = ("_data", "_last")

    def __init__(self, text: str) -> None:
        self._data = text.encode()
        self._last = 0, 0  # a byte where a character begins, and how many characters stand before it

    def character(self, byte: int) -> int:
        """How many characters stand before this byte. Asked in ascending order, a text is counted once."""
        at, before = self._last if self._last[0] <= byte else (0, 0)
        found = before + len(self._data[at:byte].decode(errors="replace"))
        if byte >= len(self._data) or self._data[byte] & 0xC0 != 0x80:
            self._last = byte, found
        return found
