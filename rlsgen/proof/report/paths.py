"""Where each table's rows come from, as nodes and edges: context fields, paths to parents, sub-queries of filters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rlsgen.identifiers import Name, display
from rlsgen.proof.report.data import Edge, Node, Paths
from rlsgen.provision.resolve import Path, Resolved, find

MOST = 60
"""Tables up to which all of them are drawn; above it only those that a path or a sub-query touches."""

_Link = tuple[Name | str, Name, str, str]  # a field's name or a table, the table that follows it, kind, label


def paths(resolved: Resolved) -> Paths:
    """The graph of the scoped tables, in the order of their names."""
    links = list(_links(resolved))
    linked = {end for first, second, kind, _ in links if kind != "filter" for end in (first, second)}
    scoped = sorted(name for name, table in resolved.tables.items() if table.spec.access == "scoped")
    drawn = scoped if len(scoped) <= MOST else [name for name in scoped if name in linked]
    parents = sorted(end for end in linked if isinstance(end, Name) and end not in scoped)
    tables = [*drawn, *parents]
    present = set(tables)
    kept = [link for link in links if link[1] in present and (isinstance(link[0], str) or link[0] in present)]
    used = {first for first, _, _, _ in kept}
    fields = [field.name for field in resolved.spec.context if field.name in used]
    ends: list[Name | str] = [*fields, *tables]
    ids: Mapping[Name | str, int] = {end: number for number, end in enumerate(ends)}
    nodes = [Node(ids[name], name, "field") for name in fields]
    nodes += [Node(ids[name], _label(resolved, name), resolved.tables[name].spec.access) for name in tables]
    edges = [Edge(ids[first], ids[second], kind, label) for first, second, kind, label in kept]
    return Paths(tuple(nodes), tuple(edges), len(scoped) - len(drawn))


def _label(resolved: Resolved, name: Name) -> str:
    """Without its schema where there is only one."""
    return display(name.name) if len(resolved.spec.schemas) == 1 else str(name)


def _links(resolved: Resolved) -> Iterator[_Link]:
    spec = resolved.spec
    for name, table in resolved.tables.items():
        if table.spec.access == "shared":
            continue
        text = table.spec.filter
        if text is not None:
            for field in text.fields:
                yield field, name, "filter", ""
            for ref in text.relations:
                parent = find(spec, resolved.catalog, ref)
                if parent is not None and parent in resolved.tables:
                    yield parent, name, "query", "sub-query"
        for path in table.paths:
            if path.parent in resolved.tables:
                yield path.parent, name, "path", _columns(path)


def _columns(path: Path) -> str:
    here = ", ".join(display(column.name) for column in path.columns)
    there = ", ".join(display(column.name) for column in path.parent_columns)
    return f"{here} → {there}"
