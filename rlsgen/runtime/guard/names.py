"""Functions, types and operators of a statement: allowed or not, and what they are called in what runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from postgast import pg_query_pb2 as pb

from rlsgen.identifiers import Name, display
from rlsgen.runtime.guard.allowed import catalog
from rlsgen.runtime.guard.text import Text, suggestion, words

MAX_PADDED_TYPE = 10_000
_RANGES = (pb.AEXPR_BETWEEN, pb.AEXPR_NOT_BETWEEN, pb.AEXPR_BETWEEN_SYM, pb.AEXPR_NOT_BETWEEN_SYM)
_HINTS = {
    "clock_timestamp": "use now(), which is the same for the whole statement",
    "timeofday": "use now()",
    "version": "it tells of the server, not of your data",
    "pg_sleep": "a statement cannot wait",
    "query_to_xml": "write the query itself, as a sub-query",
    "current_setting": "settings are not shown to conversations",
    "set_config": "settings cannot be changed; the context was sealed before the statement began",
    "nextval": "columns take their numbers from their sequences by themselves",
    "crosstab": "pivot with sum(…) FILTER (WHERE …), one column each",
    "to_regclass": "describe the schema with `rlsgen describe`",
    "pg_size_pretty": "sizes of tables are not shown to conversations",
    "setseed": "random() needs no seed",
}
_NO_VALUE = {
    pb.SVFOP_CURRENT_ROLE: "current_role",
    pb.SVFOP_CURRENT_USER: "current_user",
    pb.SVFOP_USER: "user",
    pb.SVFOP_SESSION_USER: "session_user",
    pb.SVFOP_CURRENT_CATALOG: "current_catalog",
    pb.SVFOP_CURRENT_SCHEMA: "current_schema",
}
_TIMES = (
    pb.SVFOP_CURRENT_DATE, pb.SVFOP_CURRENT_TIME, pb.SVFOP_CURRENT_TIME_N, pb.SVFOP_CURRENT_TIMESTAMP,
    pb.SVFOP_CURRENT_TIMESTAMP_N, pb.SVFOP_LOCALTIME, pb.SVFOP_LOCALTIME_N, pb.SVFOP_LOCALTIMESTAMP,
    pb.SVFOP_LOCALTIMESTAMP_N,
)  # fmt: skip


class Allowed:
    """What may be used beside Postgres' own: functions and operators of the spec, types of readable columns."""

    def __init__(
        self, schemas: Sequence[str], functions: Iterable[Name], operators: Iterable[Name], types: Iterable[Name]
    ) -> None:
        self._schemas = schemas
        self._functions = frozenset(functions)
        self._operators = frozenset(operators)
        self._types = frozenset(name for name in types if name.schema != "pg_catalog")

    def function(self, text: Text, node: Any, at: int) -> None:
        """Check the function of a call, and qualify it."""
        parts = words(node.funcname)
        found = self._resolve(parts, catalog().functions, self._functions)
        if found is None:
            raise self._no_function(text, parts, at)
        _rename(node.funcname, found)

    def type(self, text: Text, node: Any, at: int) -> None:
        """Check a type's name, and qualify it."""
        parts = words(node.names)
        found = self._resolve(parts, catalog().types, self._types)
        if found is None:
            raise self._no_type(text, parts, at)
        if found.name in ("bpchar", "bit") and not all(_modest(each) for each in node.typmods):
            kind = "char" if found.name == "bpchar" else "bit"
            message = f"a {kind} is filled up to its length, which can be a number up to {MAX_PADDED_TYPE}"
            raise text.refused(message, reason="size", at=at, hint="use text")
        _rename(node.names, found)

    def operator(self, text: Text, name: Any, at: int) -> None:
        """Check an operator, and qualify those of the spec's own; built-in ones stay as written."""
        parts = words(name)
        symbol = parts[-1]
        if len(parts) == 1 and symbol in catalog().operators:
            return
        found = self._resolve(parts, catalog().operators, self._operators)
        if found is None:
            hint = f"the spec can allow it: functions: {{allow: ['schema.{symbol}']}}"
            raise text.refused(f"the operator {symbol} is not allowed", reason="operator", at=at, hint=hint)
        _rename(name, found)

    def expression(self, text: Text, node: Any, at: int) -> None:
        """Check the operator of an A_Expr."""
        if node.kind not in _RANGES:
            self.operator(text, node.name, at)

    def value_function(self, text: Text, node: Any, at: int) -> None:
        """Check CURRENT_DATE and its kin."""
        if node.op not in _TIMES:
            message = f"{_NO_VALUE.get(node.op, 'this')} is not allowed: it names the database's roles or design"
            raise text.refused(message, reason="function", at=at)

    def collation(self, text: Text, node: Any, at: int) -> None:
        """Check a collation: Postgres' own, or one of the spec's schemas."""
        parts = words(node.collname)
        if len(parts) > 2 or (len(parts) == 2 and parts[0] not in ("pg_catalog", *self._schemas)):
            raise text.refused(f"the collation {'.'.join(parts)} is not available", reason="type", at=at)

    def _resolve(self, parts: list[str], built_in: frozenset[str], extra: frozenset[Name]) -> Name | None:
        if len(parts) == 1:
            if parts[0] in built_in:
                return Name("pg_catalog", parts[0])
            schemas = [*self._schemas, *sorted({name.schema for name in extra} - {*self._schemas})]
            return next((name for schema in schemas if (name := Name(schema, parts[0])) in extra), None)
        if len(parts) != 2:
            return None
        name = Name(parts[0], parts[1])
        return name if (name.schema == "pg_catalog" and name.name in built_in) or name in extra else None

    def _no_function(self, text: Text, parts: list[str], at: int) -> Exception:
        name = parts[-1]
        known = [*catalog().functions, *(each.name for each in self._functions)]
        own = f"if it is your own and safe for everyone, the spec can allow it: functions: {{allow: [schema.{name}]}}"
        hint = _HINTS.get(name) or suggestion(name, known, own if not name.startswith("pg_") else "")
        shown = ".".join(display(part) for part in parts)
        return text.refused(f"the function {shown} is not allowed", reason="function", at=at, hint=hint)

    def _no_type(self, text: Text, parts: list[str], at: int) -> Exception:
        shown, hint = ".".join(display(part) for part in parts), ""
        if parts[-1].startswith("reg") or parts[-1] in ("oid", "name"):
            hint = "it looks into the database's catalogs"
        known = [*catalog().types, *(each.name for each in self._types)]
        hint = hint or suggestion(parts[-1], known)
        return text.refused(f"the type {shown} is not available", reason="type", at=at, hint=hint)


def _modest(modifier: Any) -> bool:
    """Whether a type's length is a small number; Postgres would take a text or a name for one, too."""
    constant = modifier.a_const
    return bool(constant.HasField("ival") and constant.ival.ival <= MAX_PADDED_TYPE)


def _rename(nodes: Any, name: Name) -> None:
    while len(nodes) < 2:
        nodes.add()
    for node, part in zip(nodes, name, strict=True):
        node.string.sval = part
