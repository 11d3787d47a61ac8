"""Each rule on a real database: where it must fire, and where it must not; and its remedy."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlsgen.proof.rules import RULES
from tests.proof.lint.harness import Broken, seen, spec_with


@dataclass(frozen=True)
class Case:
    """What is done to the provisioned shop, and everything that lint then finds; see cases.yaml."""

    rule: str
    finds: tuple[tuple[str, str], ...]
    sql: str = ""
    admin: str = ""
    undo: str = ""
    before: str = ""
    spec: dict[str, Any] = field(default_factory=dict)
    later: dict[str, Any] = field(default_factory=dict)
    says: str = ""
    mended: bool = True

    @property
    def fires(self) -> bool:
        return any(rule == self.rule for rule, _ in self.finds)

    def __str__(self) -> str:
        what = " ".join((self.sql or self.admin or str(self.later or self.spec)).split())
        return f"{self.rule}{'' if self.fires else ' not'}: {what[:70]}"


def _cases() -> list[Case]:
    document = yaml.safe_load(Path(__file__).with_name("cases.yaml").read_text(encoding="utf-8"))
    made = []
    for rule, entries in document.items():
        for entry in entries:
            finds = tuple((found, about) for each in entry.pop("finds", []) for found, about in each.items())
            made.append(Case(rule, finds, **entry))
    return made


CASES = _cases()


def test_every_rule_has_cases_where_it_fires_and_where_it_does_not() -> None:
    assert {case.rule for case in CASES} == {rule.id for rule in RULES}
    assert {case.rule for case in CASES if case.fires} == {rule.id for rule in RULES}
    assert {case.rule for case in CASES if not case.fires} == {rule.id for rule in RULES}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_rule(shop_ready: Broken, case: Case) -> None:
    if case.before:
        shop_ready.run(case.before)
    if case.spec:
        shop_ready.spec = spec_with(case.spec)
        shop_ready.apply()
    if case.later:
        shop_ready.spec = spec_with(case.spec, case.later)
    try:
        if case.sql:
            shop_ready.run(case.sql)
        if case.admin:
            shop_ready.run(case.admin, administrator=True)
        result = shop_ready.lint()
        partition = shop_ready.partition
        assert seen(result) == {
            (rule, about.replace("<partition>", partition)) for rule, about in _expected(shop_ready, case)
        }
        if case.says:
            assert case.says in "\n".join(each.message for each in result.findings)
        if case.mended:
            for finding in result.findings:
                if finding.sql:
                    shop_ready.one_by_one(finding.sql)
            left = seen(shop_ready.lint()) & {(each.rule, each.object) for each in result.findings if each.sql}
            assert not left
    finally:
        if case.undo:
            shop_ready.run(case.undo, administrator=True)


def _expected(shop: Broken, case: Case) -> set[tuple[str, str]]:
    return {(rule, about.replace("<db>", shop.database.name)) for rule, about in case.finds}
