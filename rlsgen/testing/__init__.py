"""What tests of your own stand on: a pytest plugin, assertions, and databases with your spec in force."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rlsgen.testing.assertions import assert_isolated, assert_refused
    from rlsgen.testing.database import IsolatedDatabase
    from rlsgen.testing.watch import UnscopedStatement, unscoped

__all__ = ["IsolatedDatabase", "UnscopedStatement", "assert_isolated", "assert_refused", "unscoped"]

_HOMES = {
    "IsolatedDatabase": "rlsgen.testing.database",
    "UnscopedStatement": "rlsgen.testing.watch",
    "assert_isolated": "rlsgen.testing.assertions",
    "assert_refused": "rlsgen.testing.assertions",
    "unscoped": "rlsgen.testing.watch",
}


def __getattr__(name: str) -> object:
    """Import what is asked for when it is asked for: every pytest that has rlsgen installed loads this package."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module(_HOMES[name]), name)
