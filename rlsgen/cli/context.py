"""A context from the command line: `--context organisationId=1`, or one JSON object."""

from __future__ import annotations

import json

from rlsgen.errors import InvalidContext
from rlsgen.spec.model import ContextField, Spec


def read_context(spec: Spec, entries: list[str], document: str | None = None) -> dict[str, object]:
    """`field=value` texts as values of the fields' types, and the members of a JSON object. Not validated further.

    Raises:
        InvalidContext: an entry has no `=`, names no field, or names one twice; or the document is no JSON object.
    """
    values = _object(document) if document is not None else {}
    for entry in entries:
        name, separator, text = entry.partition("=")
        field = spec.field(name)
        if not separator or field is None:
            fields = ", ".join(each.name for each in spec.context)
            what = "no such field" if separator else "no value"
            raise InvalidContext(f"--context {name}: {what}", field=name, hint=f"write FIELD=VALUE; fields: {fields}")
        if field.name in values:
            raise InvalidContext(f"--context {field.name} is given twice", field=field.name)
        values[field.name] = _value(field, text)
    return values


def _value(field: ContextField, text: str) -> object:
    """Numbers, booleans and arrays are JSON; everything else is text as it stands."""
    if field.array or field.base in ("integer", "bigint", "boolean"):
        try:
            value: object = json.loads(text)
        except ValueError as error:
            raise InvalidContext(f"--context {field.name}: this is no {field.type}", field=field.name) from error
        return value
    return text


def _object(document: str) -> dict[str, object]:
    try:
        value = json.loads(document, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        hint = """for instance '{"organisationId": 1, "userId": "user_1"}'"""
        raise InvalidContext(f"--context-json: this is no JSON: {error}", hint=hint) from error
    if not isinstance(value, dict):
        raise InvalidContext(f"--context-json must be an object, not {type(value).__name__}")
    return value


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            raise InvalidContext(f"--context-json has {name} twice", field=name)
        found[name] = value
    return found
