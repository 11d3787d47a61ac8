"""rlsgen: declare who may see which rows; Postgres enforces it; prove it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rlsgen.runtime.async_pool import AsyncConversation, AsyncConversationPool
    from rlsgen.runtime.pool import Conversation, ConversationPool
    from rlsgen.runtime.result import Result, ResultColumn

__version__ = "0.1.0"
__all__ = [
    "AsyncConversation",
    "AsyncConversationPool",
    "Conversation",
    "ConversationPool",
    "Result",
    "ResultColumn",
]

_HOMES = {
    "AsyncConversation": "rlsgen.runtime.async_pool",
    "AsyncConversationPool": "rlsgen.runtime.async_pool",
    "Conversation": "rlsgen.runtime.pool",
    "ConversationPool": "rlsgen.runtime.pool",
    "Result": "rlsgen.runtime.result",
    "ResultColumn": "rlsgen.runtime.result",
}


def __getattr__(name: str) -> object:
    """Import what is asked for when it is asked for: most of the package needs no pool."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module(_HOMES[name]), name)
