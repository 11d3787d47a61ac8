"""What everything else stands on: the schemas, the ledger and its helpers, the key tables."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import replace

from rlsgen.catalog.model import Catalog
from rlsgen.identifiers import Name, Sql, fill, literal
from rlsgen.provision.functions import key_tables
from rlsgen.provision.ledger import Ledger
from rlsgen.provision.plan import FORMAT, Step, Transaction, Warned
from rlsgen.provision.render import render
from rlsgen.provision.tables import record
from rlsgen.spec.model import Spec

FOUNDATION = Name("rlsgen", "rlsgen")  # the ledger's name for schemas, ledger, helpers and key tables
_LEDGER_TABLES = (Name("rlsgen", "provision"), Name("rlsgen", "object"))
_SECRETS = ("inner_pad", "outer_pad")
_KEY_TABLES = (Name("rlsgen_private", "signing_key"), Name("rlsgen_private", "seal_key"))


class Foundation:
    """Compares it with what it should be."""

    def __init__(self, spec: Spec, catalog: Catalog, ledger: Ledger) -> None:
        self._spec = spec
        self._catalog = catalog
        self._ledger = ledger
        self._private = [each for each in catalog.functions if each.name.schema == "rlsgen_private"]

    def transaction(self, hazards: Collection[Warned]) -> Transaction | None:
        """The transaction that makes or mends it; None if it stands. `hazards` are those of making it."""
        create = Sql(f"{render('ledger.sql.j2')};\n{key_tables()}".rstrip().rstrip(";"))
        source = hashlib.sha256(create.encode()).hexdigest()
        entry = self._ledger.get(("foundation", FOUNDATION, ""))
        if entry and entry.source == source and entry.live == self._live() and self._closed():
            return None
        first = fill(
            "INSERT INTO rlsgen.provision (format, spec_hash, fingerprint, system_identifier, seal)"
            " VALUES ({}, '', '', {}, {}) ON CONFLICT (singleton) DO NOTHING",
            literal(FORMAT),
            literal(self._catalog.system_identifier),
            literal(self._spec.seal),
        )
        written = fill(
            "DELETE FROM rlsgen.object WHERE kind = 'foundation';\n"
            "INSERT INTO rlsgen.object SELECT 'foundation', 'rlsgen', 'rlsgen', '', {}, encode(sha256(convert_to("
            "string_agg(pg_get_functiondef(p.oid), '' ORDER BY p.proname COLLATE \"C\"), 'UTF8')), 'hex'), '{{}}'"
            " FROM pg_proc AS p WHERE p.pronamespace = 'rlsgen_private'::regnamespace",
            literal(source),
        )
        drop = Sql("DROP SCHEMA rlsgen, rlsgen_private CASCADE")
        step = Step(
            "alter" if entry else "create",
            "schemas rlsgen and rlsgen_private, with ledger and keys",
            fill("{};\n{}", create, first),
            Sql("") if entry else drop,
            written,
            () if entry else tuple(hazards),
        )
        return Transaction("the foundation: schemas, ledger, keys", (step,))

    def _live(self) -> str:
        text = "".join(each.definition for each in sorted(self._private, key=lambda each: each.name.name))
        return hashlib.sha256(text.encode()).hexdigest()

    def _closed(self) -> bool:
        """Whether what is private is there and its owner's alone, and the keys under row security without policies."""
        tables = {name: self._catalog.relations.get(name) for name in (*_KEY_TABLES, *_LEDGER_TABLES)}
        keys = [tables[name] for name in _KEY_TABLES]
        columns = [(each, column) for each in tables.values() if each for column in each.columns]
        owned = [self._catalog.schemas["rlsgen_private"], *tables.values(), *self._private]
        return (
            all(each is not None and all(grant.grantee == each.owner for grant in each.grants) for each in owned)
            and all(grant.grantee == each.owner for each, column in columns for grant in column.grants)
            and all(column.statistics == 0 for _, column in columns if column.name in _SECRETS)
            and all(key is not None and key.row_security and not key.policies for key in keys)
        )


def recorded(step: Step, relation: Name = FOUNDATION) -> Step:
    """The step with a ledger row of how to undo it."""
    name = hashlib.sha256(step.object.encode()).hexdigest()[:16]
    return replace(step, record=record("public", relation, name, "", "", {"reverse": step.reverse}))
