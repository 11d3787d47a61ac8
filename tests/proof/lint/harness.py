"""How the tests of lint act: as the owner or the administrator who breaks things, and as lint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import postgast
import psycopg
import yaml

from rlsgen.catalog.connect import open_connection
from rlsgen.catalog.model import Catalog
from rlsgen.catalog.read import read_catalog
from rlsgen.demo.shop import CONVERSATION
from rlsgen.identifiers import fill, identifier
from rlsgen.proof.finding import Finding
from rlsgen.proof.lint import LintResult, examine
from rlsgen.provision.apply import apply
from rlsgen.provision.plan import Hazard
from rlsgen.runtime.versions import holes_in
from rlsgen.spec.load import parse_spec
from rlsgen.spec.model import Spec
from tests.support.postgres import Database

EVERYTHING = tuple(Hazard)
DOCUMENT: Mapping[str, Any] = yaml.safe_load((Path(__file__).parents[3] / "policies.yaml").read_text(encoding="utf-8"))
Seen = set[tuple[str, str]]


def spec_with(*changes: Mapping[str, Any], base: Mapping[str, Any] = DOCUMENT) -> Spec:
    """The sample spec with changes: mappings are merged, null takes a key out, everything else is replaced."""
    document = deepcopy(dict(base))
    for change in changes:
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


def accepted(database: Database, more: Sequence[Mapping[str, object]] = ()) -> dict[str, Any]:
    """What a spec for a test accepts: the newest server that there is a package of may have holes, or none."""
    with psycopg.connect(database.dsn(), autocommit=True) as connection:
        known = holes_in(connection.info.server_version)
    entry = {"rule": "server-version", "why": "the newest package has them"}
    return {"lint": {"ignore": [*more, *([entry] if known else [])]}}


_LEFT_BEHIND = """
    DROP EXTENSION IF EXISTS tablefunc, dblink, hstore, citext; DROP SCHEMA IF EXISTS other, ext CASCADE;
    DROP FUNCTION IF EXISTS helper(), helper(integer), rlsgen.helper(), peek(text), plain(), organisation_id();
    DROP VIEW IF EXISTS all_orders, theirs; DROP MATERIALIZED VIEW IF EXISTS copies;
    DROP FOREIGN DATA WRAPPER IF EXISTS far CASCADE; DROP TABLE IF EXISTS later, forgotten, cheap;
    DROP RULE IF EXISTS told ON notes; DROP RULE IF EXISTS told ON orders; DROP FUNCTION IF EXISTS log() CASCADE;
    DROP POLICY IF EXISTS theirs ON orders; DROP POLICY IF EXISTS theirs ON api_keys;
    DROP INDEX IF EXISTS orders_status_id_idx, notes_title_pinned_id_idx, notes_user_id_title_id_idx, notes_lower_idx;
    CREATE INDEX IF NOT EXISTS teams_organisation_id_idx ON teams (organisation_id);
    CREATE INDEX IF NOT EXISTS orders_user_id_idx ON orders (user_id);
    SELECT lo_unlink(oid) FROM pg_largeobject_metadata"""


@dataclass(slots=True)
class Broken:
    """A database, and the spec that it should follow."""

    database: Database
    base: Mapping[str, Any] = field(default_factory=lambda: DOCUMENT)
    spec: Spec = SHOP
    _before: tuple[Catalog, int] | None = None

    def __post_init__(self) -> None:
        self.adopt()

    def adopt(self, *changes: Mapping[str, Any]) -> None:
        """Follow the base's spec with changes, and accept what the server cannot help."""
        ignore = next((change["lint"]["ignore"] for change in changes if "ignore" in change.get("lint", {})), ())
        self.spec = spec_with(*changes, accepted(self.database, ignore), base=self.base)

    def remember(self) -> None:
        """How it stands now."""
        self._before = self._state()

    def is_as_before(self) -> bool:
        """Whether it stands as it was remembered, once what cases make is gone; the spec is the sample's again."""
        self.adopt()
        if self._before == self._state():
            return True
        with psycopg.connect(self.database.dsn(self._user(True)), autocommit=True) as administrator:
            administrator.execute(_LEFT_BEHIND)
        return self._before == self._state()

    def _state(self) -> tuple[Catalog, int]:
        with open_connection(self.database.dsn()) as owner:
            query = "SELECT (SELECT count(*) FROM pg_proc) + (SELECT count(*) FROM pg_largeobject_metadata)"
            (others,) = owner.execute(query).fetchone() or (0,)
            return read_catalog(owner, CONVERSATION), others

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

    def arrange(
        self,
        before: str = "",
        spec: Mapping[str, Any] | None = None,
        later: Mapping[str, Any] | None = None,
        sql: str = "",
        admin: str = "",
    ) -> None:
        """What was there, a spec that is applied, one that is not; then what somebody does to it."""
        if before:
            self.run(before)
        if spec:
            self.adopt(spec)
            self.apply()
        if later:
            self.adopt(spec or {}, later)
        if sql:
            self.run(sql)
        if admin:
            self.run(admin, administrator=True)

    def lint(self, spec: Spec | None = None, user: str | None = None) -> LintResult:
        with open_connection(self.database.dsn(user)) as connection:
            return examine(connection, spec or self.spec)

    def _user(self, administrator: bool) -> str | None:
        return self.database.server.superuser if administrator else None

    def _filled(self, connection: psycopg.Connection[Any], text: str) -> str:
        row = connection.execute(
            "SELECT min(inhrelid::regclass::text) FROM pg_inherits WHERE inhparent = to_regclass('events')"
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
