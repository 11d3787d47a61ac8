"""Each rule on a real database: where it must fire, and where it must not; and its remedy."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlsgen.catalog.connect import open_connection
from rlsgen.catalog.read import read_catalog
from rlsgen.proof.finding import Finding
from rlsgen.proof.lint import lint
from rlsgen.proof.rules import RULES
from tests.proof.lint.harness import SHOP, Broken, of_rule, seen


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
    rules = {rule.id for rule in RULES} - {"server-version"}  # which the tests' server has: below
    assert {case.rule for case in CASES} == rules
    assert {case.rule for case in CASES if case.fires} == rules
    assert {case.rule for case in CASES if not case.fires} == rules


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_rule(shop_ready: Broken, case: Case) -> None:
    try:
        shop_ready.arrange(case.before, case.spec, case.later, case.sql, case.admin)
        result = shop_ready.lint()
        partition = shop_ready.partition
        assert seen(result) == {
            (rule, about.replace("<partition>", partition)) for rule, about in _expected(shop_ready, case)
        }
        if case.says:
            assert case.says in "\n".join(each.message for each in result.findings)
        if case.mended:
            _assert_mended(shop_ready, [each for each in result.findings if each.sql])
    finally:
        if case.undo:
            shop_ready.run(case.undo, administrator=True)


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (150002, {"error": "upgrade it to 15.20 or later", "notice": "upgrade it to 15.20 or later"}),
        (180006, {"error": "upgrade it to 18.7 or later", "notice": "upgrade it to 18.7 or later"}),
        (180007, {}),
        (190000, {}),
    ],
)
def test_server_versions(shop_ready: Broken, version: int, expected: dict[str, str]) -> None:
    with open_connection(shop_ready.database.dsn()) as owner:
        catalog = read_catalog(owner, SHOP.conversation)
    found = of_rule(lint(SHOP, replace(catalog, server_version=version)), "server-version")
    assert {str(finding.severity): finding.remedy for finding in found} == expected


def _assert_mended(shop: Broken, findings: list[Finding]) -> None:
    """The SQL of the findings makes them go away."""
    for finding in findings:
        shop.one_by_one(finding.sql)
    left = seen(shop.lint()) & {(each.rule, each.object) for each in findings}
    assert not left


def _expected(shop: Broken, case: Case) -> set[tuple[str, str]]:
    return {(rule, about.replace("<db>", shop.database.name)) for rule, about in case.finds}
