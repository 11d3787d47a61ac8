"""Forged context tokens: a valid one, changed as the catalogue says and signed, or not, as it says."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Mapping
from typing import Any

from rlsgen.proof.attacks.catalogue import RawToken
from rlsgen.runtime.token import SigningKey, canonical_context
from rlsgen.spec.model import Spec

Context = Mapping[str, object]
ABSENT = "<absent>"
_NOW = re.compile(r"now([+-]\d+)?")


def forged(raw: RawToken, key: SigningKey, spec: Spec, context: Context, other: Context) -> str:
    """The token as text.

    Args:
        raw: what is wrong with it.
        key: a valid key: most forgeries are by somebody who may sign, or replays what was signed.
        spec: whose context it carries.
        context: of the tenant who tries.
        other: of the tenant whom he would like to be.
    """
    if raw.raw is not None:
        return raw.raw * raw.times
    issued = int(time.time())
    fields = next((field.name for field in spec.context if field.required), spec.context[0].name)
    header = _changed({"alg": "HS256", "typ": "JWT", "kid": key.kid}, raw.header, issued, "")
    values = _changed(canonical_context(spec.context, context), raw.context, issued, fields)
    honest = {"aud": key.audience, "iat": issued, "exp": issued + 30, "context": values}
    claims = _changed(honest, raw.claims, issued, "")
    theirs = canonical_context(spec.context, other)
    parts = [_members(header), _members(claims)]
    if raw.repeat == "header":
        parts[0] = _twice(header, {"kid": key.kid})
    elif raw.repeat == "claims":
        parts[1] = _twice(claims, {"context": theirs})
    elif raw.repeat == "context":
        parts[1] = _members(claims).replace(_members(values), _twice(values, theirs), 1)
    signed = ".".join(_base64(part.encode()) for part in parts)
    return f"{signed}.{_signature(raw, key, signed)}"


def _signature(raw: RawToken, key: SigningKey, signed: str) -> str:
    secret = hashlib.sha256(key.secret).digest() if raw.sign == "other" else key.secret
    text = _base64(hmac.new(secret, signed.encode(), "sha256").digest())
    return {"none": "", "cut": text[:-1], "longer": text + "A"}.get(raw.sign, text)


def _changed(values: Mapping[str, Any], changes: Mapping[str, Any], now: int, field: str) -> dict[str, Any]:
    result = dict(values)
    for spelled, value in changes.items():
        name = field if spelled == "<field>" else spelled
        if value == ABSENT:
            result.pop(name, None)
        else:
            result[name] = _value(value, now)
    return result


def _value(value: Any, now: int) -> Any:
    match = _NOW.fullmatch(value) if isinstance(value, str) else None
    return now + int(match[1] or 0) if match else value


def _members(values: Mapping[str, Any]) -> str:
    return json.dumps(values, separators=(",", ":"))


def _twice(values: Mapping[str, Any], more: Mapping[str, Any]) -> str:
    return f"{_members(values)[:-1]},{_members(more)[1:]}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
