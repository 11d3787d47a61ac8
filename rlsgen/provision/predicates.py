"""The predicate of each table: its filter and its paths, for policies and for definer functions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Literal

from rlsgen.identifiers import Name, Sql, fill, identifier, join
from rlsgen.provision.expression import Rewriting, column_names, type_sql
from rlsgen.provision.functions import Accessor, DesiredFunction
from rlsgen.provision.resolve import Path, Resolved, Table
from rlsgen.spec.model import ContextField

Mode = Literal["read", "write"]
TRUE, FALSE = Sql("true"), Sql("false")


def conjunction(parts: list[Sql]) -> Sql:
    """Parts joined by AND, each in parentheses where there is more than one."""
    if len(parts) == 1:
        return parts[0]
    return join(" AND ", [fill("({})", part) for part in parts]) if parts else TRUE


class Predicates:
    """Builds predicates for one resolved spec and collects the path functions that they need."""

    def __init__(self, resolved: Resolved, accessors: Mapping[str, Accessor]) -> None:
        self._resolved = resolved
        self._accessors = accessors
        self._rewriting = Rewriting(resolved.spec.context, self._call, resolved.name_of)
        self._policies: dict[tuple[Name, Mode], Sql] = {}
        self.functions: dict[Name, DesiredFunction] = {}
        self.definer_reads: set[Name] = set()

    def policy(self, table: Table, mode: Mode) -> Sql:
        """The predicate of a policy on `table`. Sub-queries in it stand on the policies of what they read."""
        key = (table.name, mode if self.writes_differ(table) else "read")
        if key not in self._policies:
            probes = (self._probe(table, path, key[1]) for path in table.paths)
            self._policies[key] = conjunction([*self._own(table, key[1]), *probes])
        return self._policies[key]

    def of_path_functions(self, table: Table) -> Sql:
        """What path functions may read of a table: what is visible, without its path to itself, which they climb."""
        others = (path for path in table.paths if path.parent != table.name)
        return conjunction([*self._own(table, "read"), *(self._probe(table, path, "read") for path in others)])

    def writes_differ(self, table: Table) -> bool:
        """Whether what may be written is not what may be read: a check here or at a parent."""
        parents = (self._resolved.tables[path.parent] for path in table.paths if path.parent != table.name)
        return table.spec.check is not None or any(self.writes_differ(parent) for parent in parents)

    def _own(self, table: Table, mode: Mode, *, inline: bool = False) -> list[Sql]:
        text = table.spec.filter
        if mode == "write" and table.spec.check is not None:
            text = table.spec.check
        if text is None:
            return []
        return [self._rewriting.of(table.relation, text, self._visible_rows if inline else None)]

    def _call(self, field: ContextField) -> Sql:
        return fill("{}()", Name("rlsgen", self._accessors[field.name].function).sql)

    def _visible_rows(self, name: Name) -> Sql:
        table = self._resolved.tables[name]
        return TRUE if table.spec.access == "shared" else self._full(table, "read")

    # Paths in policies

    def _probe(self, table: Table, path: Path, mode: Mode) -> Sql:
        parent = self._resolved.tables[path.parent]
        mode = mode if self.writes_differ(parent) else "read"
        if path.parent == table.name or not self._readable(parent, path, mode):
            return self._by_function(table, path, mode)
        conditions = [_joined(path, [_column(path.child, each.name) for each in path.columns])]
        if mode == "write":
            # The parent's own policy shows the rows that may be read; what may be written is said here.
            conditions += [self.policy(parent, "write")]
        return _existence(parent, path, conjunction(conditions))

    def _readable(self, parent: Table, path: Path, mode: Mode) -> bool:
        """Whether the conversation role has the privileges that a sub-query over `parent` needs."""
        needed = {column.name for column in path.parent_columns}
        if mode == "write":
            text = parent.spec.check or parent.spec.filter
            needed |= column_names(text) if text else set()
            needed |= {column.name for up in parent.paths for column in up.columns}
            ups = [(self._resolved.tables[up.parent], up) for up in parent.paths if up.parent != parent.name]
            if not all(self._readable(up_parent, up, "write") for up_parent, up in ups):
                return False
        return parent.spec.access == "scoped" and not needed & set(parent.spec.hide)

    def _by_function(self, table: Table, path: Path, mode: Mode) -> Sql:
        function = self._path_function(path, mode)
        arguments = join(", ", [_column(path.child, column.name) for column in path.columns])
        call = fill("{}({})", function.sql, arguments)
        if path.parent != table.name:
            return call
        roots = join(" OR ", [fill("{} IS NULL", _column(path.child, column.name)) for column in path.columns])
        return fill("({} OR {})", roots, call)

    # Paths in definer functions, where no policy applies and everything is written out

    def _path_function(self, path: Path, mode: Mode) -> Name:
        arguments = join(", ", [type_sql(column.base) for column in path.columns])
        body = self._climb(path, mode) if path.child == path.parent else self._reach(path, mode)
        # BEGIN ATOMIC: names are resolved now, not by a search_path at run time.
        digest = hashlib.sha256("\n".join((arguments, body)).encode()).hexdigest()[:16]
        name = Name("rlsgen", f"path_{digest}")
        create = fill(
            "CREATE OR REPLACE FUNCTION {}({}) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER PARALLEL RESTRICTED"
            " SET search_path = pg_catalog, pg_temp\nBEGIN ATOMIC\n{};\nEND",
            name.sql,
            arguments,
            body,
        )
        self.functions[name] = DesiredFunction(name, arguments, create, execute=True)
        return name

    def _reach(self, path: Path, mode: Mode) -> Sql:
        parent = self._resolved.tables[path.parent]
        condition = conjunction([_joined(path, _parameters(path)), self._full(parent, mode)])
        return fill("SELECT EXISTS (SELECT 1 FROM {} WHERE {})", parent.name.sql, condition)

    def _full(self, table: Table, mode: Mode) -> Sql:
        self.definer_reads.add(table.name)
        parts = self._own(table, mode, inline=True)
        if mode == "write":
            parts = [*self._own(table, "read", inline=True), *parts] if table.spec.check else parts
        for path in table.paths:
            if path.parent == table.name:
                parts.append(self._by_function(table, path, mode))
            else:
                parent = self._resolved.tables[path.parent]
                columns = [_column(path.child, column.name) for column in path.columns]
                inner = conjunction([_joined(path, columns), self._full(parent, mode)])
                parts.append(fill("EXISTS (SELECT 1 FROM {} WHERE {})", parent.name.sql, inner))
        return conjunction(parts)

    def _climb(self, path: Path, mode: Mode) -> Sql:
        """From a row to its topmost ancestor: every one on the way must be visible, and a topmost one must exist.

        UNION, not UNION ALL: rows that are each other's ancestors end the climb, and are not visible.
        """
        table = self._resolved.tables[path.parent]
        others = Table(table.spec, table.relation, tuple(each for each in table.paths if each.parent != table.name))
        names = [identifier(f"rlsgen_{number}") for number in range(len(path.columns))]
        columns = join(
            ", ",
            [
                fill("{} AS {}", _column(path.child, column.name), name)
                for column, name in zip(path.columns, names, strict=True)
            ],
        )
        visible = fill("(({}) IS TRUE) AS rlsgen_visible", self._full(others, mode))
        step = _joined(path, [fill("rlsgen_ancestor.{}", name) for name in names])
        return fill(
            "WITH RECURSIVE rlsgen_ancestor AS (\n"
            "  SELECT {columns}, {visible} FROM {table} WHERE {first}\n"
            "  UNION\n"
            "  SELECT {columns}, {visible} FROM {table}, rlsgen_ancestor WHERE {step}\n)\n"
            "SELECT coalesce(bool_and(rlsgen_visible), false) AND coalesce(bool_or({roots}), false)"
            " FROM rlsgen_ancestor",
            columns=columns,
            visible=visible,
            table=table.name.sql,
            first=_joined(path, _parameters(path)),
            step=step,
            roots=join(" OR ", [fill("{} IS NULL", name) for name in names]),
        )


def _column(relation: Name, column: str) -> Sql:
    return fill("{}.{}", relation.sql, identifier(column))


def _parameters(path: Path) -> list[Sql]:
    return [Sql(f"${number}") for number in range(1, len(path.columns) + 1)]


def _joined(path: Path, values: list[Sql]) -> Sql:
    """Parent's columns equal to values; where types differ, both as text: a cast that cannot fail on foreign rows."""
    terms = []
    for column, value, native in zip(path.parent_columns, values, path.native, strict=True):
        shape = "{} = {}" if native else "{}::text = {}::text"
        terms.append(fill(shape, _column(path.parent, column.name), value))
    return join(" AND ", terms)


def _existence(parent: Table, path: Path, condition: Sql) -> Sql:
    """A boolean probe where at most one row can match, which is never hashed over the whole tenant; else EXISTS."""
    if all(path.native) and parent.unique(tuple(column.name for column in path.parent_columns)):
        return fill("(SELECT true FROM {} WHERE {})", parent.name.sql, condition)
    return fill("EXISTS (SELECT 1 FROM {} WHERE {})", parent.name.sql, condition)
