"""A report of the provisioned shop, and of a shop that somebody broke."""

from __future__ import annotations

from tests.proof.verify.conftest import session_databases, shapes, shop_ready, shop_shared, stage

__all__ = ["session_databases", "shapes", "shop_ready", "shop_shared", "stage"]  # fixtures
