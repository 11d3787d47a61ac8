"""Indexes that the predicates want: found missing, made CONCURRENTLY, partition by partition."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import postgast
from postgast import pg_query_pb2 as pb

from rlsgen.catalog.model import Catalog, Relation
from rlsgen.identifiers import Name, Sql, display, fill, identifier, identifiers
from rlsgen.provision.resolve import Resolved, Table


@dataclass(frozen=True, slots=True)
class MissingIndex:
    """A table whose predicate compares `columns`, none of whose indexes starts with them."""

    table: Name
    columns: tuple[str, ...]

    def __str__(self) -> str:
        return f"no index of {self.table} starts with {', '.join(map(display, self.columns))}"


@dataclass(frozen=True, slots=True)
class IndexStatement:
    """One statement, to be run by itself outside a transaction."""

    label: str
    sql: Sql
    concurrently: bool = False  # takes as long as it takes and blocks nobody; others lock the table for a moment


def missing_indexes(resolved: Resolved) -> list[MissingIndex]:
    """What the filters and paths compare and no valid, complete index starts with."""
    missing: dict[MissingIndex, None] = {}
    for table in resolved.tables.values():
        if table.spec.access == "scoped" and table.relation.kind in ("table", "partitioned"):
            wanted = _of_filter(table) + [tuple(column.name for column in path.columns) for path in table.paths]
            missing |= {
                MissingIndex(table.name, columns): None for columns in wanted if not _served(table.relation, columns)
            }
        for path in table.paths:
            parent = resolved.tables[path.parent]
            ends = tuple(column.name for column in path.parent_columns)
            if parent.relation.kind in ("table", "partitioned") and not _served(parent.relation, ends):
                missing[MissingIndex(parent.name, ends)] = None
    return list(missing)


def _of_filter(table: Table) -> list[tuple[str, ...]]:
    """Of conditions that are joined by AND, one index is enough; of those joined by OR, each needs its own."""
    if table.spec.filter is None:
        return []
    wanted = [columns for each in _compared(table.spec.filter.text) if (columns := _own(each, table))]
    if any(all(_served(table.relation, (column,)) for column in columns) for columns in wanted):
        return []
    single = tuple(dict.fromkeys(columns[0] for columns in wanted if len(columns) == 1))
    return [single] if single else [(column,) for columns in wanted[:1] for column in columns]


@lru_cache(maxsize=16_384)
def _compared(text: str) -> tuple[tuple[tuple[str, ...], ...], ...]:
    """For each condition that AND joins, the columns that it compares with a context value, sub-queries included.

    A column is the parts of its name. Kept by text: a spec repeats its filters.
    """
    tree = postgast.parse(f"SELECT ({text}\n)").stmts[0].stmt.select_stmt.target_list[0].res_target.val
    conjuncts = list(tree.bool_expr.args) if tree.bool_expr.boolop == pb.AND_EXPR else [tree]
    return tuple(tuple(_columns_compared(each)) for each in conjuncts)


def _columns_compared(condition: pb.Node) -> Iterator[tuple[str, ...]]:
    for _, node in postgast.walk(condition):
        if isinstance(node, pb.A_Expr):
            refs = [
                side.column_ref.fields for side in (node.lexpr, node.rexpr) if side.WhichOneof("node") == "column_ref"
            ]
            names = [tuple(part.string.sval for part in parts) for parts in refs]
            if any(parts[0].lower() == "usercontext" for parts in names):
                yield from names


def _own(columns: Iterable[tuple[str, ...]], table: Table) -> list[str]:
    """Those that are the table's own, by their last part."""
    own = [parts[-1] for parts in columns if len(parts) == 1 or parts[-2] == table.name.name]
    return list(dict.fromkeys(name for name in own if table.relation.column(name)))


def _served(relation: Relation, columns: tuple[str, ...]) -> bool:
    usable = [
        index
        for index in relation.indexes
        if index.valid and not index.partial and index.method in ("btree", "hash", "gin")
    ]
    return any(
        set(index.columns[: len(columns)]) == set(columns) or index.columns[:1] == columns[:1] for index in usable
    )


def index_statements(missing: MissingIndex, catalog: Catalog) -> Iterator[IndexStatement]:
    """What makes one index: invalid leftovers dropped, then CONCURRENTLY; partitions attached to their parents."""
    relation = catalog.relations[missing.table]
    yield from _leftovers(relation, missing.columns)
    if relation.kind != "partitioned":
        yield _create(relation, missing.columns)
        return
    # CREATE INDEX CONCURRENTLY refuses partitioned tables: their index is made ONLY on them, invalid until every
    # partition's index is attached.
    name = index_name(relation.name, missing.columns)
    if not any(index.name == name and not index.valid for index in relation.indexes):
        only = fill(
            "CREATE INDEX {} ON ONLY {} ({})", identifier(name), relation.name.sql, identifiers(missing.columns)
        )
        yield IndexStatement(f"index on {relation.name} itself", only)
    for child in relation.children:
        part = catalog.relations[child]
        own = index_name(child, missing.columns)
        if part.kind == "foreign":
            continue
        if not any(index.name == own and index.valid for index in part.indexes):
            yield from index_statements(MissingIndex(child, missing.columns), catalog)
        attach = fill(
            "ALTER INDEX {} ATTACH PARTITION {}",
            Name(relation.name.schema, name).sql,
            Name(child.schema, own).sql,
        )
        yield IndexStatement(f"attach the index of {child}", attach)


def index_name(table: Name, columns: tuple[str, ...]) -> str:
    """`rlsgen_orders_organisation_id_1f3a9c02`: readable, within 63 bytes, different for all tables and columns."""
    readable = f"rlsgen_{table.name}_{'_'.join(columns)}".encode()[:54].decode(errors="ignore")
    digest = hashlib.sha256("\x00".join((table.schema, table.name, *columns)).encode()).hexdigest()[:8]
    return f"{readable}_{digest}"


def _create(relation: Relation, columns: tuple[str, ...]) -> IndexStatement:
    sql = fill(
        "CREATE INDEX CONCURRENTLY {} ON {} ({})",
        identifier(index_name(relation.name, columns)),
        relation.name.sql,
        identifiers(columns),
    )
    return IndexStatement(f"index on {relation.name} ({', '.join(columns)})", sql, concurrently=True)


def _leftovers(relation: Relation, columns: tuple[str, ...]) -> Iterator[IndexStatement]:
    """An index of ours that a killed run left invalid: it serves no query and slows every write."""
    name = index_name(relation.name, columns)
    if relation.kind != "partitioned" and any(index.name == name and not index.valid for index in relation.indexes):
        sql = fill("DROP INDEX CONCURRENTLY {}", Name(relation.name.schema, name).sql)
        yield IndexStatement(f"drop the invalid index {name}", sql, concurrently=True)
