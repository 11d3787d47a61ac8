"""What everything else stands on: the schemas, the ledger and its helpers, the key tables."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import replace

from rlsgen.catalog.model import Catalog, Grant, Relation
from rlsgen.identifiers import Name, Sql, display, fill, literal
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
        if entry and entry.source == source and entry.live == self._live() and not any(self.faults()):
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

    def faults(self) -> Iterator[str]:
        """What is not as it must be: all there, its owner's alone, and keys under row security without policies."""
        tables = {name: self._catalog.relations.get(name) for name in (*_KEY_TABLES, *_LEDGER_TABLES)}
        schema = self._catalog.schemas.get("rlsgen_private")
        yield from (f"table {name} is missing" for name, table in tables.items() if table is None)
        if schema is None:
            yield "schema rlsgen_private is missing"
        else:
            yield from _held("schema rlsgen_private", schema.owner, schema.grants)
        for function in self._private:
            yield from _held(f"function {function.name}", function.owner, function.grants)
        for name, table in tables.items():
            if table is not None:
                yield from _held(f"table {name}", table.owner, table.grants)
                yield from (
                    fault
                    for column in table.columns
                    for fault in _held(f"column {column.name} of {name}", table.owner, column.grants)
                )
                if name in _KEY_TABLES:
                    yield from _key_faults(table)


def _held(what: str, owner: str, grants: Collection[Grant]) -> Iterator[str]:
    others = sorted({display(grant.grantee) if grant.grantee else "PUBLIC" for grant in grants} - {display(owner)})
    if others:
        yield f"{', '.join(others)} may use {what}"


def _key_faults(table: Relation) -> Iterator[str]:
    if not table.row_security:
        yield f"table {table.name} is not under row security, so that pg_read_all_data reads the keys"
    if table.policies:
        yield f"table {table.name} has policies, and rows that a policy shows"
    kept = [column.name for column in table.columns if column.name in _SECRETS and column.statistics != 0]
    if kept:
        yield f"statistics of {', '.join(kept)} of {table.name} are kept, which give keys away bit by bit"


def recorded(step: Step, relation: Name = FOUNDATION) -> Step:
    """The step with a ledger row of how to undo it."""
    name = hashlib.sha256(step.object.encode()).hexdigest()[:16]
    return replace(step, record=record("public", relation, name, "", "", {"reverse": step.reverse}))
