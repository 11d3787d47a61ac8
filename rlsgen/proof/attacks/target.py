"""What there is to be attacked in a live database: a table, a row of another tenant, a partition."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rlsgen.catalog.model import Relation
from rlsgen.identifiers import Sql, fill, identifier, join, literal
from rlsgen.proof.verify.pairs import Subject
from rlsgen.proof.verify.sides import Context, Stage
from rlsgen.proof.verify.tenants import compared
from rlsgen.proof.verify.truth import Truth, spelled
from rlsgen.provision.resolve import Resolved, Table
from rlsgen.spec.model import ContextField


@dataclass(frozen=True, slots=True)
class Target:
    """Two tenants, and what there is to be attacked."""

    context: Context  # the conversation that attacks
    other: Context  # whose rows it is after
    places: Mapping[str, Sql]
    accessors: tuple[tuple[ContextField, Sql], ...]  # what every accessor is called


def find_target(
    stage: Stage, resolved: Resolved, subjects: Sequence[Subject], contexts: Sequence[Context]
) -> Target | None:
    """The first table in which two tenants have rows, and everything else that attacks name.

    Raises:
        SideError, ServerError, TimeIsUp: the unrestricted role could not read what it needs.
    """
    finder = _Finder(stage, resolved)
    for subject in subjects:
        for one, other in _two(subject, resolved, contexts):
            places = finder.places(subject, one, other)
            if places is not None:
                places |= finder.writable(subjects, one, other)
                return Target(one, other, places, tuple(finder.accessors()))
    return None


def _two(subject: Subject, resolved: Resolved, contexts: Sequence[Context]) -> Iterable[tuple[Context, Context]]:
    """Pairs of tenants who differ in the one value that decides about a table."""
    if subject.kind != "scoped" or subject.query is None or not subject.keyed:
        return
    field = _decides(resolved.tables[subject.name], resolved)
    if field is not None:
        for one in [*subject.tenants, *contexts]:
            for other in [*subject.tenants, *contexts]:
                if field.name in one and field.name in other and one[field.name] != other[field.name]:
                    yield one, other


def _decides(table: Table, resolved: Resolved) -> ContextField | None:
    pairs = compared(table, resolved.spec)
    fields = list({field.name: field for field, column in pairs if not column.element}.values())
    return fields[0] if len(fields) == 1 and not fields[0].array and not table.paths else None


class _Finder:
    def __init__(self, stage: Stage, resolved: Resolved) -> None:
        self._stage, self._resolved, self._truth = stage, resolved, Truth(resolved)
        self._catalog = resolved.catalog

    def places(self, subject: Subject, one: Context, other: Context) -> dict[str, Sql] | None:
        """What this table and these tenants put there; None where one of them has no rows of its own."""
        self._stage.truth.snapshot()
        foreign, own = self._row(subject, other, but=one), self._row(subject, one, but=other)
        self._stage.leave()
        table = self._resolved.tables[subject.name]
        field = _decides(table, self._resolved)
        if foreign is None or own is None or field is None:
            return None
        setting = join(".", [identifier(part) for part in field.setting.split(".")])
        found: dict[str, Sql | None] = {
            "table": subject.name.sql, "name": literal(subject.name.sql), "column": identifier(subject.shown[0]),
            "foreign": foreign, "own": own, "setting": literal(field.setting), "setting-name": setting,
            "theirs": literal(spelled(other[field.name])),
            "accessor": next((name for each, name in self.accessors() if each == field), None),
            "role": identifier(self._resolved.spec.conversation), "owner": identifier(table.relation.owner),
            "policy": _first(identifier(p.name) for p in table.relation.policies if not p.permissive),
            **self._others(),
        }  # fmt: skip
        return {name: sql for name, sql in found.items() if sql is not None}

    def _others(self) -> dict[str, Sql | None]:
        tables = self._resolved.tables.values()
        children = [c for t in tables if t.spec.access == "scoped" for c in t.relation.children]
        below = [c for c in children if c not in self._resolved.tables]
        hidden = [t for t in tables if t.spec.access != "hidden" and t.spec.hide]
        views = [name for name, view in self._resolved.views.items() if view.spec.access == "invoker"]
        sequences = [name for name, each in self._catalog.relations.items() if _plain_sequence(each)]
        return {
            "partition": _first(name.sql for name in below),
            "hidden": _first(t.name.sql for t in tables if t.spec.access == "hidden"),
            "hidden-column": _first(identifier(t.spec.hide[0]) for t in hidden),
            "hidden-column-table": _first(t.name.sql for t in hidden),
            "view": _first(name.sql for name in views),
            "sequence": _first(name.sql for name in sequences),
        }

    def writable(self, subjects: Sequence[Subject], one: Context, other: Context) -> dict[str, Sql]:
        """A table that may be updated, where the other tenant has a row."""
        for subject in subjects:
            table = self._resolved.tables.get(subject.name)
            if table is None or "update" not in table.spec.allow or not subject.keyed or subject.query is None:
                continue
            self._stage.truth.snapshot()
            foreign = self._row(subject, other, but=one)
            self._stage.leave()
            columns = [c.name for c in table.shown if not (c.identity or c.generated or c.sequence)]
            if foreign is not None and columns:
                return {
                    "writable": subject.name.sql, "writable-foreign": foreign,
                    "writable-column": identifier(columns[-1]),
                }  # fmt: skip
        return {}

    def _row(self, subject: Subject, context: Context, *, but: Context) -> Sql | None:
        """A condition that a row of one tenant meets, which the other one must not see."""
        mine = self._truth.rows(subject.name)
        key = [identifier(name) for name in subject.key]
        texts = join(", ", [fill("t.{}::text", name) for name in key])
        query = fill("SELECT {} FROM ({}) AS t", texts, mine.sql)
        theirs = self._stage.truth.ask(fill("{} ORDER BY 1 LIMIT 50", query), mine.values(but))
        for row in self._stage.truth.ask(fill("{} ORDER BY 1 LIMIT 51", query), mine.values(context)):
            if row not in theirs and not self._visible(subject, row, but):
                terms = [fill("{} = {}", name, literal(value)) for name, value in zip(key, row, strict=True)]
                return join(" AND ", terms)
        return None

    def _visible(self, subject: Subject, row: Sequence[str], context: Context) -> bool:
        query = self._truth.rows(subject.name)
        terms = [fill("t.{} = {}", identifier(n), literal(v)) for n, v in zip(subject.key, row, strict=True)]
        counted = fill("SELECT count(*) FROM ({}) AS t WHERE {}", query.sql, join(" AND ", terms))
        return bool(self._stage.truth.ask(counted, query.values(context))[0][0])

    def accessors(self) -> Iterable[tuple[ContextField, Sql]]:
        """The newest accessor of each field: organisation_id, or organisation_id_2 after its type has changed."""
        names = [f.name for f in self._catalog.functions if f.name.schema == "rlsgen" and not f.arguments]
        for field in self._resolved.spec.context:
            versions = [n for n in names if re.fullmatch(rf"{re.escape(field.snake)}(_\d+)?", n.name)]
            if versions:
                newest = max(versions, key=lambda name: (len(name.name), name.name))
                yield field, newest.sql


def _plain_sequence(relation: Relation) -> bool:
    return relation.kind == "sequence" and relation.name.schema not in ("rlsgen", "rlsgen_private")


def _first(found: Iterable[Sql]) -> Sql | None:
    return next(iter(found), None)
