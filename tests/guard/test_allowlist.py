"""The allowlists against a server's own catalogs: everything on them exists, and nothing on them is dangerous."""

from __future__ import annotations

import psycopg
import pytest

from rlsgen.errors import StatementRefused
from rlsgen.runtime.guard.allowed import catalog
from rlsgen.runtime.guard.guard import Guard
from rlsgen.spec.functions import dangerous
from tests.guard.shop import Shop

VOLATILE = {"random", "random_normal", "gen_random_uuid", "uuidv4", "uuidv7", "array_sample", "array_shuffle"}
SINCE = {
    16: {"any_value", "array_sample", "array_shuffle", "date_add", "date_subtract", "erf", "erfc", "json_agg_strict",
         "json_object_agg_strict", "json_object_agg_unique", "json_object_agg_unique_strict", "jsonb_agg_strict",
         "jsonb_object_agg_strict", "jsonb_object_agg_unique", "jsonb_object_agg_unique_strict", "random_normal"},
    17: {"jsonb_populate_record_valid", "to_bin", "to_oct", "unicode_assigned", "uuid_extract_timestamp",
         "uuid_extract_version", "xmltext"},
    18: {"array_reverse", "bytea", "array_sort", "casefold", "crc32", "crc32c", "gamma", "lgamma", "uuidv4", "uuidv7"},
}  # fmt: skip


@pytest.fixture(scope="module")
def server_functions(guarded: Shop) -> dict[str, list[tuple[str, str, str, list[str]]]]:
    query = """
        SELECT proname, provolatile::text, prokind::text, prorettype::regtype::text,
               coalesce((SELECT array_agg(name ORDER BY place) FROM unnest(proargnames, proargmodes)
                         WITH ORDINALITY AS u (name, mode, place) WHERE mode IN ('o', 't', 'b')), '{}'),
               ARRAY(SELECT t::regtype::text FROM unnest(proargtypes) AS t)
        FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace"""
    found: dict[str, list[tuple[str, str, str, list[str]]]] = {}
    with psycopg.connect(guarded.database.dsn()) as connection:
        for name, volatile, _, result, outs, _ in connection.execute(query):
            found.setdefault(name, []).append((volatile, result, ",".join(outs), outs))
    return found


def test_every_function_exists(guarded: Shop, server_functions: dict[str, object]) -> None:
    version = guarded.database.server.version
    later = {name for since, names in SINCE.items() if since > version for name in names}
    assert catalog().functions - server_functions.keys() == later


def test_nothing_volatile_but_random(server_functions: dict[str, list[tuple[str, str, str, list[str]]]]) -> None:
    volatile = {name for name, rows in server_functions.items() if any(row[0] == "v" for row in rows)}
    assert catalog().functions & volatile <= VOLATILE


def test_nothing_dangerous() -> None:
    exact, beginnings = dangerous()
    assert not catalog().functions & exact
    assert not {name for name in catalog().functions if name.startswith(beginnings)}


def test_nothing_speaks_of_the_catalogs(guarded: Shop) -> None:
    """No function on the list takes or returns a type that names objects, but text search configurations and pg_typeof."""
    query = """
        SELECT proname, t::regtype::text FROM pg_proc, unnest(proargtypes || prorettype) AS t
        WHERE pronamespace = 'pg_catalog'::regnamespace AND proname = ANY (%s)
          AND t::regtype::text ~ '^(reg|oid|xid|tid|pg_|aclitem|internal|cstring|refcursor|trigger)'"""
    with psycopg.connect(guarded.database.dsn()) as connection:
        found = set(connection.execute(query, [sorted(catalog().functions)]).fetchall())
    allowed = {("pg_typeof", "regtype"), ("age", "xid"), ("int8", "oid")}
    allowed |= {
        (name, of) for name in ("max", "min") for of in ("oid", "tid", "pg_lsn", "xid8")
    }  # of values that nobody has
    assert {each for each in found if each[1] not in ("regconfig", "regdictionary")} - allowed == set()


def test_columns_of_functions(server_functions: dict[str, list[tuple[str, str, str, list[str]]]]) -> None:
    """What a function in FROM is called, and its columns, is what the server has; what depends is marked so."""
    for name in catalog().functions & server_functions.keys():
        rows = server_functions[name]
        named = {tuple(row[3]) for row in rows if row[3]}
        record = any(row[1] in ("record", "SETOF record", "anyelement", "anycompatible") for row in rows)
        if name in catalog().columns:
            assert named == {catalog().columns[name]}, name
        elif named:
            assert name in catalog().polymorphic, name
        if record and name not in catalog().columns:
            assert name in catalog().polymorphic or name in KEEP, name


# They return what they are given, but are aggregates or window functions, or cannot stand in FROM with a row.
KEEP = {"any_value", "array_agg", "max", "min", "mode", "first_value", "last_value", "nth_value", "lag", "lead",
        "percentile_disc", "lower", "upper", "enum_first", "enum_last", "anyrange"}  # fmt: skip


def test_types_exist(guarded: Shop) -> None:
    with psycopg.connect(guarded.database.dsn()) as connection:
        query = "SELECT typname FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace"
        known = {name for (name,) in connection.execute(query)}
    assert catalog().types <= known


def test_operators_exist(guarded: Shop) -> None:
    with psycopg.connect(guarded.database.dsn()) as connection:
        query = "SELECT oprname FROM pg_operator WHERE oprnamespace = 'pg_catalog'::regnamespace"
        known = {name for (name,) in connection.execute(query)}
    assert catalog().operators - known <= {"!="}  # which the grammar makes <>


@pytest.mark.parametrize("name", sorted(catalog().functions - {"pg_typeof"}))
def test_every_function_passes_when_called(guard: Guard, name: str) -> None:
    if name in ("array_fill", "format"):  # which want to see more
        with pytest.raises(StatementRefused, match=r"must be a constant|written out"):
            guard.check(f'SELECT "{name}"(1, 1) FROM orders')
        return
    assert guard.check(f'SELECT "{name}"(1, 1) FROM orders').sql
