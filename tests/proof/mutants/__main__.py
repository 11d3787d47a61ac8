"""Breaks everything in turn on a server of its own, and writes docs/mutants.md: `python -m tests.proof.mutants`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import psycopg

from rlsgen.demo import shop
from rlsgen.demo.server import embedded_binaries, temporary_server
from tests.proof.mutants.mutant import MUTANTS, Mutant
from tests.proof.mutants.page import PAGE, page
from tests.proof.mutants.prover import Caught, judge, prepare
from tests.shapes.harness import load
from tests.support.postgres import Databases, Server


def main() -> None:
    """All mutants, one after another."""
    PAGE.write_text(page(everything(MUTANTS)), encoding="utf-8")


def everything(mutants: Sequence[Mutant]) -> dict[str, Caught]:
    """What is said of each, on a server of its own; progress on stderr."""
    with temporary_server(embedded_binaries()) as own:
        with psycopg.connect(own.dsn()) as connection:
            version = connection.info.server_version // 10_000
            shop.create_roles(connection, None)
        server = Server(own.dsn(), version, own.binaries)
        kept, clones = Databases(server, "mutants_base"), Databases(server, "mutant")
        before, shapes = kept(), kept()
        with psycopg.connect(before.dsn()) as connection:
            shop.create_shop(connection)
        load(shapes)
        bases = prepare(kept, {"shop": before.name, "shapes": shapes.name})
        caught: dict[str, Caught] = {}
        for mutant in mutants:
            caught[mutant.id] = judge(clones, bases, mutant)
            wrong = "" if caught[mutant.id].names(mutant) else f"  NOT NAMED: {caught[mutant.id]}"
            sys.stderr.write(f"{mutant.id}{wrong}\n")
    return caught


if __name__ == "__main__":
    main()
