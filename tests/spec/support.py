"""Specs to start from, and what is said about broken ones."""

from __future__ import annotations

import pytest

from rlsgen.errors import SpecError
from rlsgen.spec.load import parse_spec
from rlsgen.spec.model import Spec, TableSpec

HEAD = """\
version: 1
context:
  orgId: {type: integer, minimum: 1}
  userId: {type: text}
  teamIds: {type: "integer[]"}
roles: {conversation: talker, unrestricted: [owner, app]}
"""
FIRST = HEAD.count("\n") + 1  # the line that follows the head


def parse(body: str, head: str = HEAD) -> Spec:
    return parse_spec(head + body, "p.yaml")


def table(line: str) -> TableSpec:
    """The one table of a spec, given as it stands under `tables:`."""
    return parse(f"tables:\n  {line}\n").tables[0]


def problems(body: str, head: str = HEAD) -> list[tuple[str, str, str]]:
    """What is wrong: place (line counted from the end of the head), message, hint."""
    with pytest.raises(SpecError) as caught:
        parse(body, head)
    return [(place(each.position, head), each.message, each.hint) for each in caught.value.problems]


def place(position: object, head: str) -> str:
    file, line, column = str(position).rsplit(":", 2)
    assert file == "p.yaml"
    return f"{int(line) - head.count(chr(10))}:{column}"


def problem(body: str, head: str = HEAD) -> tuple[str, str, str]:
    """The only thing that is wrong."""
    (only,) = problems(body, head)
    return only


def table_problem(line: str) -> tuple[int, str, str]:
    """The only thing that is wrong with one table; the place is a column of the given line."""
    where, message, hint = problem(f"tables:\n  {line}\n")
    row, column = where.split(":")
    assert row == "2"
    return int(column) - 2, message, hint
