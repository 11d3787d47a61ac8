"""Context tokens: what a conversation's user is, signed for one database and for seconds.

A token is a JWT (RFC 7519), signed with HS256, that `rlsgen.set_context` verifies inside the database. The protocol is
written down in docs/sealed-context.md; this is its reference implementation.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import re
import secrets
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import jwt

from rlsgen.errors import InvalidContext, KeyProblem
from rlsgen.spec.model import BaseType, ContextField

MAX_TOKEN_BYTES = 65_536
MAX_LIFETIME_SECONDS = 900
"""How far in the future `exp` may lie when the database sees it."""
CLOCK_SKEW_SECONDS = 10
"""How far the clocks of whoever mints and of the database may differ."""
DEFAULT_LIFETIME_SECONDS = 30
DEFAULT_MAX_LENGTH = 1_024
"""Characters of a text, where the spec does not say."""
DEFAULT_MAX_ITEMS = 1_000
"""Items of an array, where the spec does not say."""
INTEGER_RANGES: Mapping[str, tuple[int, int]] = {"integer": (-(2**31), 2**31 - 1), "bigint": (-(2**63), 2**63 - 1)}

_SAFE_NUMBER = 2**53  # beyond it, other languages' JSON numbers lose digits: RFC 8259, section 6
_KEY = re.compile(r"rlsgen1\.([A-Za-z0-9_-]{1,64})\.([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.([A-Za-z0-9_-]{43})")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?"
    r"(Z|[+-](0[0-9]|1[0-5]):[0-5][0-9])"
)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

Json = str | int | bool


@dataclass(frozen=True, slots=True)
class SigningKey:
    """What signs context tokens for one provisioned database. Its `repr` and `str` do not show the secret."""

    kid: str
    audience: str  # the id of the provision, a uuid
    secret: bytes = field(repr=False)  # 32 random bytes

    @classmethod
    def parse(cls, text: str) -> SigningKey:
        """Read the one string that `rlsgen keys create` shows: `rlsgen1.<kid>.<audience>.<secret in base64url>`.

        Raises:
            KeyProblem: it is malformed; the message does not repeat it.
        """
        match = _KEY.fullmatch(text.strip())
        try:
            secret = base64.b64decode(match[3] + "=", altchars=b"-_", validate=True) if match else b""
        except binascii.Error:
            secret = b""
        if match is None or len(secret) != 32:
            hint = "it is the whole line that `rlsgen keys create` shows: rlsgen1.<kid>.<audience>.<secret>"
            raise KeyProblem("the signing key is malformed", hint=hint)
        return cls(match[1], match[2], secret)

    def reveal(self) -> str:
        """The string that `parse` reads: show it once, and never log it."""
        secret = base64.urlsafe_b64encode(self.secret).rstrip(b"=").decode()
        return f"rlsgen1.{self.kid}.{self.audience}.{secret}"


def mint(
    key: SigningKey,
    fields: Sequence[ContextField],
    context: Mapping[str, object],
    *,
    lifetime_seconds: int = DEFAULT_LIFETIME_SECONDS,
    now: float | None = None,
) -> str:
    """A token that sets `context`, which must fit `fields`, in the next `lifetime_seconds`.

    Args:
        key: of the database that the token is for.
        fields: what the spec declares.
        context: a value per field, by the field's name as in the spec; None counts as absent.
        lifetime_seconds: from 1 to 900; the database takes no token from further in the future.
        now: seconds since 1970, if not the clock's.

    Raises:
        InvalidContext: the context does not fit, or needs a token of over 64 KB; names the field, never the value.
        ValueError: the lifetime is out of bounds.
    """
    return sign(key, canonical_context(fields, context), lifetime_seconds=lifetime_seconds, now=now)


def sign(
    key: SigningKey,
    canonical: Mapping[str, Json | list[Json]],
    *,
    lifetime_seconds: int = DEFAULT_LIFETIME_SECONDS,
    now: float | None = None,
) -> str:
    """`mint` of what `canonical_context` gave, which is not looked at again: once for each statement of a conversation.

    Raises:
        InvalidContext: the context needs a token of over 64 KB.
        ValueError: the lifetime is out of bounds.
    """
    if not 1 <= lifetime_seconds <= MAX_LIFETIME_SECONDS:
        raise ValueError(f"lifetime_seconds must be from 1 to {MAX_LIFETIME_SECONDS}")
    issued = int(time.time() if now is None else now)
    claims = {
        "aud": key.audience,
        "iat": issued,
        "exp": issued + lifetime_seconds,
        "jti": secrets.token_hex(8),  # no two tokens are the same
        "context": canonical,
    }
    token = jwt.encode(claims, key.secret, algorithm="HS256", headers={"kid": key.kid})
    if len(token) > MAX_TOKEN_BYTES:
        size = f"a token of {len(token):,} bytes, and {MAX_TOKEN_BYTES:,} are allowed"
        raise InvalidContext(f"the context is too large: {size}")
    return token


def canonical_context(fields: Sequence[ContextField], context: Mapping[str, object]) -> dict[str, Json | list[Json]]:
    """The context as it stands in a token: JSON values in one spelling, absent fields left out, in the fields' order.

    Raises:
        InvalidContext: a required field is missing, a field is unknown, or a value has the wrong form.
    """
    known = [each.name for each in fields]
    for name in context:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"the fields are: {', '.join(known)}"
            raise InvalidContext(f"there is no context field {str(name)!r}", field=str(name), hint=hint)
    result: dict[str, Json | list[Json]] = {}
    for each in fields:
        value = context.get(each.name)
        if value is not None:
            result[each.name] = _array(each, value) if each.array else _scalar(each, value, each.name)
        elif each.required:
            raise InvalidContext(f"the context lacks {each.name}", field=each.name, hint=f"it is required, {each.type}")
    return result


def _array(declared: ContextField, value: object) -> list[Json]:
    if not isinstance(value, list | tuple):
        raise _wrong(declared, declared.name, f"must be a list of {declared.base}, not {type(value).__name__}")
    most = DEFAULT_MAX_ITEMS if declared.max_items is None else declared.max_items
    if len(value) > most:
        raise _wrong(declared, declared.name, f"has {len(value):,} items, and {most:,} are allowed")
    return [_scalar(declared, item, f"{declared.name}[{index}]") for index, item in enumerate(value)]


def _scalar(declared: ContextField, value: object, where: str) -> Json:
    try:
        return _FORMS[declared.base](declared, value)
    except _Unfit as unfit:
        raise _wrong(declared, where, str(unfit)) from None


def _wrong(declared: ContextField, where: str, what: str) -> InvalidContext:
    return InvalidContext(f"the context's {where} {what}", field=declared.name)


class _Unfit(Exception):
    """A value does not fit its field; the text completes "the context's organisationId ..."."""


def _whole(declared: ContextField, value: object) -> Json:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _Unfit(f"must be {declared.base}, not {type(value).__name__}")
    least, most = integer_range(declared)
    if not least <= value <= most:
        raise _Unfit(f"must be from {least} to {most}")
    return int(value) if abs(value) <= _SAFE_NUMBER else str(int(value))


def integer_range(declared: ContextField) -> tuple[int, int]:
    """The least and the greatest number that an integer or bigint field takes: its type's range and its own bounds."""
    least, most = INTEGER_RANGES[declared.base]
    return (
        least if declared.minimum is None else max(least, declared.minimum),
        most if declared.maximum is None else min(most, declared.maximum),
    )


def _text(declared: ContextField, value: object) -> Json:
    if not isinstance(value, str):
        raise _Unfit(f"must be text, not {type(value).__name__}")
    most = DEFAULT_MAX_LENGTH if declared.max_length is None else declared.max_length
    if not value:
        raise _Unfit("must not be empty; leave it out if it is absent")
    if len(value) > most:
        raise _Unfit(f"has {len(value):,} characters, and {most:,} are allowed")
    if _CONTROL.search(value):
        raise _Unfit("must not contain control characters")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise _Unfit("must be valid Unicode, without lone surrogates")
    if declared.pattern is not None and not re.fullmatch(declared.pattern, value, re.ASCII):
        raise _Unfit(f"must match {declared.pattern}")
    return str(value)


def _boolean(_: ContextField, value: object) -> Json:
    if not isinstance(value, bool):
        raise _Unfit(f"must be true or false, not {type(value).__name__}")
    return value


def _identifier(_: ContextField, value: object) -> Json:
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, str) and _UUID.fullmatch(value):
        return value.lower()
    raise _Unfit("must be a uuid, as an object or in its canonical form of 36 characters")


def _date(_: ContextField, value: object) -> Json:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str) and _DATE.fullmatch(value):
        try:
            return date.fromisoformat(value).isoformat()
        except ValueError:
            pass  # the 30th of February: refused like everything that is no date
    raise _Unfit("must be a date, as an object or as YYYY-MM-DD")


def _moment(_: ContextField, value: object) -> Json:
    try:
        if isinstance(value, str) and _TIME.fullmatch(value):
            value = datetime.fromisoformat(value)
        if isinstance(value, datetime) and value.utcoffset() is not None:
            return value.astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        pass  # the 30th of February, or the year 10000 in UTC
    raise _Unfit("must be a time with its offset, as an aware datetime or as 2026-01-31T12:00:00+00:00")


_FORMS: Mapping[BaseType, Callable[[ContextField, object], Json]] = {
    "integer": _whole,
    "bigint": _whole,
    "uuid": _identifier,
    "text": _text,
    "boolean": _boolean,
    "date": _date,
    "timestamptz": _moment,
}
