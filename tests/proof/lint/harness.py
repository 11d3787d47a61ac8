"""How the tests of lint act: as the owner or the administrator who breaks things, and as lint."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import postgast
import psycopg
import yaml

from rlsgen.catalog.connect import open_connection
from rlsgen.identifiers import fill, identifier
from rlsgen.proof.finding import Finding
from rlsgen.proof.lint import LintResult, examine
from rlsgen.provision.apply import apply
from rlsgen.provision.plan import Hazard
from rlsgen.spec.load import parse_spec
from rlsgen.spec.model import Spec
from tests.support.postgres import Database

EVERYTHING = tuple(Hazard)
DOCUMENT: Mapping[str, Any] = yaml.safe_load((Path(__file__).parents[3] / "policies.yaml").read_text(encoding="utf-8"))
# The tests' servers are the newest that there are wheels and packages of, which have known holes.
ACCEPTED = {"ignore": [{"rule": "server-version", "why": "the newest packages have holes, too"}]}
Seen = set[tuple[str, str]]


def spec_with(*changes: Mapping[str, Any], base: Mapping[str, Any] = DOCUMENT) -> Spec:
    """The sample spec, server versions accepted, with changes: mappings are merged, everything else is replaced."""
    document = deepcopy(dict(base))
    for change in ({"lint": ACCEPTED}, *changes):
        _merge(document, change)
    return parse_spec(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), "policies.yaml")


def _merge(document: dict[str, Any], change: Mapping[str, Any]) -> None:
    for key, value in deepcopy(dict(change)).items():
        if value is None:
            document.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(document.get(key), dict):
            _merge(document[key], value)
        else:
            document[key] = value


SHOP = spec_with()


@dataclass(slots=True)
class Broken:
    """A database, and the spec that it should follow."""

    database: Database
    spec: Spec

    def run(self, text: str, *, administrator: bool = False) -> None:
        """SQL, as the owner or as the administrator, in one transaction."""
        with psycopg.connect(self.database.dsn(self._user(administrator)), autocommit=True) as connection:
            connection.execute(self._filled(connection, text).encode())

    def one_by_one(self, text: str) -> None:
        """Statements of a remedy as the administrator, each in a transaction of its own."""
        with psycopg.connect(self.database.dsn(self._user(True)), autocommit=True) as connection:
            connection.execute("SET search_path = pg_catalog, public, pg_temp")
            for statement in postgast.split(text):
                connection.execute(statement.encode())

    def apply(self) -> None:
        with open_connection(self.database.dsn()) as owner:
            apply(owner, self.spec, allow=EVERYTHING)

    def lint(self, spec: Spec | None = None, user: str | None = None) -> LintResult:
        with open_connection(self.database.dsn(user)) as connection:
            return examine(connection, spec or self.spec)

    def _user(self, administrator: bool) -> str | None:
        return self.database.server.superuser if administrator else None

    def _filled(self, connection: psycopg.Connection[Any], text: str) -> str:
        row = connection.execute(
            "SELECT min(inhrelid::regclass::text) FROM pg_inherits WHERE inhparent = 'events'::regclass"
        )
        (partition,) = row.fetchone() or ("",)
        return text.replace("<db>", identifier(self.database.name)).replace("<partition>", str(partition))

    @property
    def partition(self) -> str:
        with psycopg.connect(self.database.dsn(), autocommit=True) as connection:
            return self._filled(connection, "<partition>")


def seen(result: LintResult) -> Seen:
    """The findings by rule and object."""
    return {(finding.rule, finding.object) for finding in result.findings}


def of_rule(result: LintResult, rule: str) -> list[Finding]:
    return [finding for finding in result.findings if finding.rule == rule]


def close_database(database: Database) -> None:
    """What a clone lacks: Postgres does not copy a database's own privileges."""
    target = identifier(database.name)
    with database.server.administer() as administrator:
        administrator.execute(fill("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC", target).encode())
        administrator.execute(fill("GRANT TEMPORARY ON DATABASE {} TO shop_app", target).encode())
