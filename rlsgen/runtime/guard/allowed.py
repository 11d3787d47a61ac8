"""What statements may use of pg_catalog, read from data files, and what the spec adds to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml


@dataclass(frozen=True, slots=True)
class Catalog:
    """Functions, types and operators of pg_catalog that statements may use."""

    functions: frozenset[str]
    columns: Mapping[str, tuple[str, ...]]  # of functions that return rows
    polymorphic: frozenset[str]  # functions whose columns depend on what they are given
    types: frozenset[str]
    operators: frozenset[str]


@cache
def catalog() -> Catalog:
    """The allowlists."""
    functions, types = _read("functions.yaml"), _read("types.yaml")
    columns = {name: tuple(names) for name, names in functions.pop("columns").items()}
    polymorphic = frozenset(functions.pop("polymorphic"))
    every = frozenset(name for names in functions.values() for name in names.split())
    return Catalog(
        every, columns, polymorphic, frozenset(types["types"].split()), frozenset(types["operators"].split())
    )


def _read(name: str) -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load(files(__package__).joinpath(name).read_text(encoding="utf-8"))
    return data
