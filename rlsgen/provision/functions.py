"""The functions of the sealed context: the setter that verifies a token, an accessor for every field, the fingerprint.

Templates lay the SQL out; what a value must look like is decided here. The bodies are read again in every session,
under whatever settings the caller chose: so no literal has a backslash outside of E'', no input depends on DateStyle or
TimeZone, and no secret is ever the parameter of a query, whose plan debug_print_plan would print.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import LiteralString

from rlsgen.identifiers import Name, Sql, dollar_quoted, fill, literal
from rlsgen.provision.keys import PADS
from rlsgen.provision.render import render
from rlsgen.runtime.token import (
    CLOCK_SKEW_SECONDS,
    DEFAULT_MAX_ITEMS,
    DEFAULT_MAX_LENGTH,
    MAX_LIFETIME_SECONDS,
    MAX_TOKEN_BYTES,
    integer_range,
)
from rlsgen.spec.fingerprint import Fingerprint
from rlsgen.spec.model import ContextField, Spec

SCHEMA = "rlsgen"
FINGERPRINT = Name(SCHEMA, "fingerprint")
SEAL_VERSION = 1
"""Part of what is sealed: a later encoding must never be mistaken for this one."""

_SEAL = literal("app.rlsgen_seal")
_BASES = ("integer", "bigint", "uuid", "text", "boolean", "date", "timestamptz", "timestamp with time zone")
_TYPES: Mapping[str, Sql] = {base + suffix: Sql(base + suffix) for base in _BASES for suffix in ("", "[]")}
"""Types of accessors, as a spec spells them and as format_type does."""
_HINT_ACCESSOR = literal(
    "call rlsgen.set_context with a fresh token first, in the same transaction; a setting that is changed afterwards,"
    " or a connection that changes its user, voids the context"
)
_HINT_TRUSTING = literal("set the context's settings first, in the same session or transaction")
_HINT_SETTER = literal(
    "mint a fresh token for this database, with a signing key that is not retired and the fields of its spec, on a"
    " machine whose clock is right; a transaction takes one context, before it opens a cursor"
)


@dataclass(frozen=True, slots=True)
class DesiredFunction:
    """A function that must exist."""

    name: Name
    arguments: str  # identity arguments as pg_get_function_identity_arguments shows
    create: Sql  # one CREATE OR REPLACE FUNCTION statement
    execute: bool  # whether the conversation role gets EXECUTE


@dataclass(frozen=True, slots=True)
class Accessor:
    """A function without arguments that gives a context field's value; `field` None: the field has left the spec."""

    function: str
    type: str
    field: ContextField | None


def accessor_versions(spec: Spec, existing: Mapping[str, str]) -> tuple[Accessor, ...]:
    """The accessor of every field: the existing function of its name, or a version of it, that has its type.

    A function's type cannot be replaced while policies use it, so a field whose type changes gets the next free name:
    `organisation_id`, `organisation_id__2`, `organisation_id__3`. (Snake case never has a double underscore.)

    Args:
        spec: what is declared.
        existing: the result types, as format_type shows them, of the functions in schema rlsgen by name.
    """
    return tuple(Accessor(_version(field, existing), field.type, field) for field in spec.context)


def _version(field: ContextField, existing: Mapping[str, str]) -> str:
    types = (field.type, field.type.replace("timestamptz", "timestamp with time zone"))
    versions = [name for name in existing if name == field.snake or _number(name, field.snake)]
    for name in sorted(versions, key=lambda name: _number(name, field.snake)):
        if existing[name] in types:
            return name
    candidates = (field.snake if number == 1 else f"{field.snake}__{number}" for number in count(1))
    return next(name for name in candidates if name not in existing)


def _number(name: str, snake: str) -> int:
    """The version number in a function's name; 0 for the first, and for names that are no version of `snake`."""
    digits = name.removeprefix(f"{snake}__")
    return int(digits) if digits != name and digits.isascii() and digits.isdecimal() else 0


def context_functions(
    spec: Spec, accessors: Sequence[Accessor], retired: Sequence[Accessor] = ()
) -> tuple[DesiredFunction, ...]:
    """The setter and all accessors.

    Args:
        spec: what is declared; the seal covers its fields in this order.
        accessors: one for every field, under the name that `accessor_versions` gives it.
        retired: accessors that policies still use while the context changes. One whose field is still declared reads it
            under the same seal and casts it to its own, old type; one whose field is gone raises 'no tenant context'.
    """
    sealed = _Sealed(_layout(spec), tuple(_claimed(field) for field in spec.context))
    made = [_accessor(each, sealed if spec.seal else None) for each in (*accessors, *retired)]
    return (_setter(spec, sealed), *made)


def fingerprint_function(spec: Spec) -> DesiredFunction:
    """What tells a runtime whether the database was provisioned with its spec; replaced when all else is there."""
    body = render("fingerprint.sql.j2", fingerprint=literal(Fingerprint.of(spec).text))
    return _function(FINGERPRINT.name, body, result=Sql("text"), parameters="", kind="STABLE PARALLEL SAFE")


def key_tables() -> Sql:
    """The tables of the keys, and a seal key where there is none: statements that may run again and again."""
    return render(
        "keys.sql.j2",
        protect=dollar_quoted(f"\n{render('keys_protect.sql.j2')}\n"),
        seal=dollar_quoted(f"\n{render('keys_seal.sql.j2', pads=PADS)}\n"),
    )


@dataclass(frozen=True, slots=True)
class _Sealed:
    """What the seal covers besides the transaction: how to read the values, and what the settings claim they are."""

    layout: Sql
    claimed: tuple[Sql, ...]  # an expression per field; a setting that was set locally reads as '' afterwards, not NULL


def _layout(spec: Spec) -> Sql:
    """A digest of the context's fields in their order.

    Without it, a transaction that is open while the context changes could keep its seal and swap its values: what was a
    team's number is an organisation's in the next layout.
    """
    fields = [[field.snake, field.type, field.required] for field in spec.context]
    return literal(hashlib.sha256(json.dumps([SEAL_VERSION, *fields]).encode()).hexdigest()[:16])


def _claimed(field: ContextField) -> Sql:
    return fill("nullif(current_setting({}, true), '')", literal(field.setting))


def _function(name: str, body: Sql, *, result: Sql, parameters: LiteralString, kind: LiteralString) -> DesiredFunction:
    qualified = Name(SCHEMA, name)
    create = render(
        "context.sql.j2",
        name=qualified.sql,
        parameters=Sql(parameters),
        result=result,
        kind=Sql(kind),
        body=dollar_quoted(f"\n{body}\n"),
    )
    return DesiredFunction(qualified, parameters, create, execute=True)


def _accessor(accessor: Accessor, sealed: _Sealed | None) -> DesiredFunction:
    field, result = accessor.field, _TYPES[accessor.type]
    if field is None:
        body, kind = render("context_gone.sql.j2", hint=_HINT_ACCESSOR), "STABLE PARALLEL SAFE"
    elif sealed:
        body, kind = _sealed_body(field, result, sealed), "STABLE PARALLEL RESTRICTED SECURITY DEFINER"
    else:
        body = render(
            "context_trusting.sql.j2",
            value=_claimed(field),
            type=result,
            required=field.required,
            hint=_HINT_TRUSTING,
        )
        kind = "STABLE PARALLEL SAFE"
    return _function(accessor.function, body, result=result, parameters="", kind=kind)


def _sealed_body(field: ContextField, result: Sql, sealed: _Sealed) -> Sql:
    return render(
        "context_accessor.sql.j2",
        sealed=sealed,
        seal=_SEAL,
        value=_claimed(field),
        type=result,
        hint=_HINT_ACCESSOR,
    )


@dataclass(frozen=True, slots=True)
class _Slot:
    """What the setter's template needs to know of a field."""

    name: Sql  # its name in the token
    setting: Sql
    variable: Sql
    item: Sql  # the column that has the field's JSON value, of i
    text: Sql  # the column that has its text, of t; NULL where it is absent
    read: Sql  # the expression for the text
    fits: Sql  # whether it fits; NULL and data exceptions, which the setter refuses, say no too
    value: Sql  # its text in Postgres' spelling


def _setter(spec: Spec, sealed: _Sealed) -> DesiredFunction:
    slots = [_slot(field, number) for number, field in enumerate(spec.context, 1)]
    body = render(
        "context_setter.sql.j2",
        sealed=sealed,
        seal=_SEAL,
        first=Sql("parts[1]"),
        second=Sql("parts[2]"),
        fields=slots,
        variables=[slot.variable for slot in slots],
        max_bytes=MAX_TOKEN_BYTES,
        max_lifetime=MAX_LIFETIME_SECONDS,
        skew=CLOCK_SKEW_SECONDS,
        hint=_HINT_SETTER,
    )
    kind: LiteralString = "VOLATILE PARALLEL UNSAFE SECURITY DEFINER"
    return _function("set_context", body, result=Sql("void"), parameters="token text", kind=kind)


def _slot(field: ContextField, number: int) -> _Slot:
    item, text = fill("item_{}", Sql(number)), fill("text_{}", Sql(number))
    json, value = fill("i.{}", item), fill("t.{}", text)
    if field.array:
        read, fits = _array(field, json), fill("{} IS NOT NULL", value)
    else:
        read, fits = fill("{} #>> '{{}}'", json), _condition(field, json, value)
    if not field.required:
        fits = fill("coalesce(json_typeof({}), 'null') = 'null' OR {}", json, fits)
    return _Slot(
        name=literal(field.name),
        setting=literal(field.setting),
        variable=fill("value_{}", Sql(number)),
        item=item,
        text=text,
        read=read,
        fits=fits,
        value=value if field.array else _canonical(field, value),
    )


def _array(field: ContextField, json: Sql) -> Sql:
    """The text of an array, or NULL if anything in it does not fit."""
    element = Sql("(e.element #>> '{}')")
    return fill(
        """CASE WHEN json_typeof({json}) = 'array' AND json_array_length({json}) <= {most} THEN (
            SELECT coalesce(array_agg({value} ORDER BY e.place)::text, '{{}}')
            FROM json_array_elements({json}) WITH ORDINALITY AS e (element, place)
            HAVING coalesce(bool_and(({fits}) IS TRUE), true)) END""",
        json=json,
        most=literal(DEFAULT_MAX_ITEMS if field.max_items is None else field.max_items),
        value=_canonical(field, element),
        fits=_condition(field, Sql("e.element"), element),
    )


_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_HOUR = "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,6})?"
_OFFSET = "(Z|[+-](0[0-9]|1[0-5]):[0-5][0-9])"


def _condition(field: ContextField, item: Sql, text: Sql) -> Sql:
    """Whether a JSON value fits its field; NULL and data exceptions, which the setter refuses, say no too."""
    match field.base:
        case "boolean":
            return fill("json_typeof({}) = 'boolean'", item)
        case "text":
            return fill("json_typeof({}) = 'string' AND {}", item, _text_condition(field, text))
        case "uuid":
            return fill("json_typeof({item}) = 'string' AND {text} = ({text}::uuid)::text", item=item, text=text)
        case "integer" | "bigint":
            return _integer_condition(field, item, text)
        case "date":
            shape = literal(f"^{_DAY}$")
        case "timestamptz":
            shape = literal(f"^{_DAY}T{_HOUR}{_OFFSET}$")
    return fill(
        """json_typeof({item}) = 'string' AND {text} COLLATE "C" ~ {shape} AND ({canonical})::{type} IS NOT NULL""",
        item=item,
        text=text,
        shape=shape,
        canonical=_canonical(field, text),
        type=_TYPES[field.base],
    )


def _integer_condition(field: ContextField, item: Sql, text: Sql) -> Sql:
    # There and back again: refuses 01, +1, -0, 1e2, 1.0 and whatever else a server's input takes for a number.
    least, most = integer_range(field)
    return fill(
        "json_typeof({item}) IN ({json}) AND {text} = ({text}::bigint)::text"
        " AND {text}::bigint BETWEEN {least} AND {most}",
        item=item,
        json=Sql("'number'" if field.base == "integer" else "'number', 'string'"),
        text=text,
        least=literal(least),
        most=literal(most),
    )


def _text_condition(field: ContextField, text: Sql) -> Sql:
    longest = DEFAULT_MAX_LENGTH if field.max_length is None else field.max_length
    control = literal(r"[\u0001-\u001f\u007f-\u009f]")
    plain = fill("{0} <> '' AND char_length({0}) <= {1} AND {0} COLLATE \"C\" !~ {2}", text, literal(longest), control)
    if field.pattern is None:
        return plain
    return fill('{} AND {} COLLATE "C" ~ {}', plain, text, literal(f"^(?:{field.pattern})$"))


def _canonical(field: ContextField, text: Sql) -> Sql:
    """The text form of a value: the token's, but for Z, an abbreviation that timezone_abbreviations can redefine."""
    if field.base != "timestamptz":
        return text
    return fill("CASE WHEN right({0}, 1) = 'Z' THEN left({0}, -1) || '+00:00' ELSE {0} END", text)
