"""How tenants are called in results: by the values that the spec marks loggable, and by numbers for all others."""

from __future__ import annotations

from collections.abc import Mapping

from rlsgen.spec.model import Spec


class Labels:
    """Numbers values that must not be shown: the same value has the same number within one run, and says no more."""

    def __init__(self, spec: Spec) -> None:
        self._loggable = {field.name for field in spec.context if field.loggable}
        self._numbers: dict[tuple[str, str], int] = {}

    def of(self, context: Mapping[str, object]) -> Mapping[str, object]:
        """The context as it may be shown."""
        return {name: self._shown(name, value) for name, value in context.items()}

    def _shown(self, name: str, value: object) -> object:
        if name in self._loggable:
            return [_plain(each) for each in value] if isinstance(value, list | tuple) else _plain(value)
        key = (name, repr(value))
        return f"#{self._numbers.setdefault(key, len(self._numbers) + 1)}"


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | bool) else str(value)
