"""The statement guard: what a conversation may run, checked node by node before the database sees it."""

from rlsgen.runtime.guard.guard import Guard

__all__ = ["Guard"]
