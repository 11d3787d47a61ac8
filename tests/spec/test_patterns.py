"""Patterns: the subset is read alike by Python and by Postgres, and what is outside of it is refused."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlsgen.spec.patterns import PatternError, check_pattern
from tests.support.postgres import Connection, Server


@pytest.mark.parametrize(
    "pattern",
    [
        "[A-Za-z0-9_.@-]{1,128}",
        "user_[0-9]+",
        "(a|b)c?",
        "((a|bc)*d)+",
        r"a\.b\*\(\)\[\]\{\}\\\|",
        "[^a-z ]",
        r"[\]\-\^\\]",
        "[-a]",
        "[a-]",
        "a{3}b{2,}c{0,255}",
        "a.c",
        "_@%&'\",:;<=>/~!#-",
    ],
)
def test_allowed(pattern: str) -> None:
    check_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "offset", "words"),
    [
        ("", 0, "empty"),
        ("a|", 2, "empty"),
        ("(|a)", 1, "empty"),
        ("()", 1, "empty"),
        ("^a", 0, "not needed"),
        ("a$", 1, "not needed"),
        (r"\d+", 0, "escape \\d"),
        (r"a\w", 1, "escape \\w"),
        (r"\1", 0, "escape \\1"),
        ("a\\", 1, "escape"),
        ("(?:a)", 1, "plain groups"),
        ("(?=a)", 1, "plain groups"),
        ("(?i)a", 1, "plain groups"),
        ("***=a", 0, "nothing to repeat"),
        ("a**", 2, "two repetitions"),
        ("a+?", 2, "two repetitions"),
        ("a{2}{3}", 4, "two repetitions"),
        ("{2}", 0, "nothing to repeat"),
        ("a{,3}", 1, "starts a repetition"),
        ("a{x}", 1, "starts a repetition"),
        ("a{256}", 1, "from 0 to 255"),
        ("a{300,}", 1, "from 0 to 255"),
        ("a{3,2}", 1, "from 0 to 255"),
        ("(a", 2, "not closed"),
        ("a)", 1, "nothing opened"),
        ("[a", 0, "not closed"),
        ("[a-", 0, "not closed"),
        ("[]", 1, "empty class"),
        ("[^]", 2, "empty class"),
        ("[z-a]", 4, "no range"),
        ("[[:alpha:]]", 1, "[ in a class"),
        (r"[\d]", 1, "escape"),
        ("[a&&b]", 2, "&& in a class"),
        ("a]", 1, "without its opening"),
        ("é", 0, "only printable ASCII"),
        ("a\n", 1, "only printable ASCII"),
        ("a" * 1001, 0, "1001 characters"),
        ("(" * 30 + "a" + ")" * 30, 21, "nested too deeply"),
    ],
)
def test_refused(pattern: str, offset: int, words: str) -> None:
    with pytest.raises(PatternError) as caught:
        check_pattern(pattern)
    assert (caught.value.offset, words in caught.value.message) == (offset, True), caught.value.message


@pytest.fixture(scope="module")
def connection(server: Server) -> Iterator[Connection]:
    with psycopg.connect(server.dsn(), autocommit=True) as opened:
        yield opened


ATOMS = st.sampled_from(
    r"a b - . [ab] [^a] [a-c-] []] \. [\]\-x] (a|b) (ab*) ^ \d (?:a) [[:alpha:]] _ ' {".split()  # noqa: SIM905
)
REPETITIONS = st.sampled_from(["", "", "", "*", "+", "?", "{2}", "{1,}", "{0,2}", "*?", "{,2}"])
PIECES = st.builds("{}{}".format, ATOMS, REPETITIONS)
PATTERNS = st.lists(PIECES, min_size=1, max_size=5).map("".join)
ALTERNATIVES = st.lists(PATTERNS, min_size=1, max_size=3).map("|".join)


@given(ALTERNATIVES, st.lists(st.text("ab-.x]c_'é{", max_size=6), min_size=1, max_size=5))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_python_and_postgres_agree(connection: Connection, pattern: str, values: list[str]) -> None:
    try:
        check_pattern(pattern)
    except PatternError:
        return
    ours = [re.fullmatch(pattern, value, re.DOTALL) is not None for value in values]
    anchored = f"^(?:{pattern})$"
    theirs = connection.execute("SELECT array_agg(v ~ %s ORDER BY n) FROM unnest(%s::text[]) WITH ORDINALITY u (v, n)",
                                [anchored, values]).fetchone()  # fmt: skip
    assert theirs == (ours,)


@pytest.mark.parametrize(("pattern", "value"), [(r"\d", "٣"), ("a{,2}", "aa"), (r"[[:alpha:]]", "a")])
def test_outside_of_the_subset_they_do_not(connection: Connection, pattern: str, value: str) -> None:
    """The reason for the subset: the same text, two meanings."""
    with pytest.raises(PatternError):
        check_pattern(pattern)
    with pytest.warns(FutureWarning) if "[[" in pattern else contextlib.nullcontext():
        ours = re.fullmatch(pattern, value) is not None
    try:
        theirs = connection.execute("SELECT %s ~ %s", [value, f"^(?:{pattern})$"]).fetchone()
    except psycopg.errors.InvalidRegularExpression:
        theirs = None
    assert theirs != (ours,)
