"""What docs/sqlalchemy.md shows, run as it stands there."""

from __future__ import annotations

import asyncio
import functools
import re
from pathlib import Path
from typing import Any

import pytest

import rlsgen.runtime.sqlalchemy as ours
from rlsgen.spec.model import Limits
from tests.runtime.conftest import POLICIES, Place

PAGE = POLICIES.parent / "docs" / "sqlalchemy.md"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # LangChain's package announces its own retirement
def test_the_page(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 4
    monkeypatch.setenv("RLSGEN_CONVERSATION_DSN", place.dsn)
    monkeypatch.setenv("RLSGEN_SIGNING_KEY", place.key.reveal())
    monkeypatch.chdir(POLICIES.parent)
    for name in ("create_conversation_engine", "create_async_conversation_engine"):  # embedded servers have known holes
        made = functools.partial(getattr(ours, name), known_holes="warn", limits=Limits())
        monkeypatch.setattr(ours, name, made)
    page: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, Path(PAGE).name, "exec"), page)
    assert sum(count for _, count in page["rows"]) == 3_605
    assert len(page["answer"]("SELECT name FROM products", 1, "user_1")) == 300

    async def ask() -> int:
        try:
            counted: int = await page["count_orders"]()
            return counted
        finally:
            await page["async_engine"].dispose()

    assert asyncio.run(ask()) == 3_605
    assert page["answered"] == "[(3605,)]"
    assert page["refused"].startswith("Error: one statement at a time")
    assert "CREATE TABLE orders" in page["prompt"]
    assert len(page["frame"]) > 300
    page["engine"].dispose()
