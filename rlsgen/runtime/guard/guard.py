"""The guard: a text is one allowed statement over what conversations may use, or it is refused with a reason."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

import postgast
from google.protobuf.message import DecodeError
from postgast import unwrap_node

from rlsgen.errors import StatementRefused
from rlsgen.identifiers import Name
from rlsgen.runtime.guard.checker import Checker
from rlsgen.runtime.guard.deep import deep
from rlsgen.runtime.guard.grammar import REASONS
from rlsgen.runtime.guard.names import Allowed
from rlsgen.runtime.guard.text import Text
from rlsgen.runtime.guard.twins import Twins
from rlsgen.runtime.guard.writes import Writes
from rlsgen.runtime.schema import Relation, Schema
from rlsgen.runtime.statement import AppliedFilter, Statement
from rlsgen.spec.model import Command, Spec, TableSpec
from rlsgen.spec.trees import DeparseError, statement_to_sql

CACHE_ENTRIES = 2_000
CACHE_BYTES = 32 * 1024 * 1024
_ENTRY_BYTES = 1_000  # of a cached statement beside its texts


class Guard:
    """Checks statements against one spec and one database's schema. Thread-safe; remembers what it let through."""

    def __init__(self, spec: Spec, schema: Schema, *, twins: bool = True) -> None:
        self._spec = spec
        self._schema = schema
        functions = [Name(each.schema, each.name) for each in spec.functions if not each.operator]
        operators = [Name(each.schema, each.name) for each in spec.functions if each.operator]
        self._allowed = Allowed(spec.schemas, functions, operators, schema.types)
        self._twins = Twins(spec, schema) if twins else None
        self._cache: OrderedDict[tuple[str, int], Statement] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def check(self, text: str, parameters: int = 0, *, key: Hashable = None) -> Statement:
        """What runs for a text, with `parameters` values for its $1 to $n. `key` says for whom: keys take turns.

        Raises:
            StatementRefused: it is not allowed, or it is no SQL; why, where in the text, and what to write instead.
        """
        entry = (Text.checked(text), parameters)
        with self._lock:
            found = self._cache.get(entry)
            if found is not None:
                self._cache.move_to_end(entry)
                return found
        statement = deep(lambda: self._check(text, parameters), key=key, size=len(text))
        self._remember(entry, statement)
        return statement

    def _remember(self, key: tuple[str, int], statement: Statement) -> None:
        with self._lock:
            if key in self._cache:
                return
            self._cache[key] = statement
            self._bytes += _size(key, statement)
            while len(self._cache) > CACHE_ENTRIES or self._bytes > CACHE_BYTES:
                self._bytes -= _size(*self._cache.popitem(last=False))

    def _check(self, written: str, parameters: int) -> Statement:
        text = Text(written)
        tree = text.parse()
        if len(tree.stmts) != 1:
            message = f"one statement at a time, not {len(tree.stmts)}"
            raise text.refused(
                message, reason="statement", at=tree.stmts[1].stmt_location if len(tree.stmts) > 1 else None
            )
        checker = Checker(text, self._schema, self._allowed, self._twins, parameters)
        command = self._statement(checker, unwrap_node(tree.stmts[0].stmt))
        _check_parameters(text, checker.parameters, parameters)
        tree.stmts[0].stmt_location = tree.stmts[0].stmt_len = 0
        sql = _written_back(text, tree)
        return Statement(
            sql=sql,
            command=command,
            parameters=parameters,
            twins=tuple(checker.binder.twins),
            filters=tuple(applied(each, command if n == 0 else "select") for n, each in enumerate(checker.relations)),
            fingerprint=postgast.fingerprint(written).hex,
        )

    def _statement(self, checker: Checker, node: Any) -> Command:
        kind = node.DESCRIPTOR.name
        writes = Writes(checker, self._spec)
        if kind == "SelectStmt":
            checker.queries.select(node, None, {}, 0)
            return "select"
        if kind == "InsertStmt":
            writes.insert(node)
            return "insert"
        if kind == "UpdateStmt":
            writes.update(node)
            return "update"
        if kind == "DeleteStmt":
            writes.delete(node)
            return "delete"
        what = REASONS.get(kind, "only SELECT, and the writes that the spec allows, can be run")
        raise checker.text.refused(what, reason="statement", at=0, hint="write one SELECT")


def applied(relation: Relation, command: Command) -> AppliedFilter:
    """What decides about a relation's rows, in the spec's words."""
    declared = relation.declared
    if not isinstance(declared, TableSpec):
        return AppliedFilter(relation.name, "invoker")
    if declared.access == "shared":
        return AppliedFilter(relation.name, "shared")
    governing = declared.check or declared.filter if command != "select" else declared.filter
    parts = [" ".join(governing.text.split())] if governing else []
    for path in declared.through:
        own = ", ".join(path.columns)
        parent = f"{path.parent.schema}.{path.parent.name}" if path.parent.schema else path.parent.name
        parts.append(f"{own if len(path.columns) == 1 else f'({own})'} -> {parent}({', '.join(path.parent_columns)})")
    return AppliedFilter(relation.name, " AND ".join(parts))


def _written_back(text: Text, tree: Any) -> str:
    try:
        return statement_to_sql(tree)
    except DeparseError:
        try:
            postgast.parse(postgast.deparse(tree))
        except DecodeError:
            raise text.too_deep() from None
        except postgast.PgQueryError:
            pass
        message = "the statement cannot be written back so that it means the same"
        raise text.refused(message, reason="syntax", hint="write it in another way") from None


def _check_parameters(text: Text, used: set[int], given: int) -> None:
    highest = max(used, default=0)
    if highest > given:
        message = f"the statement uses ${highest}, but {given} parameter{'s were' if given != 1 else ' was'} given"
        raise text.refused(message, reason="parameters")
    if len(used) < given:
        unused = next(number for number in range(1, given + 1) if number not in used)
        message = (
            f"{given} parameter{'s were' if given != 1 else ' was'} given, but the statement does not use ${unused}"
        )
        raise text.refused(message, reason="parameters")


def _size(key: tuple[str, int], statement: Statement) -> int:
    return _ENTRY_BYTES + 4 * (len(key[0]) + len(statement.sql))


__all__ = ["Guard", "StatementRefused", "applied"]
