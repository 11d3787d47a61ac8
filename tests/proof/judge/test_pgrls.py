"""An independent linter agrees, but for what answers.yaml gives a reason for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from rlsgen.spec.model import Spec
from tests.proof.judge.answers import Answer, answers, page, readable
from tests.proof.judge.conftest import Said
from tests.support.postgres import Database

Ask = Callable[[Database, Spec], Said]


def judge(database: Database, spec: Spec, said: Said, kind: str) -> tuple[Said, list[Answer]]:
    """What is said without a reason, and reasons for what is not said, or that are not true."""
    left = {rule: set(places) for rule, places in said.items()}
    untrue = []
    with psycopg.connect(database.dsn()) as connection:
        for answer in answers():
            if kind not in answer.of or answer.force not in (None, spec.force):
                continue
            met = answer.places(connection) & said.get(answer.rule, set())
            open_to_all = answer.unreadable and any(readable(connection, each, spec.conversation) for each in met)
            if not met or open_to_all:
                untrue.append(answer)
            else:
                left[answer.rule] -= met
    return {rule: places for rule, places in left.items() if places}, untrue


def test_it_says_nothing_without_a_reason(judged: tuple[Database, Spec], kind: str, ask: Ask) -> None:
    database, spec = judged
    left, untrue = judge(database, spec, ask(database, spec), kind)
    assert left == {}
    assert untrue == []


@pytest.mark.parametrize("kind", ["shop"], indirect=True)
@pytest.mark.parametrize("force", [False], indirect=True)
def test_it_would_say_so(judged: tuple[Database, Spec], kind: str, ask: Ask) -> None:
    database, spec = judged
    with psycopg.connect(database.dsn()) as owner:
        owner.execute("ALTER TABLE teams DISABLE ROW LEVEL SECURITY")
        owner.execute("CREATE POLICY everybody ON products USING (true)")
        owner.execute("GRANT SELECT ON events_2026_05 TO nl_conversation")
        owner.execute("ALTER VIEW monthly_revenue RESET (security_invoker)")
    left, untrue = judge(database, spec, ask(database, spec), kind)
    assert {"public.products.everybody"} <= left["SEC003"]
    assert {"public.monthly_revenue"} <= left["VIEW001"]
    assert "public.teams" in set().union(*left.values())
    assert {answer.rule for answer in untrue} >= {"SEC041"}


def test_the_page_is_current() -> None:
    written = Path(__file__).resolve().parents[3] / "docs" / "pgrls.md"
    assert written.read_text(encoding="utf-8") == page(), "python -m tests.proof.judge.answers > docs/pgrls.md"
