"""What a column's name says about its values: words of the name against lists that are kept as data."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib.resources import files
from typing import Literal

Kind = Literal["secrets", "personal"]


@cache
def _lists() -> Mapping[str, frozenset[tuple[str, ...]]]:
    text = files("rlsgen.proof").joinpath("column_names.toml").read_text("utf-8")
    return {key: frozenset(tuple(each.split()) for each in entries) for key, entries in tomllib.loads(text).items()}


def _words(name: str) -> tuple[str, ...]:
    """`passwordHash`, `password_hash` and `PASSWORD HASH` as two words."""
    spaced, before = "", ""
    for each in name:
        if each.isupper() and (before.islower() or before.isdigit()):
            spaced += " "
        spaced += each.lower() if each.isalnum() else " "
        before = each
    return tuple(spaced.split())


@lru_cache(maxsize=65_536)
def looks(name: str, kind: Kind) -> bool:
    """Whether a column's name has the words of one of a list's entries in it."""
    words, lists = _words(name), _lists()
    if not words or words[-1:] in lists["not"]:
        return False
    spans = {
        words[start:end] for start in range(len(words)) for end in range(start + 1, min(start + 3, len(words)) + 1)
    }
    return not spans.isdisjoint(lists[kind])
