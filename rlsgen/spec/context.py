"""The context of a spec: from raw fields to `ContextField` values whose names are safe in Postgres."""

from __future__ import annotations

from typing import cast

from rlsgen.errors import Position, Problem
from rlsgen.spec.document import Document
from rlsgen.spec.model import BaseType, ContextField
from rlsgen.spec.names import MAX_NAME_BYTES, snake_case
from rlsgen.spec.patterns import PatternError, check_pattern
from rlsgen.spec.schema import RawField

MAX_SNAKE = MAX_NAME_BYTES - 7  # room for a version: organisation_id_123456
RESERVED = ("set_context", "fingerprint", "object", "provision")  # rlsgen's own, in the schema where accessors are
_BOUNDS = {"integer": (-(2**31), 2**31 - 1), "bigint": (-(2**63), 2**63 - 1)}


def read_fields(document: Document, raw: dict[str, RawField], problems: list[Problem]) -> tuple[ContextField, ...]:
    """All context fields of a spec; what is wrong with them is added to `problems`."""
    seen: dict[str, str] = {}
    fields = []
    for name, each in raw.items():
        place = document.key_position("context", name)
        problem = _name_problem(name, place)
        folded = name.lower()
        if problem:
            problems.append(problem)
        elif folded in seen:
            message = f"the context fields {seen[folded]} and {name} are the same: SQL folds capitals"
            problems.append(Problem(message, place, "rename one of them"))
        seen.setdefault(folded, name)
        problems.extend(_constraint_problems(document, name, each))
        fields.append(_field(name, each, place))
    return tuple(fields)


def _field(name: str, raw: RawField, place: Position) -> ContextField:
    return ContextField(
        name=name,
        snake=snake_case(name),
        base=cast(BaseType, raw.type.removesuffix("[]")),
        array=raw.type.endswith("[]"),
        required=raw.required,
        minimum=raw.minimum,
        maximum=raw.maximum,
        pattern=raw.pattern,
        max_length=raw.max_length,
        max_items=raw.max_items,
        loggable=raw.loggable,
        position=place,
    )


def _name_problem(name: str, place: Position) -> Problem | None:
    if not (name.isascii() and name.isalnum() and name[0].isalpha()):
        message = f"the context field {name!r} must be letters and digits, starting with a letter"
        return Problem(message, place, _camel_hint(name))
    snake = snake_case(name)
    if snake.startswith("rlsgen") or snake in RESERVED:
        message = f"the context field {name} would be {snake} in SQL, a name that rlsgen uses itself"
        return Problem(message, place, "rename it")
    if len(snake) > MAX_SNAKE:
        message = f"the context field {name} would be {snake} in SQL: {len(snake)} bytes, and {MAX_SNAKE} fit"
        return Problem(message, place, "choose a shorter name")
    return None


def _camel_hint(name: str) -> str:
    """organisationId for organisation_id."""
    words = "".join(each if each.isascii() and each.isalnum() else " " for each in name).split()
    camel = "".join([*words[:1], *(word[:1].upper() + word[1:] for word in words[1:])])
    return f"write {camel}: it becomes {snake_case(camel)} in SQL" if camel[:1].isalpha() else "write organisationId"


def _constraint_problems(document: Document, name: str, raw: RawField) -> list[Problem]:
    base, array = raw.type.removesuffix("[]"), raw.type.endswith("[]")
    rules = (
        ("minimum", raw.minimum, base in _BOUNDS, "integer and bigint"),
        ("maximum", raw.maximum, base in _BOUNDS, "integer and bigint"),
        ("pattern", raw.pattern, base == "text", "text"),
        ("maxLength", raw.max_length, base == "text", "text"),
        ("maxItems", raw.max_items, array, "arrays"),
    )
    problems = []
    for key, value, fits, wanted in rules:
        if value is not None and not fits:
            message = f"{key} has no meaning for {name}, which is of type {raw.type}"
            problems.append(Problem(message, document.key_position("context", name, key), f"{key} is for {wanted}"))
    problems.extend(_number_problems(document, name, raw, base))
    if raw.pattern is not None and base == "text":
        try:
            check_pattern(raw.pattern)
        except PatternError as error:
            place = document.characters("context", name, "pattern")[error.offset]
            problems.append(Problem(f"pattern of {name}: {error.message}", place, error.hint))
    return problems


def _number_problems(document: Document, name: str, raw: RawField, base: str) -> list[Problem]:
    if base not in _BOUNDS:
        return []
    least, most = _BOUNDS[base]
    problems = []
    for key, value in (("minimum", raw.minimum), ("maximum", raw.maximum)):
        if value is not None and not least <= value <= most:
            place = document.position("context", name, key)
            problems.append(Problem(f"{key} of {name} is {value}, which no {base} can be", place))
    if raw.minimum is not None and raw.maximum is not None and raw.minimum > raw.maximum:
        message = f"minimum of {name} is {raw.minimum}, more than its maximum {raw.maximum}"
        problems.append(Problem(message, document.position("context", name, "minimum")))
    return problems
