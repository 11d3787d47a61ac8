"""YAML: values, places, and files that are no spec at all."""

from __future__ import annotations

import pytest
import yaml

from rlsgen.errors import SpecError
from rlsgen.spec import document
from rlsgen.spec.document import read

BOTH = pytest.mark.parametrize("loader", [yaml.CSafeLoader, yaml.SafeLoader])


def places(text: str, *path: str) -> dict[str, str]:
    """Where the letters of a value stand (each letter is used once), and its end as `$`."""
    read_document = read(text, "p.yaml")
    value = read_document.data
    for step in path:
        value = value[step]  # type: ignore[assignment]
    assert isinstance(value, str)
    found = zip([*value, "$"], read_document.characters(*path), strict=True)
    return {character: f"{at.line}:{at.column}" for character, at in found if character not in " \n"}


def refusal(text: str) -> tuple[str, str, str]:
    with pytest.raises(SpecError) as caught:
        read(text, "p.yaml")
    (problem,) = caught.value.problems
    return f"{problem.position}".removeprefix("p.yaml:"), problem.message, problem.hint


def complaints(text: str) -> list[tuple[str, str]]:
    return [(f"{each.position}".removeprefix("p.yaml:"), each.message) for each in read(text, "p.yaml").problems]


@BOTH
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("k: ab c", {"a": "1:4", "b": "1:5", "c": "1:7", "$": "1:8"}),
        ("k: ab   # no\n", {"a": "1:4", "b": "1:5", "$": "1:6"}),
        ("k: a\n   b\n\n   c\n", {"a": "1:4", "b": "2:4", "c": "4:4", "$": "4:5"}),
        ("k: 'a''b'", {"a": "1:5", "'": "1:6", "b": "1:8", "$": "1:9"}),
        ("k: 'a\n  b'", {"a": "1:5", "b": "2:3", "$": "2:4"}),
        (
            'k: "a\\"b\\u00e9\\x41\\\n   c"',
            {"a": "1:5", '"': "1:6", "b": "1:8", "é": "1:9", "A": "1:15", "c": "2:4", "$": "2:5"},
        ),
        ('k: "\\U0001F600z"', {"😀": "1:5", "z": "1:15", "$": "1:16"}),
        ("k: é😀x", {"é": "1:4", "😀": "1:5", "x": "1:6", "$": "1:7"}),
        ("k: |\n  ab\n    c\n", {"a": "2:3", "b": "2:4", "c": "3:5", "$": "4:1"}),
        ("k: |2-  # x\n   ab\n\n  c", {"a": "2:4", "b": "2:5", "c": "4:3", "$": "4:4"}),
        ("k: >-\n  a\n  b\n\n  c\n", {"a": "2:3", "b": "3:3", "c": "5:3", "$": "5:4"}),
        ("k: >\r\n  a\r\n  b\r\n", {"a": "2:3", "b": "3:3", "$": "4:1"}),
        ("k: a\u2028 b", {"a": "1:4", "\u2028": "1:5", "b": "1:7", "$": "1:8"}),
        ("k: &anchor !!str 'ab'", {"a": "1:19", "b": "1:20", "$": "1:21"}),
        ("k: &anchor |\n  ab\n", {"a": "2:3", "b": "2:4", "$": "3:1"}),
        ("\ufeffk: a", {"a": "1:4", "$": "1:5"}),
        ("k: ''", {"$": "1:5"}),
    ],
)
def test_every_character_has_its_place(
    text: str, expected: dict[str, str], loader: type[yaml.SafeLoader], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document, "LOADER", loader)
    assert places(text, "k") == expected


def test_an_alias_leads_to_its_anchor() -> None:
    read_document = read("a: &x ab\nb: *x\n", "p.yaml")
    assert read_document.data == {"a": "ab", "b": "ab"}
    assert str(read_document.position("b")) == "p.yaml:1:7"
    assert str(read_document.key_position("b")) == "p.yaml:2:1"


@BOTH
def test_plain_scalars(loader: type[yaml.SafeLoader], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "LOADER", loader)
    text = "[1, -2, +3, 0, 1.5, .5, on, No, TRUE, '1', \"on\", 010, 0x1, 1:30, 1_0, 2024-01-01, -+1, -, ., é, !!str 1]"
    values = [1, -2, 3, 0, 1.5, 0.5, True, False, True, "1", "on", "010", "0x1", "1:30", "1_0", "2024-01-01", "-+1"]
    values += ["-", ".", "é", "1"]
    found = read(f"k: {text}", "p.yaml")
    assert found.data == {"k": values}
    assert [type(each) for each in found.data["k"]] == [type(each) for each in values]  # type: ignore[attr-defined]
    assert found.problems == []


def test_keys_are_text_whatever_yaml_makes_of_them() -> None:
    found = read("no: 1\non: 2\n1: 3\nnull: 4\n~: 5\n2024-01-01: 6\n", "p.yaml")
    assert list(found.data) == ["no", "on", "1", "null", "~", "2024-01-01"]
    assert found.problems == []


@BOTH
@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("", "1:1", "the file is empty"),
        ("# only a comment\n", "1:1", "the file is empty"),
        ("- a\n", "1:1", "a spec is a mapping"),
        ("just text", "1:1", "a spec is a mapping"),
        ("a: 1\n---\nb: 2\n", "2:1", "one file holds one spec"),
        ("a: *nowhere\n", "1:4", "the alias *nowhere repeats nothing"),
        ("a: &x [1, *x]\n", "1:11", "the alias *x repeats nothing"),
        ("a:\n\tb: 1\n", "2:1", "cannot start any token"),
        ("a: b: c\n", "1:5", "mapping values are not allowed"),
        ("a: 'x\n", None, "unexpected end of stream"),
        ("a: x\x00y\n", "1:5", "the character U+0000 is not allowed"),
        ("a: é\x01\n", "1:5", "the character U+0001 is not allowed"),
        ("a: \ud800\n", "1:4", "half of a surrogate pair"),
        ("%YAML 3.0\n---\na: 1\n", "1:1", "incompatible YAML"),
        ("k: " + "[" * 100_000, "1:36", "nested more than 32 levels deep"),
        ("- " * 100_000, "1:67", "nested more than 32 levels deep"),
    ],
)
def test_files_that_cannot_be_read(
    text: str, place: str | None, words: str, loader: type[yaml.SafeLoader], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document, "LOADER", loader)
    at, message, _ = refusal(text)
    assert words in message.replace("'\\t' that ", "")
    assert place in (None, at)


def test_hints_for_what_people_get_wrong() -> None:
    assert "spaces, not tabs" in refusal("a:\n\tb: 1\n")[2]
    assert "quotes" in refusal("a: b: c\n")[2]


def test_a_bomb_of_aliases_is_refused() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 8)]
    _, message, _ = refusal("\n".join(lines))
    assert message == "the file is too large once its aliases are followed"


def test_aliases_within_reason_are_fine() -> None:
    assert complaints("a: &x [1, 2]\nb: [*x, *x]\n") == []


def test_duplicate_keys_name_both_places() -> None:
    assert complaints("a: 1\nb: 2\n'a': 3\n") == [("3:1", "the key 'a' is given twice; first at p.yaml:1:1")]
    assert complaints("k: {no: 1, 'no': 2}\n") == [("1:12", "the key 'no' is given twice; first at p.yaml:1:5")]


def test_everything_short_of_broken_is_reported_at_once() -> None:
    text = '<<: {x: 1}\n? [a]\n: 1\nb: !foo 2\nc: !!set {x: 1}\nd: !!python/object:os.system x\ne: "a\\0"\nf:\ng: [~]\n'
    assert complaints(text) == [
        ("1:1", "merge keys (<<) are not supported"),
        ("2:3", "a key is a name, not a list or a mapping"),
        ("4:4", "the YAML tag !foo has no meaning in a spec"),
        ("5:4", "the YAML tag !!set has no meaning in a spec"),
        ("6:4", "the YAML tag !!python/object:os.system has no meaning in a spec"),
        ("7:4", "a NUL character cannot be part of anything in Postgres"),
        ("8:1", "f has no value"),
        ("9:5", "an item of this list has no value"),
    ]


def test_a_quoted_merge_key_is_a_key() -> None:
    assert read("'<<': 1", "p.yaml").data == {"<<": 1}


def test_positions_of_what_is_not_there_are_those_of_what_is_above() -> None:
    found = read("a:\n  b: [1, 2]\n", "p.yaml")
    assert str(found.position("a", "b", 1)) == "p.yaml:2:10"
    assert str(found.position("a", "b", 7)) == "p.yaml:2:6"
    assert str(found.position("a", "c", "d")) == "p.yaml:2:3"
    assert str(found.key_position("a", "b")) == "p.yaml:2:3"
    assert str(found.key_position("a", "c")) == "p.yaml:2:3"


def test_slices_of_places() -> None:
    assert [str(each) for each in read("k: ab", "p.yaml").characters("k")[1:]] == ["p.yaml:1:5", "p.yaml:1:6"]
