"""The plugin of Alembic 1.18 and later: loaded by entry point, used where env.py names "rlsgen" in its plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlsgen.migrations import operations, render
from rlsgen.migrations.autogenerate import compare_isolation

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext
    from alembic.operations.ops import UpgradeOps
    from alembic.runtime.plugins import Plugin

__all__ = ["operations", "render", "setup"]


def setup(plugin: Plugin) -> None:
    """Register the comparison that autogenerate and `alembic check` make, after all others."""
    from alembic.util import DispatchPriority, PriorityDispatchResult  # noqa: PLC0415 - since 1.18

    def compare(context: AutogenContext, upgrade_ops: UpgradeOps) -> PriorityDispatchResult:
        compare_isolation(context, upgrade_ops)
        return PriorityDispatchResult.CONTINUE

    plugin.add_autogenerate_comparator(compare, "autogenerate", priority=DispatchPriority.LAST)
