"""Python source of the operations, for revision files: one string per line of SQL, safe from any re-indenting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic.autogenerate.render import renderers  # the module itself: plugins are loaded while the package is imported

from rlsgen.migrations.operations import ApplyOp

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext


@renderers.dispatch_for(ApplyOp)
def render_apply(context: AutogenContext, operation: ApplyOp) -> list[str]:
    """The call, with the hazards above it; nothing for an operation that has nothing to run in this direction."""
    if not operation.statements:
        return []
    prefix = context.opts.get("alembic_module_prefix") or "op."
    lines = [f"# {' '.join(hazard.split())}" for hazard in operation.hazards]
    body = "".join(f"        {_string(statement, 8)},\n" for statement in operation.statements)
    title, path = repr(str(operation.title)), repr(str(operation.search_path))
    call = f"{prefix}rlsgen_apply(\n    {title},\n    [\n{body}    ],\n    search_path={path},\n)"
    return [*lines, call]


def _string(text: str, indent: int) -> str:
    """A string; line by line where it has several, since Alembic indents whatever stands at a line's beginning."""
    lines = str(text).split("\n")
    if len(lines) < 2:
        return repr(str(text))
    lines = [*(f"{line}\n" for line in lines[:-1]), lines[-1]]
    space = " " * indent
    inner = "".join(f"{space}    {line!r}\n" for line in lines)
    return f"(\n{inner}{space})"
