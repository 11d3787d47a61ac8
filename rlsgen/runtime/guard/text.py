"""A caller's text: its bounds, its tree, and refusals that point at a place in it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import postgast
from google.protobuf.message import DecodeError
from postgast import pg_query_pb2 as pb

from rlsgen.errors import StatementRefused
from rlsgen.identifiers import display
from rlsgen.spec.sqltext import COMMENTS, Offsets, SqlTextError, Token, tokens

MAX_BYTES = 64 * 1024
MAX_TOKENS = 20_000
MAX_RESCANNED = 20_000_000
"""Of all runs of signs, the squares of their lengths: Postgres' scanner reads `-+-+-+`, and `/**//**/` too, as one
operator up to its end, keeps the first sign, and begins again behind it: 64 KB took 16 seconds, four times."""
MAX_MESSAGE = 300
"""Characters of what Postgres' grammar says."""
MAX_COPIED = 100_000
"""Columns in `SET (a, b) = …` times words: the tree has a copy of what they are set to for each of them, and 4 KB took
seven seconds, 64 KB all memory, before anybody looked at the tree."""
_SIGNS = re.compile(r"[-~!@#^&|`?+*/%<>=]{64,}")


class Text:
    """One text, known to be within the bounds; its places are counted in bytes by trees, in characters by people."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.found = self._bounded()

    @staticmethod
    def checked(text: object) -> str:
        """A text, if that is what it is."""
        if not isinstance(text, str):
            raise StatementRefused(f"a statement is text (str), not {type(text).__name__}", reason="text")
        return text

    def refused(self, message: str, *, reason: str, at: int | None = None, hint: str = "") -> StatementRefused:
        """The refusal to raise; `at` is a location of the tree, in bytes."""
        offset = None if at is None or at < 0 else min(Offsets(self.text).character(at), len(self.text))
        return StatementRefused(message, reason=reason, text=self.text, offset=offset, hint=hint)

    def parse(self) -> pb.ParseResult:
        """The tree. To be called on the large stack.

        Raises:
            StatementRefused: Postgres' grammar does not accept the text, or it is nested too deeply.
        """
        try:
            return postgast.parse(self.text)
        except postgast.PgQueryError as error:
            offset = min(max(error.cursorpos - 1, 0), len(self.text)) if error.cursorpos > 0 else None
            raise StatementRefused(_short(error.message), reason="syntax", text=self.text, offset=offset) from None
        except DecodeError:  # protobuf reads 100 levels of messages, of which each level of SQL takes two or more
            raise self.too_deep() from None

    def too_deep(self) -> StatementRefused:
        """The refusal of what is nested too deeply for the tree to be read."""
        hint = (
            "put parts into WITH queries, write long sums and chains of || as sum(), concat() or lists, and IN for OR"
        )
        return self.refused("the statement is nested too deeply", reason="size", hint=hint)

    def _bounded(self) -> list[Token]:
        text = self.text
        size = len(text) if text.isascii() else len(text.encode(errors="replace"))
        if size > MAX_BYTES:
            hint = "pass long values as parameters, and long lists as one array parameter"
            raise self.refused(
                f"the statement has {size} bytes; at most {MAX_BYTES} are allowed", reason="size", hint=hint
            )
        if sum((run.end() - run.start()) ** 2 for run in _SIGNS.finditer(text)) > MAX_RESCANNED:
            raise self.refused("the statement has too many signs in a row", reason="size", hint="leave them out")
        try:
            found = [token for token in tokens(text) if token.kind not in COMMENTS]
        except SqlTextError as error:
            raise StatementRefused(_short(error.message), reason="syntax", text=text, offset=error.offset) from None
        if len(found) > MAX_TOKENS:
            hint = "pass long lists as one array parameter: id = ANY ($1)"
            raise self.refused(f"the statement has more than {MAX_TOKENS} words and signs", reason="size", hint=hint)
        if _copied(found) > MAX_COPIED:
            raise self.refused(
                "too many columns are set at once", reason="size", hint="set them one by one: a = 1, b = 2"
            )
        if all(token.kind == pb.ASCII_59 for token in found):
            what = "is empty" if not text.strip() else "has nothing but comments or semicolons in it"
            raise self.refused(f"the statement {what}", reason="text", hint="write one SELECT")
        return found


def _short(message: str) -> str:
    """Postgres' words; where a quote was left open they repeat the rest of the text."""
    return message if len(message) <= MAX_MESSAGE else f"{message[:MAX_MESSAGE]}…"


def _copied(found: list[Token]) -> int:
    """How many words the copies in an UPDATE's tree can have."""
    if not any(token.kind == pb.UPDATE for token in found):
        return 0
    columns, lists = 0, [1]
    for token, following in pairwise(found):
        if token.kind == pb.ASCII_40:
            lists.append(1)
        elif token.kind == pb.ASCII_44:
            lists[-1] += 1
        elif token.kind == pb.ASCII_41 and len(lists) > 1:
            set_to = following.kind == pb.ASCII_61
            columns += lists.pop() * set_to
    return columns * len(found)


def suggestion(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """A hint that names what was probably meant."""
    close = difflib.get_close_matches(name.lower(), [*dict.fromkeys(known)], n=1, cutoff=0.7)
    return f"did you mean {display(close[0])}?" if close else otherwise


def words(nodes: Iterable[Any]) -> list[str]:
    """The parts of a name in a tree; * stands for a star."""
    return [node.string.sval if node.HasField("string") else "*" for node in nodes]
