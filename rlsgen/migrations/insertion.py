"""Putting operations into a revision file that somebody wrote: before and after what stands in its functions."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from rlsgen.errors import RlsgenError

INDENT = "    "


def inserted(source: str, function: str, first: Sequence[str], last: Sequence[str]) -> str:
    """The source with lines of Python at the beginning and at the end of a function; a lone `pass` makes way for them.

    Raises:
        RlsgenError: there is no such function, or its body does not stand on lines of its own.
    """
    if not (first or last):
        return source
    body = _body(source, function)
    lines = source.splitlines(keepends=True)
    statements = body[1:] if _is_docstring(body[0]) else body
    start = (statements[0].lineno if statements else (body[0].end_lineno or 0) + 1) - 1
    end = body[-1].end_lineno or 0
    kept = [] if statements and all(isinstance(each, ast.Pass) for each in statements) else lines[start:end]
    if kept and not kept[-1].endswith("\n"):
        kept[-1] += "\n"
    return "".join([*lines[:start], *_block(first), *kept, *_block(last), *lines[end:]])


def _body(source: str, function: str) -> list[ast.stmt]:
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            if node.body[0].lineno == node.lineno:
                raise RlsgenError(f"{function}() stands on one line", hint="give its body a line of its own")
            return node.body
    raise RlsgenError(f"the revision has no {function}()", hint="a revision has upgrade() and downgrade()")


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _block(calls: Sequence[str]) -> list[str]:
    lines = [line for call in calls for line in call.splitlines()]
    if not lines:
        return []
    framed = ["# ### written by rlsgen ###", *lines, "# ### end of rlsgen ###"]
    return [f"{INDENT}{line}\n" if line else "\n" for line in framed]
