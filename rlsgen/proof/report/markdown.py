"""The report as Markdown: the same content as the page, for a pull request, a wiki, or a text file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from rlsgen.proof.report import data
from rlsgen.proof.report.data import REACHES, Report
from rlsgen.proof.report.graph import in_words
from rlsgen.proof.report.text import visible

_SPECIAL = str.maketrans(
    {each: f"\\{each}" for each in "\\`*_[]|~#$@"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;", "\n": " "}
)


def to_markdown(report: Report) -> str:
    """GitHub-flavoured Markdown. Names can forge neither markup nor mentions."""
    sections: list[tuple[str, Iterable[str]]] = [
        ("What conversations see", _scope(report)),
        ("Where each table’s rows come from", [text(in_words(report.paths)) or "No table is scoped."]),
        ("Who can read what", _access(report.access)),
        ("Attacks", _attacks(report.attacks)),
        ("Findings", _findings(report)),
        ("Versions and known holes", _holes(report)),
        ("Fingerprints", _fingerprints(report)),
        ("What was not covered", _said(report.uncovered) if report.uncovered else ["Nothing was left out."]),
        ("What is not promised", _said(report.not_promised)),
    ]
    lines = [*_head(report)]
    for title, body in sections:
        lines += ["", f"## {title}", "", *body]
    return "\n".join(lines) + "\n"


def text(value: str) -> str:
    """Text that means nothing to Markdown."""
    shown = visible(value).translate(_SPECIAL)
    return f"\\{shown}" if shown[:1] in ("-", "+", "=") else shown


def code(value: str) -> str:
    """A name or an expression in backticks, more of them than it has itself; fit for a table."""
    shown = " ".join(visible(value).split()).replace("|", "\\|")
    if not shown:
        return ""
    runs = re.findall("`+", shown)
    fence = "`" * (max(map(len, runs), default=0) + 1)
    space = " " if runs else ""
    return f"{fence}{space}{shown}{space}{fence}"


def _head(report: Report) -> Iterator[str]:
    origin = report.origin
    yield f"# Tenant isolation of {code(origin.database)}: {text(report.verdict.headline)}"
    yield ""
    yield from (f"- {text(each)}" for each in report.verdict.sentences)
    yield ""
    yield (
        f"Made at {origin.made_at} by {code(origin.made_by)} with rlsgen {text(origin.rlsgen)} on PostgreSQL"
        f" {text(origin.server)}, against {code(origin.spec)}. Untrusted SQL runs as {code(origin.conversation)}."
    )


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _codes(values: Iterable[str]) -> str:
    return ", ".join(map(code, values))


def _scope(report: Report) -> Iterator[str]:
    columns = ("Table", "Access", "Rows", "Columns", "Commands", "Verified")
    rows = [
        (code(row.table), row.access, _rows(row), _columns(row), ", ".join(row.commands) or "–", _verified(row))
        for row in report.scope
    ]
    yield from _table(columns, rows)
    yield ""
    yield "The context of a conversation:"
    yield ""
    fields = [
        (code(each.name), each.type, "required" if each.required else "optional", code(each.bounds) or "–")
        for each in report.fields
    ]
    yield from _table(("Field", "Type", "Presence", "Bounds"), fields)


def _rows(row: data.ScopeRow) -> str:
    match row.access:
        case "hidden" | "undeclared":
            return "none"
        case "shared":
            return f"all: {text(row.why)}" if row.why else "all"
        case "invoker":
            return "what its tables show to the same conversation"
    parts = [*([code(row.filter)] if row.filter else []), *(f"follows {code(path)}" for path in row.through)]
    return " and ".join(parts) + (f"; writes only where {code(row.check)}" if row.check else "")


def _columns(row: data.ScopeRow) -> str:
    if not row.shown:
        return "none"
    told = f"all {row.shown}" if row.shown == row.columns else f"{row.shown} of {row.columns}"
    told += f", without {_codes(row.hidden_columns)}" if row.hidden_columns else ""
    return told + (f", no statistics: {_codes(row.private_columns)}" if row.private_columns else "")


def _verified(row: data.ScopeRow) -> str:
    found = row.verified
    compared = f": {found.compared}" if found.compared else ""
    return "; ".join([f"{found.status or 'no'}{compared}", *map(text, found.notes)])


def _access(found: data.Access) -> Iterator[str]:
    heads = [f"{each.title}{'' if each.kind == 'everybody' else f' {_roles(each)}'}" for each in found.readers]
    rows = [
        (code(name), *(REACHES[each.reads[number]] for each in found.readers))
        for number, name in enumerate(found.relations)
    ]
    yield from _table(("Table", *heads), rows)


def _roles(readers: data.Readers) -> str:
    return "; ".join(f"{code(each.role)} {text(each.why)}" for each in readers.roles)


def _attacks(found: data.Attacks | None) -> Iterator[str]:
    if found is None:
        yield "None were tried for this report."
        return
    counts = [
        (f"{ring.ring}: {ring.title}", str(ring.blocked), str(ring.leaks), str(ring.skipped)) for ring in found.rings
    ]
    yield from _table(("Ring", "Blocked", "Got through", "Not tried"), counts)
    heads = ("It tries", *(f"Ring {ring.ring}" for ring in found.rings))
    for chapter in found.chapters:
        yield from ("", f"### {chapter.title}", "")
        yield from _table(heads, [(f"{text(row.title)} {code(row.id)}", *map(_end, row.rings)) for row in chapter.rows])


def _end(end: data.AttackEnd) -> str:
    detail = f": {text(end.detail)}" if end.detail else ""
    return f"{'**leak**' if end.status == 'leak' else end.status}{detail}" if end.status else "–"


def _findings(report: Report) -> Iterator[str]:
    if not report.findings:
        yield "Lint found nothing in the catalog that would defeat the spec."
    for each in report.findings:
        place = f" ({code(each.place)})" if each.place else ""
        yield f"- **{each.severity}** {code(each.object)}, {each.rule}{place}: {text(each.message)}"
        yield f"  Remedy: {text(each.remedy)}{f' {code(each.sql)}' if each.sql else ''}"
    for accepted in report.accepted:
        found, until = accepted.finding, f"until {accepted.until}" if accepted.until else "without an end"
        yield f"- Accepted {until}: {code(found.object)}, {found.rule}: {text(found.message)}"
        yield f"  Why: {text(accepted.why)}"


def _holes(report: Report) -> Iterator[str]:
    if not report.holes:
        yield f"PostgreSQL {report.origin.server} has no hole in row security that this version of rlsgen knows of."
        return
    rows = [(each.id, text(each.summary), text(each.danger), each.mended_in) for each in report.holes]
    yield from _table(("Hole", "What it does", "Here", "Mended in"), rows)


def _fingerprints(report: Report) -> Iterator[str]:
    prints = report.fingerprints
    yield f"- Spec: {code(prints.spec)}"
    same = prints.applied == prints.spec
    yield f"- Applied: {'the same' if same else code(prints.applied) or 'no apply has come to its end'}"
    yield f"- Database: {code(prints.provision) or 'not provisioned'}"
    yield f"- Cluster: {code(prints.system)}"
    for key in prints.keys:
        kind = "Signing key" if key.kind == "signing" else "Key of the seals"
        kid, retired = f" {code(key.kid)}," if key.kid else "", ", retired" if key.retired else ""
        yield f"- {kind}:{kid} made {key.created}{retired}"
    if not prints.keys:
        yield f"- Keys: {'none' if prints.keys_known else 'none yet, or this role may not see them'}"
    for tenant in report.compared.tenants if report.compared else ():
        yield f"- Tenant compared: {code(' '.join(f'{name}={value}' for name, value in tenant.items()))}"
    yield f"- Unrestricted roles: {_codes(report.origin.unrestricted) or 'none'}"


def _said(points: Iterable[data.Said]) -> Iterator[str]:
    return (f"- **{text(each.what)}**: {text(each.why)}" for each in points)
