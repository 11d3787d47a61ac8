"""A verifier that cannot fail proves nothing: each protection is broken in turn, and verify names what leaks."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
import yaml

from rlsgen.proof.verify import Options
from tests.proof.verify.harness import Stage, attacks, failing, leaking


@dataclass(frozen=True, slots=True)
class Mutant:
    """See mutants.yaml."""

    id: str
    sql: str = ""
    by: str = "owner"
    undo: str = ""
    body: str = ""  # a function whose text is changed
    replace: str = ""
    by_text: str = ""
    leak: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    attacks: list[str] = field(default_factory=list)
    writes: bool = False


def _mutants() -> list[Mutant]:
    document = yaml.safe_load(Path(__file__).with_name("mutants.yaml").read_text(encoding="utf-8"))
    return [Mutant(name, **entry) for name, entry in document.items()]


@pytest.mark.parametrize("mutant", _mutants(), ids=lambda mutant: mutant.id)
def test_each_broken_protection_is_caught(stage: Stage, mutant: Mutant) -> None:
    change = stage.administrator if mutant.by == "administrator" else stage.owner
    change(changed_function(stage, mutant) if mutant.body else mutant.sql)
    try:
        tried = attacks(*mutant.attacks) if mutant.attacks else ()
        result = stage.verify(Options(writes=mutant.writes), tried)
    finally:
        if mutant.undo:
            change(mutant.undo)
    assert set(mutant.leak) <= leaking(result), leaking(result)
    assert set(mutant.failed) <= failing(result), failing(result)


def changed_function(stage: Stage, mutant: Mutant) -> str:
    with psycopg.connect(stage.database.dsn()) as owner:
        row = owner.execute("SELECT pg_get_functiondef(%s::regprocedure)", [mutant.body]).fetchone()
    assert row is not None
    assert mutant.replace in row[0]
    return str(row[0]).replace(mutant.replace, mutant.by_text)
