"""A prover that cannot fail proves nothing: each protection is broken and lint or verify says which it was."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.proof.mutants.mutant import MUTANTS, Mutant, Place
from tests.proof.mutants.prover import Base, judge
from tests.support.postgres import Databases


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.id)
def test_a_broken_protection_is_named(database_factory: Databases, bases: Mapping[Place, Base], mutant: Mutant) -> None:
    caught = judge(database_factory, bases, mutant)
    assert mutant.lint or mutant.verify
    assert caught.names(mutant), caught
