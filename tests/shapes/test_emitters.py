"""Properties of everything that emits SQL: hostile names and texts stay what they are, on a real server."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import postgast
import psycopg
import pytest
import yaml
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from postgast import pg_query_pb2 as pb

from rlsgen.catalog.model import Policy, Relation
from rlsgen.identifiers import Name, Sql, dollar_quoted, fill, identifier, literal
from rlsgen.provision.grants import privilege_steps
from rlsgen.provision.indexes import index_name
from rlsgen.provision.plan import Plan, Step, Transaction
from rlsgen.provision.policies import create_policy, drop_policy, live_text, recreate
from rlsgen.provision.reindex import make_indexes
from rlsgen.provision.tables import forget, record
from rlsgen.spec.load import parse_spec
from tests.shapes.harness import Case, assert_nothing_to_do, rows
from tests.support.postgres import Database, Roles, Server

# A few of everything that ends, opens or escapes something somewhere, and any other character that a name can have.
_PIECES = ['"', "'", "\\", "$", "$$", "$rlsgen$", ";", "--", "/*", "*/", "\n", "\r", "\t", " ", ".", "{}", "{0}", "%s",
           "%%", "\\!", "\\'", "E'", '";DROP TABLE canary;--', "');DROP TABLE canary;--", "\u2028", "ü", "A", "a",
           "select", "-> x(", ")", "PUBLIC", "\x1b[2J", "\u202e", "é"]  # fmt: skip
_numbers = itertools.count(1)
_ANY = st.characters(exclude_characters="\x00", exclude_categories=["Cs"])
TEXTS = st.lists(st.one_of(st.sampled_from(_PIECES), _ANY), min_size=1, max_size=12).map("".join)
NAMES = TEXTS.map(lambda text: text.encode()[:50].decode(errors="ignore")).filter(bool)
BOUNDED = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    derandomize=True,
)  # fmt: skip
FEW = settings(BOUNDED, max_examples=6)


@pytest.fixture(scope="module")
def superuser(server: Server) -> Any:
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        yield connection


@given(TEXTS)
@BOUNDED
@pytest.mark.parametrize("conforming", ["on", "off"])
def test_a_literal_is_its_value_whatever_the_session_says(
    superuser: psycopg.Connection[Any], conforming: str, text: str
) -> None:
    superuser.execute(f"SET standard_conforming_strings = {conforming}; SET escape_string_warning = off".encode())
    assert superuser.execute(fill("SELECT{}, 1", literal(text)).encode()).fetchone() == (text, 1)
    superuser.execute("RESET standard_conforming_strings")


@given(TEXTS)
@example("$rlsgen$")
@example("x$rlsgen")
@example("a$")
@example("$rlsgen$ $rlsgen1$ $")
@BOUNDED
def test_a_dollar_quoted_body_is_its_text(superuser: psycopg.Connection[Any], text: str) -> None:
    assert superuser.execute(fill("SELECT {}, 1", dollar_quoted(text)).encode()).fetchone() == (text, 1)


@given(NAMES)
@BOUNDED
def test_an_identifier_is_its_name(superuser: psycopg.Connection[Any], name: str) -> None:
    cursor = superuser.execute(fill("SELECT 1 AS {0}, t.{0} FROM (SELECT 2 AS {0}) AS t", identifier(name)).encode())
    assert [column.name for column in cursor.description or []] == [name, name]
    assert cursor.fetchone() == (1, 2)


@given(st.lists(st.tuples(NAMES, NAMES, st.lists(NAMES, min_size=1, max_size=3, unique=True)), min_size=2, max_size=4))
@example([("public", "a", ["b", "c"]), ("public", "a", ["b_c"]), ("public", "a_b", ["c"])])
@settings(BOUNDED, max_examples=50)
def test_index_names_fit_and_differ(wanted: list[tuple[str, str, list[str]]]) -> None:
    made = {
        (schema, table, tuple(columns)): index_name(Name(schema, table), tuple(columns))
        for schema, table, columns in wanted
    }
    assert len(set(made.values())) == len(made)
    assert all(len(name.encode()) <= 63 and name.startswith("rlsgen_") for name in made.values())


def _statements(sql: str) -> Sequence[pb.Node]:
    return [each.stmt for each in postgast.parse(sql).stmts]


@given(NAMES, NAMES, NAMES, st.lists(NAMES, min_size=1, max_size=3, unique=True))
@BOUNDED
def test_a_policy_statement_has_these_names_and_nothing_else(
    schema: str, table: str, policy: str, roles: list[str]
) -> None:
    name = Name(schema, table)
    sql = create_policy(name, policy, "UPDATE", False, roles, Sql("a = 1"), Sql("true"))
    (statement,) = _statements(sql)
    made = statement.create_policy_stmt
    assert (made.table.schemaname, made.table.relname, made.policy_name) == (schema, table, policy)
    assert (made.cmd_name, made.permissive) == ("update", False)
    assert [(role.role_spec.roletype, role.role_spec.rolename) for role in made.roles] == [
        (pb.ROLESPEC_CSTRING, r) for r in roles
    ]
    again = recreate(name, Policy(policy, "UPDATE", False, tuple(roles), "a = 1", "true"))
    assert again == sql
    (dropped,) = _statements(drop_policy(name, policy))
    assert [part.string.sval for part in dropped.drop_stmt.objects[0].list.items] == [schema, table, policy]


EXPRESSIONS = st.lists(st.one_of(st.none(), TEXTS), min_size=2, max_size=2)


@given(EXPRESSIONS, EXPRESSIONS,
       st.lists(NAMES, min_size=1, max_size=2), st.lists(NAMES, min_size=1, max_size=2))  # fmt: skip
@settings(BOUNDED, max_examples=50)
def test_two_policies_never_give_one_text(
    one: list[str | None], two: list[str | None], mine: list[str], yours: list[str]
) -> None:
    first = Policy("p", "ALL", True, tuple(mine), one[0], one[1])
    second = Policy("p", "ALL", True, tuple(yours), two[0], two[1])
    assert (live_text(first) == live_text(second)) == (first == second)


def _relation(name: Name, columns: Sequence[str]) -> Relation:
    from tests.shapes.made import column, relation

    return relation(name, [column(number, each) for number, each in enumerate(columns, 1)])


@given(NAMES, NAMES, NAMES, st.lists(NAMES, min_size=2, max_size=4, unique=True))
@BOUNDED
def test_grants_name_exactly_these_columns(schema: str, table: str, role: str, columns: list[str]) -> None:
    relation = _relation(Name(schema, table), columns)
    held = frozenset({("SELECT", columns[0]), ("DELETE", "")})
    wanted = frozenset({("SELECT", column) for column in columns[1:]} | {("UPDATE", columns[0])})
    steps = privilege_steps(relation, role, held, wanted)
    seen: dict[bool, set[tuple[str, str]]] = {True: set(), False: set()}
    for step in steps:
        for sql in (step.sql, step.reverse):
            (statement,) = _statements(sql)
            made = statement.grant_stmt
            (target,), (grantee,) = made.objects, made.grantees
            assert (target.range_var.schemaname, target.range_var.relname) == (schema, table)
            assert (grantee.role_spec.roletype, grantee.role_spec.rolename) == (pb.ROLESPEC_CSTRING, role)
            if sql is step.sql:
                for privilege in made.privileges:
                    names = [column.string.sval for column in privilege.access_priv.cols] or [""]
                    seen[made.is_grant] |= {(privilege.access_priv.priv_name.upper(), name) for name in names}
    assert seen == {True: wanted - held, False: held - wanted}


@given(TEXTS, st.lists(st.tuples(NAMES, NAMES), min_size=1, max_size=3))
@BOUNDED
def test_a_plan_as_a_script_has_as_many_statements_as_the_plan(text: str, names: list[tuple[str, str]]) -> None:
    """Titles stand in comments: no name ends one."""
    steps = tuple(
        Step("drop", f"policy {policy} on {table} {text}", drop_policy(Name(text, table), policy), Sql(""),
             forget("policy", Name(text, table), policy))
        for table, policy in names if len(text.encode()) < 60
    )  # fmt: skip
    assume(steps)
    plan = Plan((Transaction(f"table {text}\n{names}", steps),), Sql("pg_catalog"))
    kinds = [statement.WhichOneof("node") for statement in _statements(plan.to_sql())]
    # BEGIN, the settings, then per step the statement and its record, COMMIT.
    inner = kinds[kinds.index("drop_stmt") : -1]
    assert inner == ["drop_stmt", "select_stmt"] * len(steps)
    assert set(kinds[: kinds.index("drop_stmt")]) <= {"transaction_stmt", "variable_set_stmt"}
    assert kinds[-1] in ("transaction_stmt", "variable_set_stmt")
    assert not any(line.startswith("\\") for line in plan.to_sql().splitlines() if "'" not in line and '"' not in line)
    assert json.loads(plan.to_json())["changes"][0]["sql"] == steps[0].sql
    assert len(plan.to_text().split("\n")) == len(steps) + 4 or "\x0b" in text


@given(
    TEXTS,
    NAMES,
    NAMES,
    st.dictionaries(TEXTS, st.one_of(TEXTS, st.lists(TEXTS, max_size=2), st.booleans(), st.none()), max_size=3),
)
@BOUNDED
def test_the_ledger_keeps_what_it_is_told(
    provisioned: Case, text: str, schema: str, name: str, before: dict[str, Any]
) -> None:
    owner = provisioned.admin
    with owner.transaction(force_rollback=True):
        owner.execute(record("test", Name(schema, name), text, text, text, before).encode())
        owner.execute(record("test", Name(schema, name), text, "newer", text, {"other": 1}).encode())
        columns = "schema_name, relation_name, object_name, source, live, before"
        kept = f"SELECT {columns} FROM rlsgen.object WHERE kind = 'test'".encode()
        assert owner.execute(kept).fetchall() == [(schema, name, text, "newer", text, before)]
        owner.execute(forget("test", Name(schema, name), text).encode())
        assert owner.execute(kept).fetchall() == []


@st.composite
def worlds(draw: st.DrawFn) -> dict[str, Any]:
    columns = draw(st.lists(NAMES, min_size=4, max_size=4, unique=True))
    relations = draw(st.lists(NAMES.filter(lambda name: name != "canary"), min_size=4, max_size=4, unique=True))
    return {"schema": "s" + draw(NAMES)[:40], "columns": columns, "relations": relations, "role": draw(NAMES)}


def _make(case: Case, world: dict[str, Any]) -> None:
    schema, (a, b, c, d), (parent, child, view, part) = world["schema"], world["columns"], world["relations"]
    parts = {"schema": identifier(schema), "a": identifier(a), "b": identifier(b), "c": identifier(c),
             "d": identifier(d), "parent": Name(schema, parent).sql, "child": Name(schema, child).sql,
             "view": Name(schema, view).sql,
             "part": Name(schema, part).sql}  # fmt: skip
    case.admin.execute(fill("""
        CREATE SCHEMA {schema};
        CREATE TABLE {parent} ({a} integer NOT NULL, {b} integer NOT NULL, {c} text) PARTITION BY LIST ({b});
        CREATE TABLE {part} PARTITION OF {parent} DEFAULT;
        CREATE TABLE {child} ({a} integer, {c} text, {d} serial);
        CREATE VIEW {view} AS SELECT {a}, {b} FROM {parent};
        INSERT INTO {parent} SELECT n, 1 + n % 2, 'x' FROM generate_series(1, 6) AS n;
        INSERT INTO {child} ({a}, {c}) SELECT n, 'x' FROM generate_series(1, 6) AS n""", **parts).encode())  # fmt: skip


def _spec(world: dict[str, Any]) -> str:
    schema, (a, b, c, d), (parent, child, view, _) = world["schema"], world["columns"], world["relations"]
    sql = {name: Name(schema, name).sql for name in (parent, child, view)}
    through = f"{identifier(a)} -> {sql[parent]}({identifier(a)})"
    document = {
        "version": 1, "context": {"organisationId": "integer"},
        "roles": {"conversation": world["role"], "unrestricted": ["shop_owner"]}, "schemas": [schema],
        "tables": {
            str(sql[parent]): {
                "filter": f"{sql[parent]}.{identifier(b)} = userContext.organisationId", "columns": {"private": [c]},
            },
            str(sql[child]): {"through": through, "allow": ["select", "insert", "update"], "columns": {"hide": [d]}},
        },
        "views": {str(sql[view]): "invoker"},
    }  # fmt: skip
    return yaml.safe_dump(document, allow_unicode=True)


@given(worlds())
@FEW
def test_a_database_of_hostile_names_is_provisioned_and_given_back(
    database: Database, module_roles: Roles, world: dict[str, Any]
) -> None:
    case = Case(database)
    role = module_roles("LOGIN", f"{next(_numbers)}{world['role']}"[:40])
    world = {**world, "role": role}
    case.admin.execute("CREATE TABLE IF NOT EXISTS canary (id integer); SET client_min_messages = warning")
    _make(case, world)
    try:
        _provision_and_give_back(case, world)
    finally:
        case.admin.execute(fill("DROP SCHEMA {} CASCADE", identifier(world["schema"])).encode())
        assert case.admin.execute("SELECT count(*) FROM canary").fetchone() == (0,)


def _provision_and_give_back(case: Case, world: dict[str, Any]) -> None:
    schema, (a, b, c, _), (parent, child, view, part) = world["schema"], world["columns"], world["relations"]
    case.spec = parse_spec(_spec(world), "hostile.yaml")
    first = _rights(case, schema)
    case.apply()
    assert_nothing_to_do(case)
    assert make_indexes(case.admin, case.spec, lambda *_: None)
    assert make_indexes(case.admin, case.spec, lambda *_: None) == []
    case._key, case._talker = None, case.database.connect(world["role"])
    with case.conversation({"organisationId": 1}) as talker:
        select = partial(fill, "SELECT {} FROM {}")
        own = [(2,), (4,), (6,)]
        for relation, column in ((parent, a), (child, a), (view, a)):
            assert rows(talker, select(identifier(column), Name(schema, relation).sql)) == own
        update = fill("UPDATE {} SET {} = 'y'", Name(schema, child).sql, identifier(c))
        assert talker.execute(update.encode()).rowcount == 3
        with pytest.raises(psycopg.errors.InsufficientPrivilege), talker.transaction():
            talker.execute(select(identifier(b), Name(schema, part).sql).encode())
    case.talker.close()
    case.destroy()
    assert _rights(case, schema) == first


def _rights(case: Case, schema: str) -> list[tuple[Any, ...]]:
    """Everything in the schema that a provision touches."""
    return rows(
        case.admin,
        """
        SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity, c.reloptions,
          coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))::text,
          coalesce(n.nspacl, acldefault('n', n.nspowner))::text,
          (SELECT array_agg(polname::text) FROM pg_policy WHERE polrelid = c.oid),
          (SELECT array_agg((attname, nullif(attacl::text, '{}'), coalesce(attstattarget, -1))::text ORDER BY attnum)
           FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = %s AND c.relkind <> 'i' AND c.relkind <> 'I'""",
        [schema],
    )
