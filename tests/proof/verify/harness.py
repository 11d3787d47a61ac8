"""A provisioned database, and verify run on it as it is run from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg

from rlsgen.identifiers import identifier
from rlsgen.proof.attacks.catalogue import Attack, catalogue
from rlsgen.proof.verify import Options, TableResult, VerifyResult, verify
from rlsgen.proof.verify.sides import Context
from rlsgen.runtime.token import SigningKey
from rlsgen.spec.load import load_spec
from rlsgen.spec.model import Spec
from tests.support.postgres import Database

SHOP = load_spec(Path(__file__).resolve().parents[3] / "policies.yaml")
ORDINARY = Options()
FULL = Options(writes=True, plant=True)
CATALOGUE = catalogue()


def attacks(*ids: str, ring: int | None = None) -> tuple[Attack, ...]:
    """Attacks of the catalogue by their ids, or all of one ring."""
    found = [each for each in CATALOGUE if not ids or each.id in ids]
    assert not ids or len(found) == len(ids)
    return tuple(each for each in found if ring is None or ring in each.rings)


@dataclass(slots=True)
class Stage:
    """A database, its spec and key, and who computes what should be seen."""

    database: Database
    spec: Spec
    key: SigningKey
    unrestricted: str = "shop_owner"

    def verify(
        self, options: Options = ORDINARY, attacks: Sequence[Attack] = (), contexts: Sequence[Context] = ()
    ) -> VerifyResult:
        return verify(
            self.spec, self.key, self.database.dsn(self.unrestricted), self.database.dsn(self.spec.conversation),
            options=options, attacks=attacks, contexts=contexts,
        )  # fmt: skip

    def owner(self, sql: str, user: str | None = None) -> None:
        """Somebody breaks it; {database} is its name."""
        text = sql.replace("{database}", identifier(self.database.name))
        with psycopg.connect(self.database.dsn(user), autocommit=True) as connection:
            connection.execute(text.encode())

    def administrator(self, sql: str) -> None:
        self.owner(sql, self.database.server.superuser)


def table(result: VerifyResult, name: str) -> TableResult:
    return next(each for each in result.tables if str(each.table) == name)


def leaking(result: VerifyResult) -> set[str]:
    """Tables and attacks that leak."""
    tables = {str(each.table) for each in result.tables if each.status == "leak"}
    return tables | {f"{each.id}/{each.ring}" for each in result.attacks if each.status == "leak"}


def failing(result: VerifyResult) -> set[str]:
    return {str(each.table) for each in result.tables if each.status == "failed"}
