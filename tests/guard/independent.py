"""A second check of what the guard lets through, written apart from it: over the JSON-like form of the deparsed text.

It knows nothing of the guard's tables. Its facts are a server's own: which functions, types and relations are in which schema.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import postgast
import psycopg
from google.protobuf import json_format

_STATEMENTS = {"select_stmt", "insert_stmt", "update_stmt", "delete_stmt"}
_NEVER = {
    "into_clause", "locking_clause", "on_conflict_clause", "current_of_expr", "range_table_sample", "explain_stmt", "copy_stmt",
    "merge_stmt", "variable_set_stmt", "transaction_stmt", "do_stmt", "call_stmt", "execute_stmt", "prepare_stmt",
}  # fmt: skip
_SYSTEM = {"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"}
_ROLE_NAMES = ("CURRENT_ROLE", "CURRENT_USER", "SVFOP_USER", "SESSION_USER", "CURRENT_CATALOG", "CURRENT_SCHEMA")
# Volatile functions of pg_catalog that change nothing and tell nothing: random numbers.
_HARMLESS = {"random", "random_normal", "gen_random_uuid", "uuidv4", "uuidv7", "array_sample", "array_shuffle"}
_READS = ("pg_", "lo_", "txid_", "has_", "to_reg", "inet_client", "inet_server", "current_", "binary_upgrade", "brin_")
_SQL_IN_TEXT = ("_to_xml", "_to_xmlschema", "_xml_and_xmlschema", "ts_stat", "ts_rewrite", "dblink", "crosstab")
_GRAMMAR = {"unnest"}  # the grammar takes unnest(a, b) apart only without a schema
_TYPES_TELLING = {"oid", "xid", "xid8", "tid", "cid", "aclitem", "name", "refcursor", "cstring", "internal"}


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server has in pg_catalog."""

    volatile: frozenset[str]
    functions: frozenset[str]

    @classmethod
    def read(cls, connection: psycopg.Connection[Any]) -> Facts:
        query = """SELECT proname, bool_or(provolatile = 'v') FROM pg_proc
                   WHERE pronamespace = 'pg_catalog'::regnamespace GROUP BY proname"""
        rows = connection.execute(query).fetchall()
        return cls(frozenset(name for name, volatile in rows if volatile), frozenset(name for name, _ in rows))


def complaints(sql: str, readable: Mapping[tuple[str, str], frozenset[str]], facts: Facts) -> list[str]:
    """What is wrong with a statement that the guard let through; nothing, one hopes."""
    tree = json_format.MessageToDict(postgast.parse(sql), preserving_proto_field_name=True)
    if len(tree.get("stmts", [])) != 1:
        return ["not one statement"]
    statement = tree["stmts"][0]["stmt"]
    found = [f"{kind} at the top" for kind in statement if kind not in _STATEMENTS]
    found += [f"{path[-1]} is never allowed" for path, _ in _objects(statement) if _NEVER & set(path)]
    found += _writes_inside(statement)
    with_names = {each["ctename"] for _, each in _named(statement, "common_table_expr")}
    for _, table in _tables(statement):
        found += _table(table, with_names, readable)
    for _, call in _named(statement, "func_call"):
        found += _call([_word(part) for part in call["funcname"]], facts)
    for _, name in _types(statement):
        found += _type([_word(part) for part in name["names"]])
    found += _columns_named(statement, _columns(statement, readable), facts)
    values = [value["op"] for _, value in _named(statement, "sqlvalue_function")]
    return found + [op for op in values if any(word in op for word in _ROLE_NAMES)]


def _columns_named(statement: dict[str, Any], known: set[str], facts: Facts) -> list[str]:
    found = []
    for _, column in _named(statement, "column_ref"):
        last = column["fields"][-1].get("string", {}).get("sval", "*")
        if last in _SYSTEM:
            found.append(f"system column {last}")
        if len(column["fields"]) > 2:
            found.append("a column of more than two parts")
        if len(column["fields"]) == 2 and last in facts.functions - known:
            found.append(f"{last} could be called as a function")
    for _, expression in _named(statement, "a_indirection"):
        names = {step.get("string", {}).get("sval", "") for step in expression["indirection"]}
        found += [f"{name} could be called as a function" for name in names & facts.functions - known]
    return found


def _word(node: dict[str, Any]) -> str:
    return str(node.get("string", {}).get("sval", ""))


def _objects(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    if isinstance(value, dict):
        yield path, value
        for key, each in value.items():
            yield from _objects(each, (*path, key))
    elif isinstance(value, list):
        for each in value:
            yield from _objects(each, path)


def _named(tree: Any, name: str) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    return ((path, each) for path, each in _objects(tree) if path and path[-1] == name)


def _tables(tree: Any) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    return ((path, each) for path, each in _objects(tree) if "relname" in each)


def _types(tree: Any) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    return ((path, each) for path, each in _objects(tree) if "names" in each and "relname" not in each)


def _writes_inside(statement: dict[str, Any]) -> list[str]:
    inside = ("insert_stmt", "update_stmt", "delete_stmt")
    return [f"{path[-1]} inside" for path, _ in _objects(statement) if len(path) > 1 and path[-1] in inside]


def _table(
    table: dict[str, Any], with_names: set[str], readable: Mapping[tuple[str, str], frozenset[str]]
) -> list[str]:
    schema, name = table.get("schemaname"), table["relname"]
    if schema is None:
        return [] if name in with_names else [f"{name} has no schema and is no WITH query"]
    return [] if (schema, name) in readable else [f"{schema}.{name} is not declared"]


def _call(name: list[str], facts: Facts) -> list[str]:
    if name in [["unnest"]] and name[0] in _GRAMMAR:
        return []
    if len(name) != 2 or name[0] != "pg_catalog":
        return [f"{name} is not pg_catalog's"]
    function = name[1]
    found = [f"{function} is volatile"] if function in facts.volatile and function not in _HARMLESS else []
    if function.startswith(_READS) and function != "pg_typeof":
        found.append(f"{function} tells of the server")
    if any(part in function for part in _SQL_IN_TEXT):
        found.append(f"{function} runs SQL from a text")
    if function not in facts.functions and function not in _SYNTAX:
        found.append(f"{function} does not exist")
    return found


_SYNTAX = {"any_value", "casefold", "crc32", "crc32c", "array_sort", "array_reverse", "uuidv7", "uuid_extract_version",
           "date_add", "to_bin", "to_oct"}  # fmt: skip


def _type(name: list[str]) -> list[str]:
    known = name[0] == "pg_catalog" and not (name[-1].startswith(("reg", "pg_")) or name[-1] in _TYPES_TELLING)
    return [] if known else [f"the type {'.'.join(name)}"]


def _columns(statement: dict[str, Any], readable: Mapping[tuple[str, str], frozenset[str]]) -> set[str]:
    """Every name that is a column somewhere: of a table, or given by an alias, a result or a function."""
    found = {column for columns in readable.values() for column in columns}
    for _, each in _objects(statement):
        alias = each.get("aliasname")
        if isinstance(alias, str):
            found |= {alias}
        for key in ("colnames", "aliascolnames"):
            found |= {_word(part) for part in each.get(key, []) if isinstance(part, dict)}
        for key in ("name", "colname", "search_seq_column", "cycle_mark_column", "cycle_path_column"):
            if isinstance(each.get(key), str):
                found.add(each[key])
        if "funcname" in each:
            found.add(_word(each["funcname"][-1]))
    return found | {"key", "value", "ordinality", "column1", "column2", "f1", "f2"}
