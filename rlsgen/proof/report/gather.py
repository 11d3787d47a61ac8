"""Gathers a report from what was declared, what the database has, and what lint and verify found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import PurePath

from rlsgen import __version__
from rlsgen.catalog.model import Catalog
from rlsgen.errors import Position
from rlsgen.identifiers import display
from rlsgen.proof.finding import Finding, Severity
from rlsgen.proof.lint import LintResult
from rlsgen.proof.report import data
from rlsgen.proof.report.access import access
from rlsgen.proof.report.paths import paths
from rlsgen.proof.report.promises import not_promised
from rlsgen.proof.report.verdict import verdict
from rlsgen.proof.verify.result import AttackResult, TableResult, VerifyResult
from rlsgen.provision.resolve import Path, Resolved, Resolver, Table, View
from rlsgen.runtime.versions import Hole, holes_in, mended_in
from rlsgen.spec.fingerprint import Fingerprint
from rlsgen.spec.model import ContextField, FilterText, Spec

RINGS = {1: "Postgres alone", 2: "through the guard"}
_CHAPTERS = {
    "A": "The context is forged",
    "B": "Objects and rights that policies do not cover",
    "C": "Inference: what answers, catalogs and errors tell",
    "D": "What a session leaves behind",
    "own": "Attacks of your own",
}
_OTHER = "Other attacks"


def gather(
    spec: Spec,
    catalog: Catalog,
    lint: LintResult,
    verify: VerifyResult | None,
    *,
    at: datetime,
    threats: Mapping[str, str] | None = None,
) -> data.Report:
    """The report.

    Args:
        spec: what is declared.
        catalog: the database, read for the spec's conversation role.
        lint: what lint found in it.
        verify: what verify found; None: it was left out, which the report says.
        at: when it is made; aware of its time zone.
        threats: the chapter (A to D, own) of each attack by its id; `rlsgen.proof.attacks.catalogue` knows them.
    """
    resolved, _ = Resolver(replace(spec, undeclared="hidden"), catalog).resolve()
    return data.Report(
        verdict=verdict(lint, verify),
        origin=_origin(spec, catalog, at),
        fingerprints=_fingerprints(spec, catalog),
        fields=tuple(map(_field, spec.context)),
        scope=_scope(resolved, verify),
        paths=paths(resolved),
        access=access(catalog, spec.conversation, spec.unrestricted, sorted((*resolved.tables, *resolved.views))),
        compared=_compared(verify),
        attacks=_attacks(verify, threats or {}),
        findings=tuple(map(_finding, lint.findings)),
        accepted=tuple(
            data.AcceptedRow(_finding(found), each.why, each.until.isoformat() if each.until else "")
            for found, each in lint.ignored
        ),
        holes=tuple(_hole(each, catalog.server_version) for each in holes_in(catalog.server_version)),
        uncovered=tuple(_uncovered(verify, lint)),
        not_promised=not_promised(spec),
    )


def _origin(spec: Spec, catalog: Catalog, at: datetime) -> data.Origin:
    major, minor = divmod(catalog.server_version, 10_000)
    return data.Origin(
        made_at=at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        made_by=display(catalog.current_user),
        rlsgen=__version__,
        spec=PurePath(spec.file).name,
        database=display(catalog.database),
        server=f"{major}.{minor}",
        conversation=display(spec.conversation),
        unrestricted=tuple(map(display, spec.unrestricted)),
    )


def _fingerprints(spec: Spec, catalog: Catalog) -> data.Fingerprints:
    provision = catalog.provision
    keys = [
        data.KeyRow(key.kind, key.kid, key.created_at.astimezone(UTC).date().isoformat(), key.retired)
        for key in catalog.keys or ()
    ]
    return data.Fingerprints(
        spec=Fingerprint.of(spec).digest,
        applied=provision.fingerprint if provision else "",
        provision=provision.id if provision else "",
        system=catalog.system_identifier,
        keys=tuple(sorted(keys, key=lambda key: (key.kind != "signing", key.retired, key.created, key.kid))),
        keys_known=catalog.keys is not None,
    )


def _field(field: ContextField) -> data.FieldRow:
    bounds = [
        *([f"at least {field.minimum}"] if field.minimum is not None else []),
        *([f"at most {field.maximum}"] if field.maximum is not None else []),
        *([f"matches {field.pattern}"] if field.pattern is not None else []),
        *([f"at most {field.max_length} characters"] if field.max_length is not None else []),
        *([f"at most {field.max_items} items"] if field.max_items is not None else []),
    ]
    return data.FieldRow(field.name, field.type, field.required, ", ".join(bounds))


def _scope(resolved: Resolved, verify: VerifyResult | None) -> tuple[data.ScopeRow, ...]:
    found = {each.table: each for each in verify.tables} if verify else {}
    rows = {name: _table(table, found.get(name)) for name, table in resolved.tables.items()}
    rows |= {name: _view(view, found.get(name)) for name, view in resolved.views.items()}
    rows |= {name: _undeclared(resolved, each) for name, each in found.items() if name not in rows}
    order = ("scoped", "invoker", "shared", "undeclared", "hidden")
    return tuple(rows[name] for name in sorted(rows, key=lambda name: (order.index(rows[name].access), name)))


def _table(table: Table, found: TableResult | None) -> data.ScopeRow:
    spec, relation = table.spec, table.relation
    hidden = spec.access == "hidden"
    return data.ScopeRow(
        table=str(table.name), kind=relation.kind, access=spec.access, filter=_text(spec.filter),
        check=_text(spec.check), through=tuple(map(_path, table.paths)),
        shown=0 if hidden else len(table.shown), columns=len(relation.columns),
        hidden_columns=tuple(map(display, spec.hide)), private_columns=tuple(map(display, spec.private)),
        commands=() if hidden else spec.allow, why=spec.why, place=_place(spec.position), verified=_verified(found),
    )  # fmt: skip


def _view(view: View, found: TableResult | None) -> data.ScopeRow:
    hidden = view.spec.access == "hidden"
    return data.ScopeRow(
        table=str(view.relation.name), kind="view", access=view.spec.access, filter="", check="", through=(),
        shown=0 if hidden else len(view.shown), columns=len(view.relation.columns),
        hidden_columns=tuple(map(display, view.spec.hide)), private_columns=(),
        commands=() if hidden else ("select",), why="", place=_place(view.spec.position), verified=_verified(found),
    )  # fmt: skip


def _undeclared(resolved: Resolved, found: TableResult) -> data.ScopeRow:
    relation = resolved.catalog.relations.get(found.table)
    return data.ScopeRow(
        table=str(found.table), kind=relation.kind if relation else "", access="undeclared", filter="", check="",
        through=(), shown=0, columns=len(relation.columns) if relation else 0, hidden_columns=(), private_columns=(),
        commands=(), why="", place="", verified=_verified(found),
    )  # fmt: skip


def _verified(found: TableResult | None) -> data.Verified:
    if found is None:
        return data.Verified("", "", ())
    parts = [_count(len(found.tenants), "tenant"), *([_count(found.pairs, "pair")] if found.pairs else [])]
    compared = ", ".join([*(parts if found.tenants else []), *(["planted rows"] if found.planted else [])])
    notes = tuple(f"{note.message}; {note.remedy}" if note.remedy else note.message for note in found.notes)
    return data.Verified(found.status, compared, notes)


def _text(text: FilterText | None) -> str:
    return text.text.strip() if text is not None else ""


def _path(path: Path) -> str:
    here = ", ".join(display(column.name) for column in path.columns)
    there = ", ".join(display(column.name) for column in path.parent_columns)
    return f"{here} → {path.parent} ({there})"


def _compared(verify: VerifyResult | None) -> data.Compared | None:
    if verify is None:
        return None
    pairs = sum(table.pairs for table in verify.tables)
    contexts = tuple(dict(each) for each in verify.contexts)
    return data.Compared(contexts, len(verify.tables), pairs, verify.snapshot, round(verify.seconds, 1))


def _attacks(verify: VerifyResult | None, threats: Mapping[str, str]) -> data.Attacks | None:
    if verify is None or not verify.attacks:
        return None
    numbers = sorted({each.ring for each in verify.attacks})
    by_id: dict[str, list[AttackResult]] = {}
    for each in verify.attacks:
        by_id.setdefault(each.id, []).append(each)
    chapters: dict[str, list[data.AttackRow]] = {title: [] for title in (*_CHAPTERS.values(), _OTHER)}
    for id, ends in by_id.items():
        chapters[_CHAPTERS.get(threats.get(id, ""), _OTHER)].append(_attack(id, ends, numbers))
    return data.Attacks(
        tuple(_ring(number, verify.attacks) for number in numbers),
        tuple(data.Chapter(title, tuple(rows)) for title, rows in chapters.items() if rows),
    )


def _attack(id: str, ends: Sequence[AttackResult], numbers: Collection[int]) -> data.AttackRow:
    by_ring = {each.ring: data.AttackEnd(each.status, each.detail) for each in ends}
    rings = tuple(by_ring.get(number, data.AttackEnd("", "")) for number in numbers)
    return data.AttackRow(id, ends[0].title, ends[0].sql, rings)


def _ring(number: int, attacks: Sequence[AttackResult]) -> data.RingCount:
    ended = Counter(each.status for each in attacks if each.ring == number)
    title = RINGS.get(number, f"ring {number}")
    return data.RingCount(number, title, ended["blocked"], ended["leak"], ended["skipped"])


def _finding(finding: Finding) -> data.FindingRow:
    place, severity = _place(finding.position), str(finding.severity)
    return data.FindingRow(finding.rule, severity, finding.object, finding.message, finding.remedy, finding.sql, place)


def _place(position: Position | None) -> str:
    """Without the folders of the machine that the report is made on."""
    return f"{PurePath(position.file).name}:{position.line}:{position.column}" if position else ""


def _hole(hole: Hole, version: int) -> data.HoleRow:
    major = version // 10_000
    danger = "conversations may reach others' rows or values" if hole.grave else "conversations may undo protection"
    fixed = f"{major}.{hole.fixed_in[major]}" if major in hole.fixed_in else mended_in(version)
    return data.HoleRow(
        hole.id, hole.summary, danger if hole.reachable else "not by conversations themselves", fixed, hole.source
    )


def _uncovered(verify: VerifyResult | None, lint: LintResult) -> Iterator[data.Said]:
    if verify is None:
        yield data.Said("Rows and attacks", "verify was left out; what conversations see was not compared")
        return
    for each in verify.uncovered:
        yield data.Said(each.what, each.why)
    skipped = Counter(each.detail for each in verify.attacks if each.status == "skipped")
    for why, number in sorted(skipped.items()):
        yield data.Said(_count(number, "attack"), why)
    if not verify.attacks:
        yield data.Said("Attacks", "the attack catalogue was left out")
    if not verify.snapshot:
        yield data.Said("One moment", "the two connections could not share a snapshot; rows may have changed meanwhile")
    if verify.contexts:
        stood = f"{_count(len(verify.contexts), 'context')} stood for all of them; --thorough compares more"
        yield data.Said("Other tenants", stood)
    accepted = sum(found.severity is Severity.error for found, _ in lint.ignored)
    if accepted:
        yield data.Said(_count(accepted, "error"), "accepted by the spec; they are listed with their reasons")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
