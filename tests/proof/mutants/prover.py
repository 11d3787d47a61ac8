"""Breaks a clone of a provisioned database, runs lint and verify on it, and keeps what they say."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import yaml

from rlsgen.catalog.connect import open_connection
from rlsgen.errors import RlsgenError
from rlsgen.proof.attacks.catalogue import Attack
from rlsgen.proof.verify import Options
from rlsgen.provision.keys import create_key
from rlsgen.runtime.token import SigningKey
from tests.proof.lint.harness import DOCUMENT, Broken, close_database
from tests.proof.mutants.mutant import Mutant, Place
from tests.proof.verify.harness import CATALOGUE, Stage, failing, leaking
from tests.shapes.harness import TEXT
from tests.support.postgres import Databases

_ACCEPTED = Path(__file__).parents[1] / "lint" / "shapes_lint.yaml"


@dataclass(frozen=True, slots=True)
class Base:
    """A provisioned database to be cloned: its spec's document, what lint accepts there, and who reads everything."""

    template: str
    key: SigningKey
    document: Mapping[str, Any]
    accepted: Mapping[str, Any]
    reader: str


@dataclass(frozen=True, slots=True)
class Caught:
    """What was said of one mutant: findings as "rule object", and verify's leaks, failures, or refusal."""

    lint: tuple[str, ...]
    verify: tuple[str, ...]

    def names(self, mutant: Mutant) -> bool:
        """Whether what must be named is."""
        lint = all(any(_matches(said, must) for said in self.lint) for must in mutant.lint)
        return lint and all(any(_matches(said, must) for said in self.verify) for must in mutant.verify)


def _matches(said: str, must: str) -> bool:
    return said == must or said.startswith(f"{must} ")


def prepare(databases: Databases, templates: Mapping[Place, str]) -> dict[Place, Base]:
    """The bases, of the names of databases that are to be cloned."""
    shop = _base(databases, templates["shop"], DOCUMENT, {}, "shop_owner")
    accepted = yaml.safe_load(_ACCEPTED.read_text(encoding="utf-8"))
    shapes = _base(databases, templates["shapes"], yaml.safe_load(TEXT), accepted, "")
    return {"shop": shop, "shapes": shapes}


def _base(
    databases: Databases, template: str, document: Mapping[str, Any], accepted: Mapping[str, Any], reader: str
) -> Base:
    broken = Broken(databases(template=template), document)
    broken.apply()
    with open_connection(broken.database.dsn()) as owner:
        key = create_key(owner)
    return Base(broken.database.name, key, document, accepted, reader or broken.database.server.superuser)


@contextmanager
def clone(databases: Databases, base: Base) -> Iterator[tuple[Broken, Stage]]:
    """A clone for lint and for verify, dropped afterwards."""
    database = databases(template=base.template)
    close_database(database)
    broken = Broken(database, base.document)
    broken.adopt({"lint": base.accepted})
    try:
        yield broken, Stage(database, broken.spec, base.key, base.reader)
    finally:
        databases.drop()


def judge(databases: Databases, bases: Mapping[Place, Base], mutant: Mutant) -> Caught:
    """Break a clone in this way, and see what lint and verify say."""
    with clone(databases, bases[mutant.base]) as (broken, stage):
        partition = broken.partition if mutant.base == "shop" else ""
        try:
            _break(broken, mutant)
            stage.spec = broken.spec
            lint = sorted({f"{each.rule} {each.object}" for each in broken.lint().findings})
            verify = _verified(stage, mutant)
        finally:
            if mutant.undo:
                broken.run(mutant.undo, administrator=True)

    def put(text: str) -> str:
        named = text.replace(broken.database.name, "<db>").replace(bases[mutant.base].key.kid, "<kid>")
        return named.replace(partition, "<partition>") if partition else named

    return Caught(tuple(map(put, lint)), tuple(map(put, verify)))


def _break(broken: Broken, mutant: Mutant) -> None:
    broken.arrange(mutant.before, mutant.spec, sql=mutant.sql, admin=mutant.admin)
    for old, new in mutant.replace.items():
        _replace(broken, old, new)


def _replace(broken: Broken, old: str, new: str) -> None:
    """One text by another in the functions that have it."""
    with psycopg.connect(broken.database.dsn(), autocommit=True) as owner:
        query = "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'rlsgen'::regnamespace"
        found = [text for (text,) in owner.execute(query).fetchall() if old in text]
        assert found, f"no function says {old}"
        for text in found:
            owner.execute(text.replace(old, new).encode())


def _verified(stage: Stage, mutant: Mutant) -> list[str]:
    try:
        result = stage.verify(Options(tenants=mutant.tenants, writes=mutant.writes), tried(mutant.attacks))
    except RlsgenError as error:
        return [f"refuses {str(error).splitlines()[0].partition(': connection')[0]}"]  # without the server's address
    return [*sorted(leaking(result)), *(f"failed {table}" for table in sorted(failing(result)))]


def tried(patterns: Iterable[str]) -> list[Attack]:
    """The attacks of the catalogue that these patterns name."""
    wanted = list(patterns)
    return [each for each in CATALOGUE if any(fnmatch.fnmatch(each.id, pattern) for pattern in wanted)]
