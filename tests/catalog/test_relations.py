"""Relations of every kind, and what belongs to them: columns, indexes, policies, grants."""

from __future__ import annotations

import psycopg
import pytest

from rlsgen.catalog.model import Catalog, Column, Grant, Index, Policy, Relation
from rlsgen.identifiers import Name, fill, identifier
from tests.catalog.shapes import HOSTILE, HOSTILE_COLUMN, HOSTILE_INDEX, HOSTILE_POLICY, Shapes


def relation(catalog: Catalog, name: str, schema: str = "public") -> Relation:
    found = catalog.relation(Name(schema, name))
    assert found is not None, name
    return found


def column(catalog: Catalog, table: str, name: str) -> Column:
    found = relation(catalog, table).column(name)
    assert found is not None, name
    return found


def public(*names: str) -> tuple[Name, ...]:
    return tuple(Name("public", name) for name in names)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("mother", "table"),
        ("events", "partitioned"),
        ("events_1", "partitioned"),
        ("events_1_old", "table"),
        ("definer", "view"),
        ("stored", "matview"),
        ("remote", "foreign"),
        ("defaults_counted_seq", "sequence"),
    ],
)
def test_kind(catalog: Catalog, name: str, kind: str) -> None:
    assert relation(catalog, name).kind == kind


def test_relations_and_only_those(catalog: Catalog) -> None:
    assert {name.schema for name in catalog.relations} == {"public", "shop", HOSTILE.schema}
    assert list(catalog.relations) == sorted(catalog.relations)
    assert Name("public", "pair") not in catalog.relations  # a composite type
    assert all(name == found.name for name, found in catalog.relations.items())


def test_system_and_temporary_schemas_are_left_out(catalog: Catalog) -> None:
    assert set(catalog.schemas) == {"public", "shop", HOSTILE.schema, "rlsgen", "rlsgen_private"}


def test_sequences_have_no_columns(catalog: Catalog) -> None:
    assert relation(catalog, "numbers", "shop").columns == ()


@pytest.mark.parametrize(
    ("name", "expected"),  # type, base, kind, element, not_null
    [
        ("i", ("integer", "integer", "base", None, False)),
        ("v", ("character varying(21)", "character varying", "base", None, False)),
        ("n", ("numeric(10,2)", "numeric", "base", None, False)),
        ("c", ("character(3)", "bpchar", "base", None, False)),
        ("bits", ("bit(4)", '"bit"', "base", None, False)),
        ("t", ("timestamp(3) with time zone", "timestamp with time zone", "base", None, False)),
        ("u", ("uuid", "uuid", "base", None, True)),
        ("a", ("integer[]", "integer[]", "base", "integer", False)),
        ("m", ("public.mood", "public.mood", "enum", None, False)),
        ("ms", ("public.moods", "public.mood[]", "base", "public.mood", False)),
        ("h", ("public.happy", "public.mood", "enum", None, False)),
        ("nd", ("public.needed", "public.mood", "enum", None, True)),
        ("k", ("public.key21", "character varying", "base", None, False)),
        ("ks", ("public.key_list", "public.key21[]", "base", "character varying", False)),
        ("p", ("public.pair", "public.pair", "composite", None, False)),
        ("ps", ("public.pair[]", "public.pair[]", "base", "public.pair", False)),
        ("r", ("public.span", "public.span", "range", None, False)),
        ("mr", ("int4multirange", "int4multirange", "multirange", None, False)),
        ("ci", ("public.citext", "public.citext", "base", None, False)),
    ],
)
def test_type(catalog: Catalog, name: str, expected: tuple[str, str, str, str | None, bool]) -> None:
    found = column(catalog, "types", name)
    assert (found.type, found.base, found.kind, found.element, found.not_null) == expected


def test_a_bases_name_as_a_cast_keeps_the_value(catalog: Catalog, shapes: Shapes) -> None:
    """`character` and `bit` without length mean one character and one bit."""
    base = column(catalog, "types", "c").base
    connection = shapes.database.connect(shapes.owner)
    query = "SELECT ('abc'::character(3))::" + base
    assert connection.execute(query.encode()).fetchone() == ("abc",)


def test_a_table_row_as_a_column(catalog: Catalog) -> None:
    found = column(catalog, "whole_row", "everything")
    assert (found.type, found.kind) == ("public.mother", "composite")


def test_dropped_columns_leave_their_number(catalog: Catalog) -> None:
    names = {each.name: each.number for each in relation(catalog, "types").columns}
    assert "gone" not in names
    assert (names["ci"], names["late"]) == (19, 21)


@pytest.mark.parametrize(
    ("name", "expected"),  # default, identity, generated, not_null, sequence
    [
        ("always", (False, True, False, True, None)),
        ("by_default", (False, True, False, True, None)),
        ("counted", (True, False, False, True, Name("public", "defaults_counted_seq"))),
        ("taken", (True, False, False, False, Name("shop", "numbers"))),
        ("plain", (True, False, False, False, None)),
        ("generated", (False, False, True, False, None)),
        ("nothing", (False, False, False, False, None)),
    ],
)
def test_default(catalog: Catalog, name: str, expected: tuple[bool, bool, bool, bool, Name | None]) -> None:
    found = column(catalog, "defaults", name)
    assert (found.default, found.identity, found.generated, found.not_null, found.sequence) == expected


def test_indexes(catalog: Catalog) -> None:
    assert {index.name: index for index in relation(catalog, "indexed").indexes} == {
        index.name: index
        for index in (
            Index("broken", ("twice",), "btree", True, False, False, True, None),
            Index("by_expression", (None, "a"), "btree", False, True, False, True, None),
            Index("hashed", ("b",), "hash", False, True, False, True, None),
            Index("indexed_b_excl", ("b",), "hash", False, True, False, True, "indexed_b_excl"),
            Index("indexed_pkey", ("id",), "btree", True, True, False, True, "indexed_pkey"),
            Index("later", ("b", "a"), "btree", True, True, False, False, "later"),
            Index("partial", ("a",), "btree", True, True, True, True, None),
        )
    }


def test_a_foreign_key_is_no_constraint_of_the_index_it_uses(catalog: Catalog) -> None:
    assert [index.constraint for index in relation(catalog, "indexed").indexes if index.columns == ("id",)] == [
        "indexed_pkey"
    ]


def test_indexes_of_partitions_and_materialized_views(catalog: Catalog) -> None:
    for name in ("events", "events_1", "events_1_old", "events_rest"):
        assert [index.columns for index in relation(catalog, name).indexes] == [("organisation_id",)]
    assert relation(catalog, "stored").indexes[0].columns == ("note",)


def test_partitions(catalog: Catalog) -> None:
    events, middle, leaf = (relation(catalog, name) for name in ("events", "events_1", "events_1_old"))
    assert (events.parents, events.children, events.partition) == ((), public("events_1", "events_rest"), False)
    assert middle.parents == public("events")
    assert middle.children == public("events_1_new", "events_1_old")
    assert middle.partition
    assert (leaf.parents, leaf.children, leaf.partition) == (public("events_1"), (), True)


def test_inheritance(catalog: Catalog) -> None:
    child = relation(catalog, "child")
    assert (child.parents, child.partition) == (public("mother", "father"), False)
    assert relation(catalog, "mother").children == public("child")


def test_policies(catalog: Catalog, shapes: Shapes) -> None:
    assert relation(catalog, "secured").policies == (
        Policy("everybody", "ALL", True, ("",), "true", None),
        Policy("inserts", "INSERT", True, (shapes.conversation,), None, "false"),
        Policy(
            HOSTILE_POLICY, "DELETE", True, (shapes.group,),
            "(organisation_id IN ( SELECT mother.id\n   FROM public.mother))", None,
        ),
        Policy("selects", "SELECT", False, ("",), '(note = (\'a\'::text COLLATE "C"))', None),
        Policy(
            "several", "UPDATE", False, tuple(sorted((shapes.group, shapes.conversation))),
            "((organisation_id = 1) AND ((organisation_id = 2) OR (note ~ '\\d'::text)))",
            "((at > '2024-01-01 12:00:00+00'::timestamp with time zone) AND (note = 'it''s'::text))",
        ),
    )  # fmt: skip


def test_row_security(catalog: Catalog) -> None:
    flags = {
        name: (relation(catalog, name).row_security, relation(catalog, name).force_row_security)
        for name in ("secured", "granted")
    }
    assert flags == {"secured": (True, True), "granted": (False, False)}
    assert (catalog.relations[HOSTILE].row_security, catalog.relations[HOSTILE].force_row_security) == (True, False)


@pytest.mark.parametrize("how", ["1", "on", "yes", "true", "t", "bare"])
def test_security_invoker(catalog: Catalog, how: str) -> None:
    assert relation(catalog, f"invoker_{how}").security_invoker


@pytest.mark.parametrize("name", ["invoker_off", "invoker_0", "definer", "on_view", "secured"])
def test_no_security_invoker(catalog: Catalog, name: str) -> None:
    assert not relation(catalog, name).security_invoker


def test_what_counts_as_invoker_is_what_postgres_does(catalog: Catalog, shapes: Shapes) -> None:
    """The reader may read the views, not the table under them: Postgres refuses it exactly the invoker's views."""
    views = [each for each in catalog.relations.values() if each.name.name.startswith("invoker_")]
    assert len(views) == 8
    connection = shapes.database.connect(shapes.database.server.superuser)
    with connection.transaction(force_rollback=True):
        for view in views:
            connection.execute(fill("GRANT SELECT ON {} TO {}", view.name.sql, identifier(shapes.reader)).encode())
        connection.execute(fill("SET LOCAL ROLE {}", identifier(shapes.reader)).encode())
        for view in views:
            try:
                with connection.transaction():
                    connection.execute(fill("SELECT * FROM {}", view.name.sql).encode())
                refused = False
            except psycopg.errors.InsufficientPrivilege:
                refused = True
            assert view.security_invoker == refused, view.name


def test_what_views_read(catalog: Catalog) -> None:
    definer = relation(catalog, "definer")
    secured = Name("public", "secured")
    assert definer.reads == (secured,)
    assert definer.reads_columns == ((secured, "note"), (secured, "organisation_id"))
    on_view = relation(catalog, "on_view")
    assert on_view.reads == public("definer", "mother")
    assert on_view.reads_columns == ((Name("public", "definer"), "note"), (Name("public", "mother"), "id"))
    assert relation(catalog, "stored").reads == (secured,)
    assert relation(catalog, "of_catalog").reads == (Name("pg_catalog", "pg_roles"),)
    assert relation(catalog, "whole_row").reads == public("mother")
    assert catalog.relations[Name(HOSTILE.schema, "V")].reads_columns == ((HOSTILE, HOSTILE_COLUMN),)


def test_grants(catalog: Catalog, shapes: Shapes) -> None:
    granted = relation(catalog, "granted")
    others = [grant for grant in granted.grants if grant.grantee not in (shapes.owner, shapes.conversation)]
    assert others == [
        Grant(None, "SELECT", shapes.owner, False),
        Grant(shapes.group, "INSERT", shapes.owner, True),
        Grant(shapes.group, "UPDATE", shapes.owner, True),
    ]
    assert Grant(shapes.owner, "SELECT", shapes.owner, False) in granted.grants


def test_column_grants(catalog: Catalog, shapes: Shapes) -> None:
    select = Grant(shapes.conversation, "SELECT", shapes.owner, False)
    update = Grant(shapes.conversation, "UPDATE", shapes.owner, False)
    assert column(catalog, "granted", "id").grants == (select,)
    assert column(catalog, "granted", "email").grants == (select, update)
    assert column(catalog, "granted", "secret").grants == ()


def test_grants_by_default_and_none_at_all(catalog: Catalog, shapes: Shapes) -> None:
    privileges = {grant.privilege for grant in relation(catalog, "mother").grants}
    assert {"SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"} <= privileges
    assert {grant.grantee for grant in relation(catalog, "mother").grants} == {shapes.owner}
    assert relation(catalog, "revoked").grants == ()
    numbers = relation(catalog, "numbers", "shop").grants
    assert Grant(shapes.conversation, "USAGE", shapes.owner, False) in numbers
    assert {grant.privilege for grant in numbers if grant.grantee == shapes.owner} == {"SELECT", "UPDATE", "USAGE"}


def test_hostile_names(catalog: Catalog, shapes: Shapes) -> None:
    found = catalog.relations[HOSTILE]
    assert [each.name for each in found.columns] == [HOSTILE_COLUMN, "select", "CamelCase"]
    assert {grant.grantee for grant in found.columns[0].grants} == {shapes.group, shapes.conversation}
    assert {index.name: index.columns for index in found.indexes}[HOSTILE_INDEX] == ("CamelCase", HOSTILE_COLUMN)
    assert [policy.name for policy in found.policies] == [HOSTILE_POLICY]


def test_what_belongs_to_an_extension(catalog: Catalog) -> None:
    assert relation(catalog, "of_extension").extension == "citext"
    assert relation(catalog, "mother").extension is None
