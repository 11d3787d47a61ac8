"""Where in a YAML file each character of a text value stands, whatever its quotes, escapes and folding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import overload

from rlsgen.errors import Position

_BREAKS = "\r\n\x85\u2028\u2029"
_BLANKS = " \t" + _BREAKS
_ESCAPES = {"0": "\0", "a": "\a", "b": "\b", "t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r", "e": "\x1b",
            "N": "\x85", "_": "\xa0", "L": "\u2028", "P": "\u2029"}  # fmt: skip
_HEX_DIGITS = {"x": 2, "u": 4, "U": 8}


class Characters(Sequence[Position]):
    """The positions of all characters of a value, and of its end; worked out when somebody asks, for that is rare.

    Exact for every character that is no white space. White space that YAML folds stands for several places; one of them
    is given. Where the source does not spell the value, everything is at the value's start.
    """

    __slots__ = ("_offsets", "_place", "_source", "_start", "_style", "_value")

    def __init__(
        self, place: Callable[[int], Position], source: str, start: int, style: str | None, value: str
    ) -> None:
        self._place = place
        self._source = source
        self._start = start
        self._style = style
        self._value = value
        self._offsets: list[int] | None = None

    def __len__(self) -> int:
        return len(self._value) + 1

    @overload
    def __getitem__(self, index: int) -> Position: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Position]: ...
    def __getitem__(self, index: int | slice) -> Position | Sequence[Position]:
        if self._offsets is None:
            end = len(self._source) - (1 if self._style in ("'", '"') else 0)
            units = [
                unit for unit in _units(self._source, self._style) if self._source[unit[0] - 1 : unit[0] + 1] != "\r\n"
            ]
            self._offsets = _align([*units, (end, "")], self._value)
        if isinstance(index, slice):
            return [self._place(self._start + offset) for offset in self._offsets[index]]
        return self._place(self._start + self._offsets[index])


def _units(source: str, style: str | None) -> Iterator[tuple[int, str]]:
    """The characters that a source spells, each with its offset, before folding."""
    if style in ("|", ">"):
        body = source.find("\n") + 1
        yield from ((body + offset, character) for offset, character in enumerate(source[body:]))
    elif style == "'":
        yield from _single_quoted(source)
    elif style == '"':
        yield from _double_quoted(source)
    else:
        yield from enumerate(source)


def _single_quoted(source: str) -> Iterator[tuple[int, str]]:
    offset = 1
    while offset < len(source) - 1:
        yield offset, source[offset]
        offset += 2 if source[offset] == "'" else 1


def _double_quoted(source: str) -> Iterator[tuple[int, str]]:
    offset = 1
    while offset < len(source) - 1:
        if source[offset] != "\\":
            yield offset, source[offset]
            offset += 1
            continue
        letter = source[offset + 1]
        digits = _HEX_DIGITS.get(letter, 0)
        if digits:
            yield offset, chr(int(source[offset + 2 : offset + 2 + digits], 16))
        elif letter not in _BREAKS:
            yield offset, _ESCAPES.get(letter, letter)
        offset += 2 + digits


def _align(units: list[tuple[int, str]], value: str) -> list[int]:
    """The offset of every character of `value` and of its end; all 0 where `units` do not spell it."""
    offsets: list[int] = []
    at, last = 0, len(units) - 1
    for character in value:
        while at < last and not _spells(units[at][1], character) and units[at][1] in _BLANKS:
            at += 1
        offsets.append(units[at][0])
        if at < last and _spells(units[at][1], character):
            at += 1
        elif at < last or character not in _BLANKS:  # a block at the end of a file gets a line break that is not there
            return [0] * (len(value) + 1)
    return [*offsets, units[at][0]]


def _spells(unit: str, character: str) -> bool:
    return unit == character or (unit in _BREAKS and character in " \n")
