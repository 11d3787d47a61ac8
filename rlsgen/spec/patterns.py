"""Patterns of text fields: the subset of regular expressions that Python and Postgres read alike.

Outside of it the two differ quietly: `\\d` and `\\w` cover other characters, `^` and `$` other places, `(?i)` and
lookarounds are spelled or bounded differently, `{,3}` is a repetition in one and text in the other. Sources: Python's
`re` and PostgreSQL's "Regular Expression Details" (advanced regular expressions; repetition counts up to 255).
"""

from __future__ import annotations

import re
import warnings

MAX_LENGTH = 1000
MAX_REPETITION = 255
MAX_DEPTH = 20
_COUNT = re.compile(r"\{(\d{1,3})(?:(,)(\d{0,3}))?\}")


class PatternError(Exception):
    """A pattern is outside the subset; `offset` is where."""

    def __init__(self, message: str, offset: int, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset
        self.hint = hint


def check_pattern(pattern: str) -> None:
    """Check that a pattern means the same in Python and Postgres when it must match the whole of a value.

    Allowed: printable ASCII, `.`, a backslash before punctuation, classes in brackets, groups, `|`, and the repetitions
    `* + ? {m} {m,} {m,n}`.

    Raises:
        PatternError: it has something else, or is longer than 1,000 characters.
    """
    if len(pattern) > MAX_LENGTH:
        raise PatternError(f"the pattern has {len(pattern)} characters; at most {MAX_LENGTH} are allowed", 0)
    for offset, character in enumerate(pattern):
        if not " " <= character <= "~":
            raise PatternError(f"{character!r} is not allowed in a pattern; only printable ASCII is", offset)
    _Reader(pattern).whole()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            re.compile(pattern)
        except (re.error, FutureWarning) as error:
            raise PatternError(f"Python cannot read the pattern: {error}", getattr(error, "pos", None) or 0) from None


class _Reader:
    """Reads a pattern from left to right."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0

    def sees(self, characters: str) -> bool:
        return self.at < len(self.pattern) and self.pattern[self.at] in characters

    def fail(self, message: str, hint: str = "") -> PatternError:
        return PatternError(message, self.at, hint)

    def whole(self) -> None:
        self.branches(0)
        if self.at < len(self.pattern):
            raise self.fail("a closing parenthesis that nothing opened")

    def branches(self, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise self.fail("the groups are nested too deeply")
        while True:
            if self.at == len(self.pattern) or self.sees("|)"):
                raise self.fail("an empty pattern, group or alternative", "use ? to make a part optional")
            while self.at < len(self.pattern) and not self.sees("|)"):
                self.atom(depth)
                self.repetition()
            if not self.sees("|"):
                return
            self.at += 1

    def atom(self, depth: int) -> None:
        character = self.pattern[self.at]
        if character == "(":
            self.group(depth)
        elif character == "[":
            self.bracket()
        elif character == "\\":
            self.escape()
        elif character in "^$":
            raise self.fail(f"{character} is not needed: a pattern always matches the whole value", "remove it")
        elif character in "*+?{":
            raise self.fail(f"nothing to repeat before {character}", f"write \\{character} for the character itself")
        elif character in "]}":
            raise self.fail(f"{character} without its opening bracket", f"write \\{character} for the character itself")
        else:
            self.at += 1

    def group(self, depth: int) -> None:
        self.at += 1
        if self.sees("?*"):
            raise self.fail("only plain groups (…) are allowed: no lookarounds, flags or names")
        self.branches(depth + 1)
        if not self.sees(")"):
            raise self.fail("the group is not closed")
        self.at += 1

    def escape(self) -> None:
        following = self.pattern[self.at + 1 : self.at + 2]
        if not following or following.isalnum() or following == " ":
            hint = "write a class: [0-9] for \\d, [A-Za-z0-9_] for \\w"
            raise self.fail(f"the escape \\{following} does not mean the same in Python and Postgres", hint)
        self.at += 2

    def repetition(self) -> None:
        if self.sees("{"):
            count = _COUNT.match(self.pattern, self.at)
            if not count:
                raise self.fail("{ starts a repetition {m}, {m,} or {m,n}", "write \\{ for the character itself")
            least, most = int(count[1]), int(count[3] or count[1])
            if most < least or max(least, most) > MAX_REPETITION:
                raise self.fail(f"a repetition counts from 0 to {MAX_REPETITION}, the smaller number first")
            self.at = count.end()
        elif self.sees("*+?"):
            self.at += 1
        else:
            return
        if self.sees("*+?{"):
            raise self.fail("two repetitions in a row are not allowed", "put the first into a group")

    def bracket(self) -> None:
        start = self.at
        self.at += 2 if self.pattern.startswith("[^", self.at) else 1
        if self.sees("]"):
            raise self.fail("an empty class", "write \\] for the bracket itself")
        while not self.sees("]"):
            if self.at >= len(self.pattern):
                raise PatternError("the class is not closed", start)
            low = self.member()
            if self.sees("-") and not self.pattern.startswith("-]", self.at):
                self.at += 1
                if self.at >= len(self.pattern):
                    raise PatternError("the class is not closed", start)
                high = self.member()
                if high < low or "-" in (low, high):
                    raise self.fail(f"{low}-{high} is no range", "write \\- for the character itself")
        self.at += 1

    def member(self) -> str:
        character = self.pattern[self.at]
        if character == "\\":
            self.escape()
            return self.pattern[self.at - 1]
        if character in "[^":
            raise self.fail(f"{character} in a class", f"write \\{character} for the character itself")
        if self.pattern[self.at : self.at + 2] in ("&&", "||", "~~", "--"):
            raise self.fail(f"{character * 2} in a class", "name the character once")
        self.at += 1
        return character
