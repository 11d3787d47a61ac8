"""YAML with positions: the text of a spec becomes plain values, and every value and key knows its place in the file.

Built from libyaml's events, not by PyYAML's composer, which is recursive C code: 100 KB of `[` crash the process.
Keys are always read as text, so a table may be called `no` or `on` (which YAML 1.1 reads as booleans).
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from rlsgen.errors import Position, Problem, SpecError
from rlsgen.spec.places import Characters

LOADER: type[yaml.SafeLoader | yaml.CSafeLoader] = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
MAX_DEPTH = 32
MAX_NODES = 500_000  # after aliases are followed, so that a small file cannot grow into a huge one

_WORDS: dict[str, bool | None] = {
    **{spelling: True for word in ("true", "yes", "on") for spelling in (word, word.capitalize(), word.upper())},
    **{spelling: False for word in ("false", "no", "off") for spelling in (word, word.capitalize(), word.upper())},
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
}
_LINE_BREAK = re.compile(r"\r\n|\r|\n")
_PROPERTIES = re.compile(r"(?:[&!]\S*\s*)+")  # &anchor and !tag, with which a value starts
_STRING_TAGS = ("!", "tag:yaml.org,2002:str")
_HINTS = {
    "mapping values are not allowed": "a text that contains a colon and a space needs quotes",
    "could not find expected ':'": "a key is followed by a colon and a space",
    "cannot start any token": "indent with spaces, not tabs; a text that starts with @, ` or % needs quotes",
}


@dataclass(frozen=True, slots=True)
class Scalar:
    """One text, number or truth value. `start` and `end` are offsets into the file."""

    text: str
    value: str | int | float | bool | None
    style: str | None
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list."""

    start: int
    items: list[Node] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Mapping:
    """A mapping; `keys` are the scalars that spell its keys."""

    start: int
    keys: dict[str, Scalar] = field(default_factory=dict)
    values: dict[str, Node] = field(default_factory=dict)


Node = Scalar | Sequence | Mapping


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML file: `data` holds plain values, `problems` what is wrong with it short of breaking its structure."""

    file: str
    text: str
    root: Mapping
    data: dict[str, object]
    problems: list[Problem]
    lines: list[int]  # offsets at which the lines start

    def place(self, offset: int) -> Position:
        """The line and column of an offset into the text."""
        line = bisect.bisect_right(self.lines, offset)
        return Position(self.file, line, offset - self.lines[line - 1] + 1)

    def find(self, *path: str | int) -> Node:
        """The node at a path, or the last one on the way that is there."""
        node: Node = self.root
        for step in path:
            if isinstance(node, Mapping) and step in node.values:
                node = node.values[str(step)]
            elif isinstance(node, Sequence) and isinstance(step, int) and step < len(node.items):
                node = node.items[step]
            else:
                break
        return node

    def position(self, *path: str | int) -> Position:
        """Where the value at a path starts, or the nearest thing above it that is there."""
        return self.place(self.find(*path).start)

    def key_position(self, *path: str | int) -> Position:
        """Where the last key of a path stands; for an item of a list, where the item starts."""
        parent, last = self.find(*path[:-1]), path[-1]
        if isinstance(parent, Mapping) and last in parent.keys:
            return self.place(parent.keys[str(last)].start)
        return self.position(*path)

    def characters(self, *path: str | int) -> Characters:
        """The position of every character of the text at a path, and of its end."""
        return self._characters(self.find(*path))

    def key_characters(self, *path: str) -> Characters:
        """The position of every character of the last key of a path, and of its end."""
        parent = self.find(*path[:-1])
        return self._characters(parent.keys[path[-1]] if isinstance(parent, Mapping) else parent)

    def _characters(self, node: Node) -> Characters:
        if isinstance(node, Scalar):
            return Characters(self.place, self.text[node.start : node.end], node.start, node.style, node.text)
        return Characters(self.place, "", node.start, None, "")


def read(text: str, file: str) -> Document:
    """Read a YAML text whose top level is a mapping.

    Raises:
        SpecError: it is no YAML that can be read at all: broken, empty, several documents, nested too deeply, too large
            once aliases are followed, or not a mapping.
    """
    text = text.removeprefix("\ufeff")
    document = Document(file, text, Mapping(0), {}, [], _line_starts(text))
    try:
        text.encode()
        root = _Composer(document).compose()
    except UnicodeEncodeError as error:
        raise _broken(document, error.start, "this character is half of a surrogate pair, not text") from None
    except yaml.reader.ReaderError as error:
        character = error.character if isinstance(error.character, int) else ord(error.character)
        message = f"the character U+{character:04X} is not allowed in YAML"
        raise _broken(document, max(text.find(chr(character)), 0), message) from None
    except yaml.MarkedYAMLError as error:
        raise _translated(document, error) from None
    if not isinstance(root, Mapping):
        what = "the file is empty" if root is None else "a spec is a mapping of keys to values"
        raise _broken(document, root.start if root else 0, what, "start with `version: 1`")
    document.root.keys.update(root.keys)
    document.root.values.update(root.values)
    document.data.update(_Plain(document).mapping(root, 0))
    return document


def _line_starts(text: str) -> list[int]:
    """Lines as editors count them. YAML's other line breaks (U+2028 and its kin) start no line there."""
    return [0, *(found.end() for found in _LINE_BREAK.finditer(text))]


def _broken(document: Document, offset: int, message: str, hint: str = "") -> SpecError:
    return SpecError([Problem(message, document.place(offset), hint)])


def _translated(document: Document, error: yaml.MarkedYAMLError) -> SpecError:
    """What libyaml says, with a hint where its words alone do not help."""
    mark = error.problem_mark or error.context_mark
    message = f"not valid YAML: {error.problem or error.context}"
    if error.context and error.problem:
        message += f" ({error.context})"
    hint = next((hint for words, hint in _HINTS.items() if words in message), "")
    return _broken(document, min(mark.index, len(document.text)) if mark else 0, message, hint)


class _Composer:
    """Builds nodes from events, without recursion in C."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.anchors: dict[str, Node] = {}
        self.events: Iterator[yaml.Event] = yaml.parse(document.text, Loader=LOADER)

    def compose(self) -> Node | None:
        root: Node | None = None
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    hint = "remove the line `---` and what follows it"
                    raise _broken(
                        self.document, _start(event), "one file holds one spec, and another starts here", hint
                    )
                root = self.node(next(self.events), 0)
        return root

    def node(self, event: yaml.Event, depth: int) -> Node:
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.anchors:
                hint = "an alias (*name) repeats what stands complete above it, at its anchor (&name)"
                raise _broken(self.document, _start(event), f"the alias *{event.anchor} repeats nothing", hint)
            return self.anchors[event.anchor]
        if depth > MAX_DEPTH:
            raise _broken(self.document, _start(event), f"nested more than {MAX_DEPTH} levels deep")
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            node = self.scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            self.tag(event, ("!", "tag:yaml.org,2002:seq"))
            node = self.sequence(event, depth)
        else:
            assert isinstance(event, yaml.MappingStartEvent)  # noqa: S101  # the only kind of event left
            self.tag(event, ("!", "tag:yaml.org,2002:map"))
            node = self.mapping(event, depth)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def scalar(self, event: yaml.ScalarEvent) -> Scalar:
        text, style = event.value, event.style or None  # libyaml says '' where PyYAML's own parser says None
        self.tag(event, _STRING_TAGS)
        problem = _unusable(text)
        if problem:
            self.problem(_start(event), problem)
        value = _resolve(text) if event.tag is None and style is None else text
        start, end = _start(event), event.end_mark.index if event.end_mark else _start(event)
        properties = _PROPERTIES.match(self.document.text, start, end)
        return Scalar(text, value, style, properties.end() if properties else start, end)

    def sequence(self, event: yaml.SequenceStartEvent, depth: int) -> Sequence:
        node = Sequence(_start(event))
        for inner in self.events:
            if isinstance(inner, yaml.SequenceEndEvent):
                break
            node.items.append(self.node(inner, depth + 1))
        return node

    def mapping(self, event: yaml.MappingStartEvent, depth: int) -> Mapping:
        node = Mapping(_start(event))
        for inner in self.events:
            if isinstance(inner, yaml.MappingEndEvent):
                break
            key = self.node(inner, depth + 1)
            value = self.node(next(self.events), depth + 1)
            if not isinstance(key, Scalar):
                self.problem(_start(inner), "a key is a name, not a list or a mapping")
            elif key.text == "<<" and key.style is None:
                hint = "write the keys out, or give whole values an anchor (&name) and repeat them (*name)"
                self.problem(key.start, "merge keys (<<) are not supported", hint)
            elif key.text in node.keys:
                first = self.document.place(node.keys[key.text].start)
                self.problem(key.start, f"the key {key.text!r} is given twice; first at {first}", "remove one of them")
            else:
                node.keys[key.text] = key
                node.values[key.text] = value
        return node

    def tag(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent, allowed: tuple[str, str]) -> None:
        if event.tag is not None and event.tag not in allowed:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self.problem(_start(event), f"the YAML tag {tag} has no meaning in a spec", "remove the tag")

    def problem(self, offset: int, message: str, hint: str = "") -> None:
        self.document.problems.append(Problem(message, self.document.place(offset), hint))


def _start(event: yaml.Event) -> int:
    return event.start_mark.index if event.start_mark else 0


def _unusable(text: str) -> str:
    """Why a text can be no part of SQL at all, or nothing. Escapes in double quotes can spell such characters."""
    if "\x00" in text:
        return "a NUL character cannot be part of anything in Postgres"
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        return "an escape spells half of a surrogate pair; write \\U and eight digits for the whole character"
    return ""


def _resolve(text: str) -> str | int | float | bool | None:
    """A plain scalar as YAML 1.1 reads it, without its octal, sexagesimal and timestamp numbers, which stay text."""
    if text in _WORDS:
        return _WORDS[text]
    if not text.isascii() or text[0] not in "+-.0123456789":
        return text
    digits = text[1:] if text[0] in "+-" else text
    if digits.isdigit() and (digits == "0" or digits[0] != "0") and len(digits) <= 40:
        return int(text)
    whole, dot, fraction = digits.partition(".")
    if dot and (whole + fraction).isdigit():
        return float(text)
    return text


class _Plain:
    """Nodes as plain Python values. Keys without a value are problems: nothing in a spec means anything when empty."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.count = 0

    def value(self, node: Node, depth: int) -> object:
        self.count += 1
        if self.count > MAX_NODES or depth > MAX_DEPTH:
            raise _broken(self.document, node.start, "the file is too large once its aliases are followed")
        if isinstance(node, Mapping):
            return self.mapping(node, depth)
        if isinstance(node, Sequence):
            return [self.value(item, depth + 1) for item in node.items if not self.empty(item, "an item of this list")]
        return node.value

    def mapping(self, node: Mapping, depth: int) -> dict[str, object]:
        return {
            key: self.value(value, depth + 1)
            for key, value in node.values.items()
            if not self.empty(value, key, node.keys[key].start)
        }

    def empty(self, node: Node, what: str, start: int | None = None) -> bool:
        if not isinstance(node, Scalar) or node.value is not None:
            return False
        place = self.document.place(node.start if start is None else start)
        hint = "give it a value or remove it; {} stands for a mapping in which everything has its default"
        self.document.problems.append(Problem(f"{what} has no value", place, hint))
        return True
