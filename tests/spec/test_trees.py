"""Trees: what libpg_query's deparser gets wrong never reaches anybody."""

from __future__ import annotations

import postgast
import pytest
from postgast import pg_query_pb2 as pb

from rlsgen.spec import trees
from rlsgen.spec.trees import DeparseError, expression_to_sql, same, statement_to_sql

INNER = """
a|a = b|a AND b|a OR b|NOT a|a + b|a < b|a IS NULL|a IN (b)|a BETWEEN b AND c|a LIKE b|a IS DISTINCT FROM b|a & b|- a
a::text|CASE WHEN a THEN b END|(SELECT a)|EXISTS (SELECT 1)|a = ANY (b)|a COLLATE "C"|a AT TIME ZONE 'x'|ROW(a, b)
a[1]|(a).b|a IS TRUE|a -> b|userContext.orgId|a % b|a * b|a ^ b|a OPERATOR(pg_catalog.+) b|a NOT IN (b)|a SIMILAR TO b
a ILIKE b ESCAPE c|ARRAY[a]|f(a)|a IS DOCUMENT|a IS JSON|DEFAULT|a OVERLAPS b|interval '1 day'|extract(year FROM a)|- 1
position(a IN b)|trim(a)|overlay(a PLACING b FROM 1)|current_date|coalesce(a, b)|normalize(a)|substring(a FROM 1)|1.5
CAST(a AS bit(3))|'x'::text
"""
OUTER = """
@ = x|x = @|@ AND x|x AND @|@ OR x|x OR @|NOT @|@ IS NULL|@ IS TRUE|@::text|@ IN (x)|x IN @|@ BETWEEN x AND y|- @
x BETWEEN @ AND y|x BETWEEN y AND @|@ + x|x + @|x - @|x * @|@ * x|@ LIKE x|x LIKE @|@ = ANY (x)|x = ANY (@)|x < @
@ COLLATE "C"|@ AT TIME ZONE 'x'|(@)[1]|(@).z|CASE @ WHEN x THEN y END|@ IS DISTINCT FROM x|x IS DISTINCT FROM @|@ & x
x & @|f(@)|ARRAY[@]|x[@]|x -> @|@ -> x|@ IS DOCUMENT|@ IS JSON|x NOT IN @|x LIKE y ESCAPE @|@ ^ x|x ^ @|x SIMILAR TO @
@ OPERATOR(pg_catalog.+) x|x OPERATOR(pg_catalog.+) @|EXISTS (SELECT @ FROM t WHERE @)|(@, 1) = (SELECT 1, 2)|trim(@)
extract(year FROM @)|@ OVERLAPS x|overlay(@ PLACING @ FROM @)|position(@ IN @)|coalesce(@, @)
"""


def listed(texts: str) -> list[str]:
    return texts.strip().replace("\n", "|").split("|")


def tree(text: str) -> pb.Node:
    found: pb.Node = postgast.parse(f"SELECT {text}").stmts[0].stmt.select_stmt.target_list[0].res_target.val
    return found


def combinations() -> list[str]:
    texts = []
    for outer in listed(OUTER):
        for inner in listed(INNER):
            text = outer.replace("@", f"({inner})")
            try:
                postgast.parse(f"SELECT {text}")
            except postgast.PgQueryError:
                continue
            texts.append(text)
    return texts


def test_every_operand_of_every_operator_keeps_its_parentheses() -> None:
    texts = combinations()
    assert len(texts) > 2000
    for text in texts:
        node = tree(text)
        assert same(tree(expression_to_sql(node)), node), text


def test_libpg_query_alone_does_not_keep_them() -> None:
    """Why this module is there. Once this fails, the module can go."""
    wrong = []
    for text in combinations():
        try:
            again = tree(postgast.deparse(trees._select(tree(text))).removeprefix("SELECT "))
        except postgast.PgQueryError:
            again = pb.Node()
        if not same(again, tree(text)):
            wrong.append(text)
    assert "(a OR b) IS NULL" in wrong
    assert "(a = b) IN (x)" in wrong


def test_statements() -> None:
    text = "SELECT * FROM t WHERE (a OR b) IS NULL; SELECT count(*) FILTER (WHERE (a = b) IN (c)) FROM rlsgen_piece_0_"
    written = statement_to_sql(postgast.parse(text))
    assert same(postgast.parse(written), postgast.parse(text))
    assert "(a OR b) IS NULL" in written


def test_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(DeparseError):
        expression_to_sql(pb.Node())


def test_places_make_no_difference() -> None:
    assert same(tree("a  =  ARRAY[1,   2]"), tree("a = ARRAY[1, 2]"))
    assert same(tree("a IN (1,   2)"), tree("a IN (1, 2)"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a = 1", "a = 2"),
        ("a", '"A"'),
        ("a AND b IS NULL", "(a AND b) IS NULL"),
        ("f(a)", "f(DISTINCT a)"),
        ("(a AND b) AND c", "a AND (b AND c)"),
        ("a::int", "a::bigint"),
        ("'1'", "1"),
    ],
)
def test_everything_else_makes_a_difference(one: str, other: str) -> None:
    assert not same(tree(one), tree(other))
