"""What people and models really ask passes, and its answer is the one of the text as written: rows, names and types."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from rlsgen.errors import StatementRefused
from rlsgen.runtime.guard import Guard
from tests.guard.shop import Answer, Shop, Talk
from tests.guard.texts import corpus

TEXTS = corpus()
EXPECTED = yaml.safe_load(Path(__file__).with_name("corpus.yaml").read_text(encoding="utf-8"))
REFUSED: dict[str, str] = EXPECTED["refused"]
RAW_FAILS: dict[str, str] = EXPECTED["raw fails"]
NEWER: dict[str, int] = EXPECTED["newer"]
RECORD, RECORDS = 2249, 2287


def test_the_corpus_is_large_and_hardly_refused() -> None:
    assert len(TEXTS) >= 300
    assert set(REFUSED) <= set(TEXTS)
    assert len(REFUSED) < len(TEXTS) / 100


def same(one: Answer, other: Answer, ordered: bool) -> None:
    assert (one.state, one.message) == (other.state, other.message)
    assert one.columns == other.columns
    assert (one.rows == other.rows) if ordered else (one.multiset == other.multiset)


@pytest.fixture(scope="module")
def talk(guarded: Shop) -> Iterator[Talk]:
    """One transaction for all texts: they only read."""
    with guarded.talking() as talk:
        yield talk


@pytest.mark.parametrize("name", TEXTS)
def test_the_answer_is_the_one_of_the_text(guarded: Shop, talk: Talk, name: str) -> None:
    text = TEXTS[name]
    if guarded.database.server.version < NEWER.get(name, 0):
        pytest.skip("newer syntax than this server's")
    if name in REFUSED:
        with pytest.raises(StatementRefused) as caught:
            guarded.guard.check(text)
        assert caught.value.message == REFUSED[name]
        return
    with_twins, without = guarded.guard.check(text), guarded.bare.check(text)
    assert without.twins == ()
    ordered = "ORDER BY" in text and ":" in name and text.rstrip(";").upper().rfind("ORDER BY") > text.rfind(")")
    raw, twinned, bare = talk.raw(text), talk.checked(with_twins), talk.checked(without)
    if raw.state == "0A000" and "libxml" in raw.message:  # a server built without it; 15 from Debian has it
        assert (twinned.state, bare.state) == ("0A000", "0A000")
        return
    same(twinned, bare, ordered)
    if name in RAW_FAILS:
        assert raw.state == RAW_FAILS[name]
        assert not twinned.state
        return
    same(twinned, raw, ordered)
    assert not raw.state, raw.message


def test_guards_agree_about_everything_but_twins(guarded: Shop) -> None:
    for text in TEXTS.values():
        one, other = _checked(guarded.guard, text), _checked(guarded.bare, text)
        assert one == other


def _checked(guard: Guard, text: str) -> object:
    try:
        found = guard.check(text)
    except StatementRefused as error:
        return error.message
    return (found.command, found.filters, found.fingerprint)
