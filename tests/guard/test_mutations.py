"""Each of the guard's checks taken away, and an attack that then gets through: no check is there for nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rlsgen.errors import StatementRefused
from rlsgen.runtime.guard import Guard, checker, grammar, names, queries, sizes
from rlsgen.runtime.guard.allowed import catalog
from rlsgen.runtime.guard.guard import Guard as Checked
from rlsgen.runtime.guard.scope import Columns, Item
from tests.guard.shop import Shop

Patch = Callable[[pytest.MonkeyPatch], None]


def nothing(*_: Any, **__: Any) -> None:
    return None


def without_functions(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(names.Allowed, "function", nothing)


def without_types(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(names.Allowed, "type", nothing)


def without_operators(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(names.Allowed, "operator", nothing)


def without_value_functions(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(names.Allowed, "value_function", nothing)


def without_system_columns(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(checker, "SYSTEM_COLUMNS", frozenset())


def without_columns(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(checker.Checker, "_guessed", nothing)


def without_fields_of_rows(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(checker._HANDLERS, "A_Indirection", lambda self, node, level, at: self.walk(node.arg, level, at))


def without_sizes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(checker, "check_size", nothing)


def without_locking(patch: pytest.MonkeyPatch) -> None:
    fields = grammar.FIELDS["SelectStmt"] | {"locking_clause"}
    patch.setitem(grammar.FIELDS, "SelectStmt", fields)


def without_samples(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(grammar.FIELDS, "InsertStmt", grammar.FIELDS["InsertStmt"] | {"on_conflict_clause"})


def without_scopes(patch: pytest.MonkeyPatch) -> None:
    """WITH queries would see themselves, though nobody said RECURSIVE."""
    original = queries.Queries.with_clause

    def all_known(self: Any, node: Any, outer: Any, ctes: Any, at: int) -> Any:
        mine = {each.common_table_expr.ctename: Columns((), False) for each in node.with_clause.ctes}
        return original(self, node, outer, {**ctes, **mine}, at)

    patch.setattr(queries.Queries, "with_clause", all_known)


def without_nested_selects(patch: pytest.MonkeyPatch) -> None:
    original = queries.Queries.nested

    def any_statement(self: Any, node: Any, outer: Any, ctes: Any, at: int) -> Any:
        return original(self, node, outer, ctes, at) if node.HasField("select_stmt") else Columns((), False)

    patch.setattr(queries.Queries, "nested", any_statement)


def without_one_statement(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("rlsgen.runtime.guard.guard.len", lambda value: 1, raising=False)


def without_aliases(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(queries.Queries, "_alias_name", nothing)


def without_unknown_names(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(checker.Checker, "qualifier", lambda self, names, level, at: Item(names[-1], (), complete=False))
    patch.setattr(checker.Checker, "_guessed", nothing)


def without_repeats_inside(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sizes, "_repeated", nothing)


def without_type_lengths(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(names, "_modest", lambda modifier: True)


MUTATIONS: list[tuple[Patch, str]] = [
    (without_functions, "SELECT set_config('app.organisation_id', '2', true), count(*) FROM orders"),
    (without_functions, "SELECT query_to_xml('SELECT 1', true, true, '')"),
    (without_types, "SELECT 'api_keys'::regclass"),
    (without_operators, "SELECT 1 OPERATOR(public.+) 1"),
    (without_value_functions, "SELECT current_user"),
    (without_system_columns, "SELECT ctid, xmin FROM orders"),
    (without_columns, "SELECT x.pg_sleep FROM (SELECT 5::float8) x"),
    (without_fields_of_rows, "SELECT (5::float8).pg_sleep"),
    (without_sizes, "SELECT count(*) FROM generate_series(1, 1e12)"),
    (without_repeats_inside, "SELECT repeat(repeat('x', 10000), 10000)"),
    (without_type_lengths, "SELECT 'x'::bpchar(10000000)"),
    (without_locking, "SELECT * FROM orders FOR UPDATE"),
    (without_samples, "INSERT INTO notes (title) VALUES ('x') ON CONFLICT DO NOTHING"),
    (without_scopes, "WITH api_keys AS (SELECT * FROM api_keys) SELECT 1 FROM api_keys"),
    (without_nested_selects, "WITH x AS (DELETE FROM notes RETURNING 1) SELECT 1 FROM x"),
    (without_one_statement, "SELECT 1; SELECT 2"),
    (without_aliases, "SELECT 1 FROM orders AS pg_class"),
    (without_unknown_names, "SELECT nowhere.pg_sleep FROM orders"),
]


@pytest.mark.parametrize(
    ("mutation", "attack"), MUTATIONS, ids=[f"{each.__name__}-{text[:30]}" for each, text in MUTATIONS]
)
def test_every_check_is_needed(guarded: Shop, mutation: Patch, attack: str) -> None:
    with pytest.raises(StatementRefused):
        Guard(guarded.spec, guarded.schema).check(attack)
    with pytest.MonkeyPatch.context() as patch:
        mutation(patch)
        assert Checked(guarded.spec, guarded.schema).check(attack).sql


def test_no_function_is_on_the_list_by_accident() -> None:
    assert len(catalog().functions) > 400
