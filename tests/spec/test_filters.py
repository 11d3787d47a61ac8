"""Filters: what is one condition, what it uses, what is refused and where; each refusal once without its protection."""

from __future__ import annotations

from collections.abc import Sequence

import postgast
import pytest
from google.protobuf.message import Message
from hypothesis import example, given, settings
from hypothesis import strategies as st
from postgast import pg_query_pb2 as pb

from rlsgen.errors import Position, SpecError
from rlsgen.spec import filters, inspection
from rlsgen.spec.filters import expression, offset, parse_filter
from rlsgen.spec.model import FilterText, RelationRef
from rlsgen.spec.trees import expression_to_sql, same

FIELDS = ("orgId", "userId", "teamIds")


def places(text: str) -> list[Position]:
    """One line, so that columns are offsets plus one."""
    return [Position("f", 1, column) for column in range(1, len(text) + 2)]


def read(text: str, fields: Sequence[str] | None = FIELDS) -> FilterText:
    return parse_filter(text, places(text), fields)


def refusals(text: str) -> list[tuple[int, str]]:
    with pytest.raises(SpecError) as caught:
        read(text)
    return [(each.position.column - 1 if each.position else -1, each.message) for each in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("organisation_id = userContext.orgId", ("orgId",)),
        ("organisation_id = USERCONTEXT.ORGID", ("orgId",)),
        ('organisation_id = "userContext"."orgId"', ("orgId",)),
        ("(organisation_id = usercontext . orgid)", ("orgId",)),
        ("userContext.orgId = a AND userContext.userId = b AND userContext.orgid = c", ("orgId", "userId")),
        ("a = ANY(userContext.teamIds) OR a = userContext.teamIds[1]", ("teamIds",)),
        ("a = userContext.orgId::text", ("orgId",)),
        ("lower(a::text) = userContext.userId", ("userId",)),
        ("a::text = b AND c = userContext.orgId", ("orgId",)),
        ("(a, b) = (userContext.orgId, 1)", ("orgId",)),
        ("orders.organisation_id = userContext.orgId", ("orgId",)),
        ("a = userContext.orgId -- why", ("orgId",)),
        ("/* why */ WHERE a = userContext.orgId ; -- why", ("orgId",)),
        ("((((a = userContext.orgId))))", ("orgId",)),
        ("CASE WHEN a THEN b = userContext.orgId ELSE false END", ("orgId",)),
        ("a ->> 'x;y' = userContext.userId", ("userId",)),
        ("a = 'userContext.nothing' OR a = userContext.userId", ("userId",)),
        ("deleted_at IS NULL", ()),
        ("id IN (SELECT user_id FROM memberships)", ()),
        ("(SELECT true)", ()),
    ],
)
def test_conditions(text: str, fields: tuple[str, ...]) -> None:
    assert read(text).fields == fields
    assert len(read(text).text) == len(text)


def test_what_people_wrote_elsewhere_pastes_in() -> None:
    assert read("  wHeRe a = userContext.orgId ;\n").text == "        a = userContext.orgId  \n"
    assert refusals("where where a = 1") == [(6, 'the filter: syntax error at or near "where"')]


def test_relations_and_functions() -> None:
    found = read(
        "id IN (SELECT lower(m.u) FROM memberships m JOIN LATERAL billing.f(m.x) ON true WHERE m.id IN (SELECT 1 FROM "
        "\"A.b\", Memberships)) AND coalesce(pg_catalog.upper(a), '') <> '' AND lower(b) = userContext.userId"
    )
    assert found.relations == (RelationRef(None, "memberships"), RelationRef(None, "A.b"))
    assert set(found.functions) == {(None, "lower"), ("billing", "f"), ("pg_catalog", "upper")}


NOT_ONE = {
    "": (0, "it is empty"),
    "  -- nothing": (0, "it is empty"),
    "WHERE": (0, "it is empty"),
    "a) OR (b": (1, 'syntax error at or near ")"'),
    "a = 1)": (5, 'syntax error at or near ")"'),
    "a = 1) OR true --": (5, 'syntax error at or near ")"'),
    "(a = 1": (6, "it ends too early"),
    "a = ": (3, "it ends too early"),
    "é = = 1": (4, 'syntax error at or near "="'),
    "a 'x": (2, "unterminated quoted string"),
    "😀 = 'é' AND 'x": (12, "unterminated quoted string"),
    "a /* b": (2, "unterminated /* comment"),
    "a AS b": (2, 'syntax error at or near "AS"'),
    "a b": (2, 'syntax error at or near "b"'),
    "a, b": (3, "it is a list"),
    "é, b": (3, "it is a list"),
    "*": (0, 'syntax error at or near "*"'),
    "a FROM t": (2, 'syntax error at or near "FROM"'),
    "a INTO t": (2, 'syntax error at or near "INTO"'),
    "a UNION SELECT b": (2, 'syntax error at or near "UNION"'),
    "a ORDER BY b": (2, 'syntax error at or near "ORDER"'),
    "a LIMIT 1": (2, 'syntax error at or near "LIMIT"'),
    "a FOR UPDATE": (2, 'syntax error at or near "FOR"'),
    "a WINDOW w AS ()": (2, 'syntax error at or near "WINDOW"'),
    "a WHERE b": (2, 'syntax error at or near "WHERE"'),
    "DISTINCT a": (0, 'syntax error at or near "DISTINCT"'),
    "ALL a": (0, 'syntax error at or near "ALL"'),
    "SELECT true": (0, 'syntax error at or near "SELECT"'),
    "VALUES (true)": (7, 'syntax error at or near "("'),
    "a; SELECT b": (1, "there is a semicolon inside"),
    "a;;": (1, "there is a semicolon inside"),
    ";": (0, "it is empty"),
    "a\x00 OR true": (1, "a NUL character"),
    "a = '\ud800'": (5, "half of a surrogate pair"),
    "x" * 10_001: (0, "it is 10001 bytes long"),
    "é" * 5_001: (0, "it is 10002 bytes long"),
    "(" * 4_000 + "a" + ")" * 4_000: (0, "it has more than 1000 operators"),
    "NOT " * 500 + "a": (0, "it is nested too deeply"),
    "1" + "+1" * 900: (0, "it is nested too deeply"),
}


@pytest.mark.parametrize(("text", "expected"), NOT_ONE.items(), ids=[text[:30] for text in NOT_ONE])
def test_what_is_not_one_condition(text: str, expected: tuple[int, str]) -> None:
    ((column, message),) = refusals(text)
    assert (column, message.startswith(f"the filter: {expected[1]}")) == (expected[0], True), (column, message)


REFUSED: dict[str, tuple[int, str, type[Message]]] = {
    "userContext = 1": (0, "userContext is not a value", pb.ColumnRef),
    "a = userContext.orgId.x": (4, "userContext.orgid.x is not a value", pb.ColumnRef),
    "(userContext).orgId = 1": (1, "userContext is not a value", pb.ColumnRef),
    "userContext.* IS NULL": (0, "userContext.* is not a value", pb.ColumnRef),
    "a = userContext.orgid2": (4, "userContext has no field orgid2", pb.ColumnRef),
    "public.userContext.orgId = 1": (0, "neither a schema nor a table", pb.ColumnRef),
    "a IN (SELECT 1 FROM userContext)": (20, "userContext is never a table", pb.RangeVar),
    'a IN (SELECT 1 FROM "userContext")': (20, "userContext is never a table", pb.RangeVar),
    "a IN (SELECT 1 FROM d.s.t)": (20, "d is named as a database", pb.RangeVar),
    "a IN (SELECT 1 FROM rlsgen.object)": (20, "schema rlsgen,", pb.RangeVar),
    "a IN (SELECT 1 FROM rlsgen_private.key)": (20, "schema rlsgen_private,", pb.RangeVar),
    "a IN (SELECT 1 FROM t AS userContext)": (25, "cannot be an alias", pb.Alias),
    "a IN (SELECT 1 FROM (SELECT 1) UserContext)": (31, "cannot be an alias", pb.Alias),
    "a = $1": (4, "$1 is a parameter", pb.ParamRef),
    "a = current_setting('app.org_id')": (4, "must not call current_setting", pb.FuncCall),
    "a = pg_catalog.set_config('a', 'b', true)": (4, "must not call set_config", pb.FuncCall),
    "a = rlsgen.org_id()": (4, "schema rlsgen,", pb.FuncCall),
    "count(*) OVER () = 1": (14, "count … OVER is a window function", pb.FuncCall),
    "a = (SELECT count(*) FILTER (WHERE b) FROM t)": (12, "count … FILTER is an aggregate's clause", pb.FuncCall),
    "a::rlsgen.t = b": (3, "schema rlsgen,", pb.TypeName),
    "a = b COLLATE rlsgen.c": (6, "schema rlsgen,", pb.CollateClause),
    "a OPERATOR(rlsgen.=) b": (2, "schema rlsgen,", pb.A_Expr),
    "a IN (SELECT 1 FROM t FOR UPDATE)": (2, "cannot lock rows", pb.SelectStmt),
    "a IN (SELECT 1 FROM t FOR KEY SHARE OF t)": (2, "cannot lock rows", pb.SelectStmt),
    "a IN (SELECT 1 INTO x FROM t)": (2, "cannot create a table", pb.SelectStmt),
    "a IN (SELECT 1 FROM t WINDOW w AS ())": (2, "cannot have windows", pb.SelectStmt),
    "a IN (WITH x AS (SELECT 1) SELECT * FROM x)": (6, "cannot have WITH", pb.WithClause),
    "a::text = userContext.userId": (0, "the cast keeps Postgres from using an index on a", pb.A_Expr),
    'userContext.userId = CAST(t."A b" AS text)': (26, 'an index on "A b"', pb.A_Expr),
    "a::text::varchar > userContext.userId::varchar": (0, "an index on a", pb.A_Expr),
    "a::text IN ('x', userContext.userId)": (0, "an index on a", pb.A_Expr),
    "a::text = ANY(userContext.teamIds)": (0, "an index on a", pb.A_Expr),
    "(b, a::text) = (1, userContext.userId)": (4, "an index on a", pb.A_Expr),
    "a::text IS NOT DISTINCT FROM userContext.userId": (0, "an index on a", pb.A_Expr),
}


@pytest.mark.parametrize(("text", "expected"), REFUSED.items(), ids=list(REFUSED))
def test_refused(text: str, expected: tuple[int, str, type[Message]]) -> None:
    column, words, _ = expected
    found = refusals(text)
    assert any(at == column and words in message for at, message in found), found


@pytest.mark.parametrize(("text", "expected"), REFUSED.items(), ids=list(REFUSED))
def test_without_its_check_each_would_pass(
    text: str, expected: tuple[int, str, type[Message]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, words, kind = expected
    monkeypatch.delitem(inspection._HANDLERS, kind)
    filters._parse.cache_clear()
    try:
        said = str(read(text))
    except SpecError as error:
        said = str(error)
    finally:
        filters._parse.cache_clear()
    assert words not in said


@pytest.mark.parametrize(
    ("kept", "text"), [("_CLOSED", "userContext.orgId = a) OR (true"), ("_BARE", "ALL userContext.orgId = a")]
)
def test_with_one_parse_alone_something_breaks_out(kept: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusals(text)
    monkeypatch.setattr(filters, "_CLOSED", getattr(filters, kept))
    monkeypatch.setattr(filters, "_BARE", getattr(filters, kept))
    assert read(text).fields == ("orgId",)


def test_hints() -> None:
    with pytest.raises(SpecError) as caught:
        read("a = userContext.orgID2 AND b = userContext.zzz AND current_setting('x') = ''")
    one, two, three = caught.value.problems
    assert (one.message, one.hint) == ("the filter: userContext has no field orgID2", 'did you mean "orgId"?')
    assert two.hint == "declare it under context; the fields are: orgId, userId, teamIds"
    assert "userContext.<field>" in three.hint


def test_everything_is_reported_in_order() -> None:
    assert [column for column, _ in refusals("$1 = userContext.x AND userContext = $2")] == [0, 5, 23, 37]


def test_unknown_fields_can_be_let_through() -> None:
    assert read("a = userContext.whatEver", None).fields == ("whatEver",)


def test_expression_is_a_fresh_copy_with_places() -> None:
    found = read("'é' = b AND a = userContext.orgId")
    one, two = expression(found), expression(found)
    assert one == two
    column = one.bool_expr.args[1].a_expr.rexpr.column_ref
    assert found.position(offset(found, column.location)).column == 17
    column.location = 0
    assert one != two
    assert expression(found) == two


def test_positions_past_the_end_are_the_end() -> None:
    found = read("a = userContext.orgId")
    assert found.position(999).column == 22
    assert found.position(-1).column == 1


def test_equal_texts_are_equal_wherever_they_stand() -> None:
    text = "a = userContext.orgId"
    one, two = read(text), parse_filter(text, [Position("g", 9, 9)] * 22, FIELDS)
    assert one == two
    assert hash(one) == hash(two)


VOCABULARY = r"""
a b.c userContext.orgId userContext . * , ( ) [ ] ; : :: = < <> + - || ->> @> ~ ! NOT AND OR IN ANY ALL SELECT FROM
WHERE JOIN ON AS WITH UNION EXCEPT VALUES INTO ORDER BY GROUP HAVING LIMIT OFFSET FETCH FOR UPDATE OVER FILTER
WINDOW CASE WHEN THEN ELSE END IS NULL DISTINCT BETWEEN LIKE ESCAPE SIMILAR TO EXISTS ARRAY ROW CAST COLLATE AT TIME
ZONE DEFAULT true 1 1.5 'x' E'\\' $$ $$a$$ $1 "x" U&'a' -- /* */ ' " count(*) f(a) t.* operator(pg_catalog.=)
"""
WORDS = st.sampled_from([*VOCABULARY.split(), "\n"])
SOUP = st.lists(WORDS, max_size=14).map(" ".join)
LEAVES = st.sampled_from(
    ["a", "t.b", '"A b"', "userContext.orgId", "1", "'x'", "E'\\n'", "NULL", "true", "f(a, b)", "ARRAY[1, 2]"]
)
EXPRESSIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(
            "({} {} {})".format, inner, st.sampled_from(["=", "<", "AND", "OR", "+", "->>", "IS DISTINCT FROM"]), inner
        ),
        st.builds("{} {} {}".format, inner, st.sampled_from(["AND", "OR", "=", "||"]), inner),
        st.builds("{}::{}".format, inner, st.sampled_from(["text", "integer[]", "public.t"])),
        st.builds("NOT {}".format, inner),
        st.builds("{} IN ({}, {})".format, inner, inner, inner),
        st.builds("{} = ANY ({})".format, inner, inner),
        st.builds("EXISTS (SELECT {} FROM s.t WHERE {})".format, inner, inner),
        st.builds("CASE WHEN {} THEN {} END".format, inner, inner),
        st.builds("coalesce({}, {})".format, inner, inner),
        st.builds("{} BETWEEN {} AND {}".format, inner, inner, inner),
        st.builds("({}) IS NULL".format, inner),
        st.builds("{} -- x\n".format, inner),
    ),
    max_leaves=12,
)
MUTILATED = st.builds(lambda text, at, word: f"{text[:at]} {word} {text[at:]}", EXPRESSIONS, st.integers(0, 60), WORDS)


def accepted(text: str) -> FilterText | None:
    """The filter, or None where the text was refused, with a place for each reason."""
    try:
        return read(text, None)
    except SpecError as error:
        if not all(each.position for each in error.problems):
            raise
        return None


@given(st.one_of(st.text(max_size=40), SOUP, EXPRESSIONS, MUTILATED))
@example("a) = (b")
@example("a -- )")
@example("a /* */ */")
@example("(SELECT 1) (")
@example("$$")
@settings(max_examples=700, deadline=None)
def test_no_text_breaks_out(text: str) -> None:
    """Whatever is accepted is one expression, and stays that among others."""
    found = accepted(text)
    if found is None:
        return
    tree = postgast.parse(f"SELECT true AND ({found.text}\n) AND false")
    (target,) = tree.stmts[0].stmt.select_stmt.target_list
    args = target.res_target.val.bool_expr.args
    assert len(tree.stmts) == 1
    assert target.res_target.val.bool_expr.boolop == pb.AND_EXPR
    assert len(args) == 3
    assert same(args[1], expression(found))


@given(EXPRESSIONS)
@settings(max_examples=500, deadline=None)
def test_what_is_written_back_says_the_same(text: str) -> None:
    found = accepted(text)
    if found is None:
        return
    again = read(expression_to_sql(expression(found)), None)
    assert same(expression(again), expression(found))
