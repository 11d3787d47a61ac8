"""`functions.allow`: names of functions and operators, and those that no spec may allow."""

from __future__ import annotations

import pytest

from rlsgen.errors import SpecError
from rlsgen.spec.functions import dangerous, parse_function
from rlsgen.spec.load import parse_spec
from rlsgen.spec.sqltext import SqlTextError

HEAD = "version: 1\ncontext: {a: text}\nroles: {conversation: t}\n"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("public.similarity", ("public", "similarity", False)),
        ("Public.Similarity", ("public", "similarity", False)),
        ('public."Similarity"', ("public", "Similarity", False)),
        ('"a.b".f', ("a.b", "f", False)),
        ("public.<->", ("public", "<->", True)),
        ("public.%", ("public", "%", True)),
        ('"My Schema".&&', ("My Schema", "&&", True)),
        ("pg_catalog.pg_size_pretty", ("pg_catalog", "pg_size_pretty", False)),
    ],
)
def test_names_are_read_as_sql_reads_them(written: str, expected: tuple[str, str, bool]) -> None:
    assert parse_function(written) == expected


@pytest.mark.parametrize(
    "written",
    [
        "", "similarity", "<->", "a.b.c", "a.b.<->", "public.f()", "public.f(text)", "public.", ".f", "public.f g",
        "public.'f'", "public.<-> +", "public.f -- x", "public.1", "public. ;", "a\0.b",
    ],
)  # fmt: skip
def test_what_is_no_qualified_name_is_refused(written: str) -> None:
    with pytest.raises(SqlTextError):
        parse_function(written)


@pytest.mark.parametrize(
    "written",
    [
        "pg_catalog.set_config", "pg_catalog.query_to_xml", "pg_catalog.pg_sleep_for", "pg_catalog.pg_read_file",
        "pg_catalog.nextval", "pg_catalog.pg_stat_get_activity", "pg_catalog.to_regclass", "public.dblink",
        "extensions.crosstab4", "public.xpath_table", "rlsgen.set_context", "rlsgen_private.keys",
        "information_schema._pg_expandarray", "pg_temp.f", "pg_toast.f", "public.set_config",
    ],
)  # fmt: skip
def test_dangerous_ones_are_refused(written: str) -> None:
    with pytest.raises(SqlTextError):
        parse_function(written)


def test_problems_have_places_and_come_all_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(HEAD + "functions: {allow: [public.f, dblink, pg_catalog.set_config]}\n", "p.yaml")
    found = [(str(each.position), each.message) for each in caught.value.problems]
    assert [at for at, _ in found] == ["p.yaml:4:31", "p.yaml:4:39"]
    assert "needs a schema" in found[0][1]
    assert "reaches beyond" in found[1][1]


def test_the_model_holds_them() -> None:
    spec = parse_spec(HEAD + "functions: {allow: [public.f, 'public.<->']}\n", "p.yaml")
    assert [(each.schema, each.name, each.operator) for each in spec.functions] == [
        ("public", "f", False),
        ("public", "<->", True),
    ]
    assert parse_spec(HEAD, "p.yaml").functions == ()


def test_the_list_of_dangerous_ones_is_read() -> None:
    exact, beginnings = dangerous()
    assert "set_config" in exact
    assert "pg_sleep" in beginnings
