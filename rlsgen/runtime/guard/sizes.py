"""What a call would make of a small text: rows and bytes that can be seen before it runs are bounded.

Only constants are looked at: what columns hold is bounded by the limits of time, rows and bytes.
"""

from __future__ import annotations

import datetime
import math
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

import postgast
from google.protobuf.message import Message
from postgast import pg_query_pb2 as pb
from postgast import unwrap_node

from rlsgen.runtime.guard.text import Text, words

MAX_ROWS = 1_000_000
MAX_LENGTH = 100_000
MAX_FACTORIAL = 1_000
MAX_REPEATED = 10_000
_PADS = ("lpad", "rpad")
_SIZED = frozenset({"repeat", "lpad", "rpad", "array_fill", "factorial", "format", "generate_series"})
_FIELDS = {4: 365 * 86_400.0, 2: 30 * 86_400.0, 8: 86_400.0, 1024: 3600.0, 2048: 60.0, 4096: 1.0}  # interval '1' day
_DAY = 86_400.0
_UNITS = {
    "microsecond": 1e-6, "us": 1e-6, "usec": 1e-6, "millisecond": 1e-3, "ms": 1e-3, "msec": 1e-3, "second": 1.0,
    "s": 1.0, "sec": 1.0, "minute": 60.0, "m": 60.0, "min": 60.0, "hour": 3600.0, "h": 3600.0, "hr": 3600.0,
    "day": _DAY, "d": _DAY, "week": 7 * _DAY, "w": 7 * _DAY, "month": 30 * _DAY, "mon": 30 * _DAY, "year": 365 * _DAY,
    "y": 365 * _DAY, "yr": 365 * _DAY, "decade": 3650 * _DAY, "century": 36500 * _DAY, "centurie": 36500 * _DAY,
    "millennium": 365000 * _DAY,
}  # fmt: skip
_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "^": math.pow,
}
_NUMBERS = ("int2", "int4", "int8", "numeric", "float4", "float8")
_TODAY = ("now", "today", "tomorrow", "yesterday")
_LONGEST = 200
"""Characters of a number, date or interval that are looked at: nothing that Postgres reads as one needs as many."""
# None of these looks at a character twice for the same beginning.
_PART = re.compile(r"([+-]?(?>[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)) ?([a-z]++)")  # of an interval, which is no SQL
_WIDTH = re.compile(r"%(?:[0-9]+\$)?-?(\*|[0-9]+)")  # of format()'s template, which is no SQL
_CLOCK = re.compile(r"([+-]?)([0-9]++):([0-9]++)(?::([0-9]++(?:\.[0-9]*+)?))?$")


def check_size(text: Text, node: Any, at: int) -> None:
    """Refuse a call whose constants ask for too much.

    Raises:
        StatementRefused: more than `MAX_ROWS` rows of generate_series, or a text or array longer than `MAX_LENGTH`.
    """
    name, args = words(node.funcname)[-1], [unwrap_node(each) for each in node.args]
    if name in _SIZED and any(isinstance(each, pb.NamedArgExpr) for each in args):
        raise text.refused(f"the arguments of {name} have no names", reason="size", at=at)
    if name == "generate_series":
        rows = _series(args)
        if rows > MAX_ROWS:
            message = f"generate_series would make {rows:,.0f} rows; at most {MAX_ROWS:,} are allowed"
            raise text.refused(message, reason="size", at=at, hint="use a larger step, or a smaller range")
    elif name in _PADS:
        _bounded(text, name, args[1:2], at, MAX_LENGTH)
    elif name == "repeat":
        _repeated(text, args, at)
    elif name == "factorial":
        _bounded(text, name, args[:1], at, MAX_FACTORIAL)
    elif name == "array_fill" and len(args) > 1:
        sizes = list(args[1].elements) if isinstance(args[1], pb.A_ArrayExpr) else None
        if sizes is None:
            raise text.refused("array_fill needs its sizes written out", reason="size", at=at, hint="ARRAY[3, 4]")
        _bounded(text, name, [unwrap_node(each) for each in sizes], at, MAX_LENGTH)
    elif name == "format" and args:
        _template(text, args[0], at)


def _repeated(text: Text, args: Sequence[Message], at: int) -> None:
    _bounded(text, "repeat", args[1:2], at, MAX_REPEATED)
    for _, node in postgast.walk(args[0]):
        if isinstance(node, pb.FuncCall) and words(node.funcname)[-1] in (*_PADS, "repeat"):
            raise text.refused("repeat cannot stand on what repeat or a pad made", reason="size", at=at)


def _bounded(text: Text, name: str, sizes: Sequence[Message], at: int, most: int) -> None:
    total = 1.0
    for size in sizes:
        value = _most(size)
        if value is None:
            hint = f"write a number, or least(…, {most})"
            raise text.refused(
                f"how much {name} makes cannot be seen from the statement", reason="size", at=at, hint=hint
            )
        total *= max(value, 1.0)
    if total > most:
        raise text.refused(f"{name} would make {total:,.0f}; at most {most:,} are allowed", reason="size", at=at)


def _most(node: Message) -> float | None:
    """The most that a size can be. No arithmetic: Postgres divides and rounds in types of its own, and NaN is large."""
    if isinstance(node, pb.MinMaxExpr) and node.op == pb.IS_LEAST:
        # Texts without a type would make it the least of texts, where '60' comes after '1000000'.
        arms = [arm for each in node.args if not _is_text(arm := unwrap_node(each))]
        known = [value for arm in arms if (value := _most(arm)) is not None]
        return min(known) if known else None
    if isinstance(node, pb.TypeCast):
        return _most(unwrap_node(node.arg)) if words(node.type_name.names)[-1] in _NUMBERS else None
    value = _constant(node) if isinstance(node, pb.A_Const) else None
    return value if value is not None and math.isfinite(value) else None


def _is_text(node: Message) -> bool:
    return isinstance(node, pb.A_Const) and node.HasField("sval")


def _template(text: Text, node: Message, at: int) -> None:
    while isinstance(node, pb.TypeCast):
        node = unwrap_node(node.arg)
    if not (isinstance(node, pb.A_Const) and node.HasField("sval")):
        hint = "write the template as a text, or use concat() or ||"
        raise text.refused("the template of format must be a constant", reason="size", at=at, hint=hint)
    for width in _WIDTH.findall(node.sval.sval.replace("%%", "")):
        if width == "*" or len(width.lstrip("0")) > 4 or int(width[-4:]) > 1000:
            raise text.refused("format can fill up to a width of 1000, written as a number", reason="size", at=at)


def _series(args: Sequence[Message]) -> float:
    """How many rows, 0 where that cannot be seen."""
    if len(args) < 2:
        return 0
    start, stop = _scalar(args[0]), _scalar(args[1])
    if start is None or stop is None:
        return 0
    moments = _is_time(args[0]) or _is_time(args[1])
    step = (_DAY if moments else 1.0) if len(args) < 3 else _step(args[2], moments)
    if step is None:
        return 0
    return abs(stop - start) / abs(step) + 1 if step else float("inf")


def _step(node: Message, moments: bool) -> float | None:
    if moments and isinstance(node, pb.A_Const):
        return _interval(_constant_text(node))
    return _moment(node) if moments else _scalar(node)


def _scalar(node: Message) -> float | None:
    """A number, or a moment as seconds since 1970, or an interval as seconds; None where it is not constant."""
    number = _number(node)
    return number if number is not None else _moment(node)


def _number(node: Message) -> float | None:
    if isinstance(node, pb.A_Const):
        return _constant(node)
    if isinstance(node, pb.TypeCast):
        return _number(unwrap_node(node.arg))
    if isinstance(node, pb.A_Expr) and node.kind == pb.AEXPR_OP:
        return _computed(node, _number)
    return None


def _constant(node: pb.A_Const) -> float | None:
    kind = node.WhichOneof("val")
    if kind == "ival":
        return float(node.ival.ival)
    try:
        if kind == "fval":
            return float(node.fval.fval.replace("_", ""))
        return float(node.sval.sval) if kind == "sval" else None
    except ValueError:
        return None


def _computed(node: pb.A_Expr, of: Callable[[Message], float | None]) -> float | None:
    symbol, right = words(node.name)[-1], of(unwrap_node(node.rexpr))
    left = of(unwrap_node(node.lexpr)) if node.HasField("lexpr") else 0.0
    if left is None or right is None or symbol not in _ARITHMETIC:
        return None
    try:
        return _ARITHMETIC[symbol](left, right)
    except (OverflowError, ZeroDivisionError):
        return float("inf")
    except ValueError:  # a root of a negative number
        return None


def _is_time(node: Message) -> bool:
    return _number(node) is None


def _constant_text(node: Message) -> str | None:
    while isinstance(node, pb.TypeCast):
        node = unwrap_node(node.arg)
    return node.sval.sval if isinstance(node, pb.A_Const) and node.HasField("sval") else None


def _moment(node: Message) -> float | None:
    """A moment as seconds since 1970, or an interval as seconds."""
    if isinstance(node, pb.SQLValueFunction):
        return _now()
    if isinstance(node, pb.FuncCall):
        name = words(node.funcname)[-1]
        if name == "date_trunc" and len(node.args) > 1:
            return _moment(unwrap_node(node.args[1]))
        return _now() if name in ("now", "statement_timestamp", "transaction_timestamp") else None
    if isinstance(node, pb.TypeCast):
        written = _constant_text(node)
        return _moment(unwrap_node(node.arg)) if written is None else _typed(node.type_name, written)
    if isinstance(node, pb.A_Expr) and node.kind == pb.AEXPR_OP:
        return _computed(node, _scalar)
    written = _constant_text(node)
    return _date(written) if written is not None else None


def _typed(name: Any, written: str) -> float | None:
    if words(name.names)[-1] != "interval":
        return _date(written)
    bare = _bare_seconds(written)
    return bare * _unit(name) if bare is not None else _interval(written)


def _now() -> float:
    return datetime.datetime.now(datetime.UTC).timestamp()


def _unit(name: Any) -> float:
    """What a bare number counts: in `interval '1' day`, days."""
    return _FIELDS.get(name.typmods[0].a_const.ival.ival, 1.0) if name.typmods else 1.0


def _date(written: str) -> float | None:
    """Seconds since 1970 of an ISO date or time, or of a word for one."""
    word = written.strip().lower()
    if word in ("infinity", "-infinity", "epoch"):
        return {"infinity": float("inf"), "-infinity": float("-inf")}.get(word, 0.0)
    try:
        year, month, day = (int(part) for part in written.strip()[:32].split("T")[0].split(" ")[0].split("-"))
    except ValueError:
        return _now() if word in _TODAY else None
    return (year - 1970) * 365.25 * _DAY + (month - 1) * 30.4 * _DAY + (day - 1) * _DAY


def _interval(written: str | None) -> float | None:
    """Seconds of an interval in words or as hours:minutes."""
    text = " ".join(written.lower().split()) if written is not None else ""
    if not text or len(text) > _LONGEST:
        return None
    total, found = 0.0, False
    clock = _CLOCK.search(text)
    if clock:
        sign = -1.0 if clock[1] == "-" else 1.0
        total, found = sign * (int(clock[2]) * 3600 + int(clock[3]) * 60 + float(clock[4] or 0)), True
        text = text[: clock.start()]
    for number, unit in _PART.findall(text):
        factor = _UNITS.get(unit) or _UNITS.get(unit.rstrip("s"))
        if factor is None:
            return None
        total, found = total + float(number) * factor, True
    return total if found else _bare_seconds(text)


def _bare_seconds(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
