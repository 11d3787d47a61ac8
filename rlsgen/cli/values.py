"""Values of a result as text and as JSON.

JSON: numeric as a string, since readers would make a float of it and lose digits; whole numbers as numbers; dates,
times and intervals in ISO 8601; bytea in hex, as Postgres shows it; NaN and infinities as strings; NULL as null.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from typing import Any

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]


def json_value(value: object) -> JsonValue:
    """A value of psycopg's default loaders as JSON has it."""
    form = next((form for kinds, form in _FORMS if isinstance(value, kinds)), str)  # str: Decimal, UUID, ranges
    return form(value)


def text_value(value: object) -> str | None:
    """A value for people and CSV; None for NULL."""
    match value:
        case None:
            return None
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.isoformat(" ")
        case _:
            plain = json_value(value)
            return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _duration(value: timedelta) -> str:
    """An interval as ISO 8601 has it: P1DT2H0M3.5S; a minus sign before all of it."""
    micros = value // timedelta(microseconds=1)
    seconds, fraction = divmod(abs(micros), 1_000_000)
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    day, hour = divmod(hours, 24)
    digits = f"{second}.{fraction:06}".rstrip("0").rstrip(".") if fraction else f"{second}"
    return f"{'-' if micros < 0 else ''}P{day}DT{hour}H{minute}M{digits}S"


def _number(value: float) -> JsonValue:
    return value if math.isfinite(value) else {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")


_FORMS: tuple[tuple[tuple[type, ...], Callable[[Any], JsonValue]], ...] = (
    ((type(None), bool, int, str), lambda value: value),
    ((float,), _number),
    ((list, tuple), lambda value: [json_value(each) for each in value]),
    ((Mapping,), lambda value: {str(name): json_value(each) for name, each in value.items()}),
    ((date, time), lambda value: value.isoformat()),  # datetime is a date
    ((timedelta,), _duration),
    ((bytes, bytearray, memoryview), lambda value: "\\x" + bytes(value).hex()),
)
