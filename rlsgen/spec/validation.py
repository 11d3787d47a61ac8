"""What pydantic finds wrong with a spec's shape, in plain words and with places in the file."""

from __future__ import annotations

import copy
import difflib
import itertools
import re
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rlsgen.errors import Problem
from rlsgen.spec import schema
from rlsgen.spec.document import Document

_NAMED = ("context", "tables", "views")  # their keys are names, not words of the format
_MODELS: dict[tuple[str, ...], type[BaseModel]] = {
    (): schema.RawSpec,
    ("context", "*"): schema.RawField,
    ("roles",): schema.RawRoles,
    ("tables", "*"): schema.RawTable,
    ("tables", "*", "columns"): schema.RawColumns,
    ("views", "*"): schema.RawView,
    ("views", "*", "columns"): schema.RawViewColumns,
    ("functions",): schema.RawFunctions,
    ("limits",): schema.RawLimits,
    ("lint",): schema.RawLint,
}
# They take the place of required parts that are missing or broken, so that everything else can still be looked at. No
# spec is made from them: there is a problem already.
_STAND_INS: dict[str, object] = {
    "version": 1,
    "context": {"standIn": {"type": "text"}},
    "roles": {"conversation": "stand_in"},
}
_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a number",
    "bool_type": "true or false (on or off)",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "too_short": "given at least one member",
}
_BOUNDS = {"greater_than_equal": ("at least", "ge"), "greater_than": ("more than", "gt")}


@dataclass(frozen=True, slots=True)
class Validated:
    """A raw spec without its broken parts, and what is wrong with those; `partial` are the relations that lost some."""

    raw: schema.RawSpec
    problems: list[Problem]
    partial: frozenset[tuple[str, ...]]  # ("tables", "orders")


def validate(document: Document) -> Validated:
    """Check the shape of a spec. Broken parts are left out, as little as possible: the rest is still looked at."""
    try:
        return Validated(schema.RawSpec.model_validate(document.data), [], frozenset())
    except ValidationError as error:
        details = error.errors(include_url=False)
    data: dict[str, Any] = copy.deepcopy(document.data)
    partial = set()
    for detail in details:
        path = _to_remove(detail)
        _remove(data, path)
        partial.add(path[:2])
    if not data.get("context"):
        data.pop("context", None)
    raw = schema.RawSpec.model_validate({**_STAND_INS, **data})
    return Validated(raw, [_problem(document, detail) for detail in details], frozenset(partial))


def _to_remove(detail: ErrorDetails) -> tuple[str, ...]:
    """The smallest part whose removal leaves no error of this kind: never one item of a list, never a required key."""
    path = tuple(str(step) for step in itertools.takewhile(lambda step: isinstance(step, str), detail["loc"]))
    required = path == ("roles", "conversation") or (path[0] == "context" and path[2:] == ("type",))
    return path[:-1] if len(path) > 1 and (required or detail["type"] == "missing") else path


def _remove(data: dict[str, Any], path: tuple[str, ...]) -> None:
    """Take out what stands at a path; a short form goes as a whole."""
    for step in path[:-1]:
        if not isinstance(data.get(step), dict):
            data.pop(step, None)
            return
        data = data[step]
    data.pop(path[-1], None)


def suggest(word: str, known: list[str], otherwise: str = "") -> str:
    """`did you mean "organisationId"?`, or another hint where nothing is close."""
    by_folded = {each.lower(): each for each in known}
    close = difflib.get_close_matches(word.lower(), by_folded, n=1)
    return f'did you mean "{by_folded[close[0]]}"?' if close else otherwise


def _problem(document: Document, detail: ErrorDetails) -> Problem:
    path, kind, value = detail["loc"], detail["type"], detail.get("input")
    name = ".".join(str(step) for step in path)
    place = document.position(*path)
    if kind == "missing":
        where = ".".join(str(step) for step in path[:-1]) or "the spec"
        return Problem(f"{where} lacks the key {path[-1]}", place, _missing_hint(path))
    if kind == "extra_forbidden":
        return _unknown_key(document, path)
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return Problem(f"{name} must be {words} {detail['ctx'][key]:g}, not {_shown(value)}", place)
    if kind == "literal_error":
        expected = str(detail["ctx"]["expected"])
        known = re.findall(r"'([^']*)'", expected)
        return Problem(f"{name} must be {expected}, not {_shown(value)}", place, suggest(str(value), known))
    if kind in _EXPECTED:
        expected = _EXPECTED[kind]
        if kind == "model_type" and len(path) == 2 and path[0] in _NAMED:
            kind, expected = "string_type", "text or a mapping"
        return Problem(f"{name} must be {expected}, not {_shown(value)}", place, _type_hint(kind, value))
    return Problem(f"{name} {detail['msg'][:1].lower()}{detail['msg'][1:]}", place)


def _unknown_key(document: Document, path: tuple[int | str, ...]) -> Problem:
    where, key = path[:-1], str(path[-1])
    model = _MODELS[tuple("*" if at == 1 and path[0] in _NAMED else str(step) for at, step in enumerate(where))]
    known = [field.alias or name for name, field in model.model_fields.items()]
    hint = suggest(key, known, f"known keys: {', '.join(known)}")
    inside = f" in {'.'.join(str(step) for step in where)}" if where else ""
    return Problem(f"unknown key {key!r}{inside}", document.key_position(*path), hint)


def _missing_hint(path: tuple[int | str, ...]) -> str:
    hints = {
        "version": "start with `version: 1`",
        "context": "declare the facts that filters use: `context: {organisationId: integer}`",
        "roles": "name the role that runs untrusted SQL: `roles: {conversation: nl_conversation}`",
        "conversation": "name the role that runs untrusted SQL: `conversation: nl_conversation`",
        "type": "give the field a type: `type: integer`",
    }
    return hints.get(str(path[-1]), "")


def _type_hint(kind: str, value: object) -> str:
    if kind == "string_type" and isinstance(value, bool):
        return "YAML reads yes, no, on and off as truth values; put the text in quotes"
    if kind == "string_type" and isinstance(value, int | float):
        return "put the text in quotes"
    if kind in ("int_type", "float_type") and isinstance(value, str):
        return "write the number in decimal digits, without quotes"
    return ""


def _shown(value: object) -> str:
    """A value as YAML users know it, short."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
