"""A prover that cannot fail proves nothing: each protection is broken in turn, and lint or verify says which it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest

from rlsgen.proof.verify import Options
from tests.proof.mutants.mutant import MUTANTS, Mutant, Place
from tests.proof.mutants.page import PAGE, row
from tests.proof.mutants.prover import Base, Caught, clone, judge, tried
from tests.proof.verify.harness import failing, leaking
from tests.support.postgres import Databases

LINES = PAGE.read_text(encoding="utf-8").splitlines()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Without --all-mutants: of those that are made of several tables alike, one of each database."""
    if "mutant" in metafunc.fixturenames:
        everything = metafunc.config.getoption("--all-mutants")
        chosen = [mutant for mutant in MUTANTS if everything or mutant.first]
        metafunc.parametrize("mutant", chosen, ids=lambda mutant: mutant.id)


def test_a_broken_protection_is_named(database_factory: Databases, bases: Mapping[Place, Base], mutant: Mutant) -> None:
    caught = judge(database_factory, bases, mutant)
    assert caught.names(mutant), caught
    assert row(mutant, caught) in LINES, "python -m tests.proof.mutants writes docs/mutants.md anew"


@pytest.mark.parametrize("place", ["shop", "shapes"])
def test_nothing_is_said_of_what_is_not_broken(
    database_factory: Databases, bases: Mapping[Place, Base], place: Place
) -> None:
    """Under everything that any mutant is tried with."""
    attacks = tried(pattern for mutant in MUTANTS for pattern in mutant.attacks)
    with clone(database_factory, bases[place]) as (broken, stage):
        assert broken.lint().findings == ()
        result = stage.verify(Options(writes=True), attacks)
    assert (leaking(result), failing(result), result.uncovered) == (set(), set(), ())


def test_every_mutant_says_what_must_be_named_and_stands_on_the_page() -> None:
    assert all(mutant.lint or mutant.verify for mutant in MUTANTS)
    assert not [name for name, number in Counter(mutant.id for mutant in MUTANTS).items() if number > 1]
    listed = [line.split(" | ")[:2] for line in LINES if line.startswith("| ")][1:]
    assert listed == [row(mutant, Caught((), ())).split(" | ")[:2] for mutant in MUTANTS]
