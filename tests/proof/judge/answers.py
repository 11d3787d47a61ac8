"""What pgrls says about provisioned databases and is expected to say, with the reasons; writes docs/pgrls.md.

python -m tests.proof.judge.answers > docs/pgrls.md
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import yaml
from psycopg import sql
from pydantic import TypeAdapter

_POLICIES = "SELECT schemaname || '.' || tablename || '.' || policyname FROM pg_policies WHERE policyname = ANY (%s)"
_SCOPED = "SELECT schemaname || '.' || tablename FROM pg_policies WHERE policyname = 'rlsgen_only_select'"
_PARTITIONS = "SELECT c.oid::regclass::text FROM pg_class AS c WHERE c.relispartition AND c.relkind IN ('r', 'p')"
_INTRODUCTION = """\
# What another linter says

[pgrls](https://pypi.org/project/pgrls/) lints policies of row security, knows no spec and nothing of rlsgen. The
tests run it on the provisioned sample shop and on a schema with every shape that rlsgen knows, each with and without
`force`. This is all that it says there, and why it stays so; whatever it says beyond this fails the tests, and so does
a line of this table that it no longer says. Where the reason is that the conversation role cannot read something, the
tests ask the server.

| Rule | Where | About | Reason |
| --- | --- | --- | --- |
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """One thing that pgrls may say, and why."""

    rule: str
    of: tuple[str, ...]
    reason: str
    force: bool | None = None
    policies: tuple[str, ...] = ()
    at: tuple[str, ...] = ()
    scoped: bool = False
    partitions: bool = False
    unreadable: bool = False

    def places(self, connection: psycopg.Connection[Any]) -> set[str]:
        """The locations, as pgrls writes them, at which this is expected in a database."""
        found = set(self.at)
        if self.policies:
            found |= {place for (place,) in connection.execute(_POLICIES, [list(self.policies)])}
        if self.partitions:
            found |= {f"public.{name}" for (name,) in connection.execute(_PARTITIONS)}
        if self.scoped:
            found |= {place for (place,) in connection.execute(_SCOPED)}
        return found

    @property
    def about(self) -> str:
        """The same in words."""
        kinds = ["the scoped tables"] * self.scoped + ["partitions"] * self.partitions
        named = [f"`{name}`" for name in (*self.policies, *self.at)]
        return ", ".join([*kinds, *named])


def answers() -> list[Answer]:
    """All of them, in the order of the file."""
    text = Path(__file__).with_name("answers.yaml").read_text(encoding="utf-8")
    return TypeAdapter(list[Answer]).validate_python(yaml.safe_load(text))


def readable(connection: psycopg.Connection[Any], place: str, role: str) -> bool:
    """Whether a role may read any column of a relation."""
    schema, _, name = place.partition(".")
    query = sql.SQL("SELECT has_any_column_privilege(%s, format('%%I.%%I', %s::text, %s::text), 'SELECT')")
    return connection.execute(query, [role, schema, name]).fetchone() == (True,)


def page() -> str:
    """docs/pgrls.md."""
    lines = []
    for each in answers():
        where = {("shop", "shapes"): "both", ("shop",): "the shop", ("shapes",): "the shapes"}[each.of]
        force = {None: "", True: ", with `force`", False: ", without `force`"}[each.force]
        lines.append(f"| {each.rule} | {where}{force} | {each.about} | {each.reason} |")
    return _INTRODUCTION + "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
