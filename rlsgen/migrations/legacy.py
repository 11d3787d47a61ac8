"""For Alembic before 1.18, which has no plugins: importing this in env.py registers everything."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import alembic.util
from alembic.autogenerate import comparators
from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import UpgradeOps

from rlsgen.migrations import operations, render
from rlsgen.migrations.autogenerate import compare_isolation

__all__ = ["compare_schemas", "operations", "render"]

# Before 1.18 comparisons run in the order in which they were registered, and Alembic's own are there already.
_last: dict[str, Any] = (
    {"priority": alembic.util.DispatchPriority.LAST} if hasattr(alembic.util, "DispatchPriority") else {}
)


@comparators.dispatch_for("schema", **_last)
def compare_schemas(context: AutogenContext, upgrade_ops: UpgradeOps, schemas: Collection[str | None]) -> None:
    """Compare, after Alembic's own comparison of tables."""
    compare_isolation(context, upgrade_ops)
