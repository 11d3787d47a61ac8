"""Properties of predicates: a policy is its filter's tree and nothing else, and means what the filter means."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import postgast
import psycopg
import pytest
import yaml
from google.protobuf.message import Message
from hypothesis import HealthCheck, assume, event, example, given, settings
from hypothesis import strategies as st
from postgast import pg_query_pb2 as pb

from rlsgen.catalog.model import Catalog
from rlsgen.catalog.read import read_catalog
from rlsgen.errors import SpecError
from rlsgen.provision.diff import Comparison, compare, search_path
from rlsgen.provision.judge import judge
from rlsgen.provision.plan import Step
from rlsgen.spec.filters import expression
from rlsgen.spec.load import parse_spec
from rlsgen.spec.model import FilterText, Spec
from tests.shapes.harness import Case, rows
from tests.support.postgres import Databases

BOUNDED = settings(
    max_examples=60, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)  # fmt: skip
VALUES = {"«org»": "2", "«user»": "'it''s'", "«ids»": "'{1,3}'::integer[]"}
FIELDS = {"«org»": "userContext.organisationId", "«user»": "usercontext.userId", "«ids»": '"userContext".ids'}

# What a filter is made of; a context value in guillemets. Strings and comments hold what would break out elsewhere.
ATOMS = [
    "organisation_id = «org»",
    "«org» = organisation_id",
    "t.organisation_id = «org»",
    "«user» = name",
    "public.t.name <> «user»",
    "organisation_id IN (1, «org»)",
    "organisation_id = ANY («ids»)",
    "organisation_id <> ALL («ids»)",
    "«org» BETWEEN id AND 5",
    "name IS DISTINCT FROM «user»",
    "name LIKE '%'' OR true --%'",
    "name = E'a\\') OR (true'",
    "name = $$) OR true; --$$",
    "name = $x$ $$ ) $x$",
    "name IN ('it''s', ');DROP TABLE t;--')",
    '"na""me) OR (" = 3',
    '"na""me) OR (" IS NULL',
    "/* ) OR (true */ id > 2",
    "id < 5 -- ) OR true\n",
    "id IN (SELECT id FROM other)",
    "EXISTS (SELECT 1 FROM other o WHERE o.id = t.id)",
    "id = (SELECT max(o.id) FROM public.other AS o WHERE o.id < t.id)",
    "CASE WHEN id > 2 THEN true ELSE organisation_id = «org» END",
    "id::text = '1'",
    "CAST(id AS text) || name = '1it''s'",
    "name ~ '^[)]'",
    "coalesce(name = «user», false)",
    "id % 2 = 0",
    "(id, organisation_id) = (1, «org»)",
    "ARRAY[id] && «ids»",
    "organisation_id = «org» + 0",
    "true IS NOT FALSE",
    "name COLLATE \"C\" > 'a'",
    "length(name) > 2",
    "U&'\\0061' = name",
    "name IS NOT NULL",
    "NOT (organisation_id = «org»)",
    "id = 3::bigint",
]
GAPS = st.sampled_from([" ", "\n", "\t", " /* ; */ ", " -- ')\n", "  "])


@st.composite
def filters(draw: st.DrawFn, depth: int = 3) -> str:
    if depth == 0 or draw(st.integers(0, 3)) == 0:
        return draw(st.sampled_from(ATOMS))
    left, right, gap = draw(filters(depth - 1)), draw(filters(depth - 1)), draw(GAPS)
    return draw(st.sampled_from([
        f"{left}{gap}AND{gap}{right}", f"{left}{gap}OR{gap}{right}", f"({left}{gap}OR {right})", f"NOT{gap}({left}\n)",
        f"({left}\n){gap}AND ({right}\n)", f"(({left}\n))",
    ]))  # fmt: skip


SOUP = st.lists(
    st.one_of(
        st.sampled_from(ATOMS),
        st.sampled_from(
            [
                ")",
                "(",
                ";",
                "--",
                "/*",
                "*/",
                "'",
                "$$",
                '"',
                "OR",
                "AND",
                "true",
                "UNION SELECT 1",
                "AS x",
                ",",
                "FROM t",
                "; DROP TABLE t",
                "WITH CHECK (true)",
                "USING",
                "\n",
                ") OR (true",
                "userContext.organisationId = 1",
                "::",
                "E'\\'",
            ]
        ),
    ),
    min_size=1,
    max_size=6,
).map(" ".join)


def _written(text: str, names: dict[str, str]) -> str:
    for mark, name in names.items():
        text = text.replace(mark, name)
    return text


@pytest.fixture(scope="module")
def bench(module_databases: Databases) -> tuple[Case, Catalog]:
    """A small database, provisioned with the seal off: the filter is the question here, not the context."""
    case = Case(module_databases())
    case.admin.execute("""
        CREATE TABLE t (id integer PRIMARY KEY, organisation_id integer, name text, "na""me) OR (" integer);
        CREATE TABLE other (id integer PRIMARY KEY);
        INSERT INTO t SELECT n, nullif(n % 4, 0), (ARRAY['it''s', ') OR true; --', 'a', NULL])[1 + n % 4],
          nullif(n % 5, 0) FROM generate_series(1, 24) AS n;
        INSERT INTO other SELECT n FROM generate_series(1, 24, 2) AS n""")
    case.apply(_spec("organisation_id = «org»"))
    return case, read_catalog(case.admin, "nl_conversation")


def _spec(text: str) -> Spec:
    document = {
        "version": 1, "context": {"organisationId": "integer", "userId": "text", "ids": "integer[]"}, "seal": False,
        "roles": {"conversation": "nl_conversation", "unrestricted": ["shop_owner"]},
        "tables": {"t": _written(text, FIELDS), "other": {"access": "shared", "why": "sub-queries read all of it"}},
    }  # fmt: skip
    return parse_spec(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), "p.yaml")


def _compared(bench: tuple[Case, Catalog], text: str) -> tuple[FilterText, Comparison] | None:
    """The filter and its plan; None where the spec or Postgres refuse it, which is as good."""
    case, catalog = bench
    try:
        spec = _spec(text)
        comparison = compare(spec, catalog)
        refused = judge(case.admin, comparison.resolved, comparison.unjudged, search_path(spec))
    except SpecError:
        return None
    written = spec.tables[0].filter
    return None if refused or written is None else (written, comparison)


def _policy_steps(comparison: Comparison) -> list[Step]:
    return [step for step in comparison.plan.steps if step.object.startswith("policy ")]


@given(st.one_of(filters(), SOUP))
@example("organisation_id = «org») OR (true")
@example("organisation_id = «org» -- )")
@example("organisation_id = «org» OR id IN (SELECT id FROM other) AND name = «user»")
@BOUNDED
def test_a_policy_is_the_filters_tree_and_nothing_else(bench: tuple[Case, Catalog], text: str) -> None:
    compared = _compared(bench, text)
    event("accepted" if compared else "refused")
    assume(compared is not None)
    assert compared is not None
    written, comparison = compared
    wanted = _bytes(expression(written))
    for step in _policy_steps(comparison):
        *dropped, created = (each.stmt for each in postgast.parse(step.sql).stmts)
        assert [each.WhichOneof("node") for each in dropped] in ([], ["drop_stmt"])
        made = created.create_policy_stmt
        assert (made.table.schemaname, made.table.relname) == ("public", "t")
        assert [role.role_spec.rolename for role in made.roles] == ["nl_conversation"]
        for clause, expected in (
            ("qual", made.cmd_name != "insert"),
            ("with_check", made.cmd_name in ("insert", "update")),
        ):
            assert made.HasField(clause) == expected
            if expected and made.cmd_name == "select":
                assert _bytes(_put_back(getattr(made, clause))) == wanted
            elif expected:
                assert _bytes(getattr(made, clause)) == _bytes(_boolean(False))


@given(filters())
@BOUNDED
def test_a_policy_shows_the_rows_that_the_filter_means(bench: tuple[Case, Catalog], text: str) -> None:
    """The filter with values written in, run by the owner, against the policy, run as the conversation role."""
    case, _ = bench
    compared = _compared(bench, text)
    event("accepted" if compared else "refused")
    assume(compared is not None)
    assert compared is not None
    expected = rows(case.admin, f"SELECT id FROM t WHERE ({_written(text, VALUES)}\n)")
    with psycopg.connect(case.database.dsn(case.database.server.superuser)) as connection:
        for step in _policy_steps(compared[1]):
            connection.execute(step.sql.encode())
        for setting, value in (("organisation_id", "2"), ("user_id", "it's"), ("ids", "{1,3}")):
            connection.execute("SELECT set_config(%s, %s, true)", [f"app.{setting}", value])
        connection.execute("SET LOCAL ROLE nl_conversation")
        assert rows(connection, "SELECT id FROM t") == expected
        connection.rollback()


# The rewritten tree, with the fields put back where their calls stand


def _put_back(node: pb.Node) -> pb.Node:
    copy = pb.Node()
    copy.CopyFrom(node)
    for each in [copy, *_nodes(copy)]:
        field = _called(each)
        if field is not None:
            each.CopyFrom(_column("usercontext", field))
        elif each.WhichOneof("node") == "range_var" and each.range_var.schemaname == "public":
            each.range_var.schemaname = ""
    return copy


def _called(node: pb.Node) -> str | None:
    """The field whose value a node is: `(SELECT rlsgen.f())`, or the same cast, for an array."""
    inner = node.type_cast.arg if node.WhichOneof("node") == "type_cast" else node
    if inner.WhichOneof("node") != "sub_link" or inner.sub_link.sub_link_type != pb.EXPR_SUBLINK:
        return None
    (target,) = list(inner.sub_link.subselect.select_stmt.target_list) or [pb.Node()]
    names = [part.string.sval for part in target.res_target.val.func_call.funcname]
    known = {"organisation_id": "organisationid", "user_id": "userid", "ids": "ids"}
    return known.get(names[1]) if names[:1] == ["rlsgen"] else None


def _column(*parts: str) -> pb.Node:
    node = pb.Node()
    for part in parts:
        node.column_ref.fields.add().string.sval = part
    return node


def _boolean(value: bool) -> pb.Node:
    node = pb.Node()
    node.a_const.boolval.boolval = value
    return node


def _nodes(message: Message) -> Iterator[pb.Node]:
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None:
            for child in [value] if isinstance(value, Message) else value:
                if child.DESCRIPTOR.name == "Node":
                    yield child
                yield from _nodes(child)


def _bytes(node: pb.Node) -> bytes:
    """A tree without places, with names as they fold and relations without their schema."""
    copy = pb.Node()
    copy.CopyFrom(node)
    for each in [copy, *_nodes(copy)]:
        kind = each.WhichOneof("node")
        if kind == "column_ref" and each.column_ref.fields[0].string.sval.lower() == "usercontext":
            each.CopyFrom(_column(*(part.string.sval.lower() for part in each.column_ref.fields)))
        elif kind == "range_var":
            each.range_var.schemaname = ""
    _without_places(copy)
    return bytes(copy.SerializeToString(deterministic=True))


def _without_places(message: Any) -> None:
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None:
            if descriptor.name in (
                "location",
                "list_start",
                "list_end",
                "stmt_location",
                "stmt_len",
                "rexpr_list_start",
                "rexpr_list_end",
            ):
                message.ClearField(descriptor.name)
        else:
            for child in [value] if isinstance(value, Message) else value:
                _without_places(child)


@pytest.mark.parametrize("more", ["{} OR true", "NOT ({})", "{} AND true", "({})::boolean::text = 'true'"])
def test_one_thing_more_is_another_tree(bench: tuple[Case, Catalog], more: str) -> None:
    """The property above can fail."""
    compared = _compared(bench, "organisation_id = «org» OR id = 3")
    assert compared is not None
    select = next(step for step in _policy_steps(compared[1]) if "rlsgen_only_select" in step.object)
    made = postgast.parse(select.sql).stmts[-1].stmt.create_policy_stmt
    wanted = _bytes(expression(compared[0]))
    assert _bytes(_put_back(made.qual)) == wanted
    text = postgast.parse(f"SELECT {more.format('(organisation_id = (SELECT rlsgen.organisation_id()) OR id = 3)')}")
    changed = text.stmts[0].stmt.select_stmt.target_list[0].res_target.val
    assert _bytes(_put_back(changed)) != wanted
