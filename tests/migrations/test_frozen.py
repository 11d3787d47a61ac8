"""What an old revision runs never changes: pinned byte for byte."""

from __future__ import annotations

import io
from pathlib import Path

from alembic.migration import MigrationContext
from alembic.operations import Operations

from rlsgen.migrations.operations import ApplyOp
from rlsgen.migrations.render import render_apply

# Change it only if every revision that anybody has may run something else from then on.
PINNED = Path(__file__).with_name("frozen.sql")


def script(*statements: str) -> str:
    buffer = io.StringIO()
    options = {"as_sql": True, "output_buffer": buffer}
    operations = Operations(MigrationContext.configure(dialect_name="postgresql", opts=options))
    operations.rlsgen_apply("table public.orders", list(statements), search_path='pg_catalog, "public", pg_temp')  # type: ignore[attr-defined]
    with operations.rlsgen_every_row("orders"):  # type: ignore[attr-defined]
        operations.execute("UPDATE orders SET total = 0")
    return buffer.getvalue()


def test_the_script_of_an_operation() -> None:
    text = script("SELECT 1", 'REVOKE TEMPORARY ON DATABASE "rlsgen_this_database" FROM PUBLIC', "SELECT ':name', '%'")
    assert "SELECT ':name', '%';" in text
    assert text == PINNED.read_text(encoding="utf-8")


def test_source_that_gives_the_same_statements() -> None:
    """Whatever Alembic does with the lines: it indents them, and takes blanks from their ends."""
    hostile = ['a\n  b \n\n\'"""\' \\n ü\u2028 {x} ${y} %(z)s\r\n', "", "one line:", '"', "'"]
    operation = ApplyOp("a\n'title'", hostile, search_path='"sch\'ema"', hazards=["Hazard X: a\nb"])

    class Context:
        opts: dict[str, str] = {}  # noqa: RUF012

    comment, call = render_apply(Context(), operation)  # type: ignore[arg-type]
    assert comment == "# Hazard X: a b"
    indented = "\n".join(f"        {line}".rstrip(" ") for line in call.split("\n"))
    seen: list[tuple[object, ...]] = []

    class Op:
        @staticmethod
        def rlsgen_apply(title: str, statements: list[str], *, search_path: str) -> None:
            seen.append((title, statements, search_path))

    exec(f"if True:\n{indented}", {"op": Op})
    assert seen == [("a\n'title'", hostile, '"sch\'ema"')]
    assert render_apply(Context(), operation.reverse()) == []  # type: ignore[arg-type]
