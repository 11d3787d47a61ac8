"""THREATS.md A, C and D, as texts: every one refused, for the reason that the table gives."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from rlsgen.errors import StatementRefused
from rlsgen.runtime.guard import Guard

ATTACKS: dict[str, list[str]] = yaml.safe_load(Path(__file__).with_name("attacks.yaml").read_text(encoding="utf-8"))
EVERY = [(reason, text) for reason, texts in ATTACKS.items() for text in texts]


@pytest.mark.parametrize(("reason", "text"), EVERY)
def test_it_is_refused(guard: Guard, reason: str, text: str) -> None:
    with pytest.raises(StatementRefused) as caught:
        guard.check(text)
    error = caught.value
    assert error.reason == reason, error.message
    assert error.message
    assert error.offset is None or 0 <= error.offset <= len(text)


def test_a_hidden_table_is_refused_as_one_that_does_not_exist(guard: Guard) -> None:
    said = []
    for name in ("api_keys", "abc_keys"):
        with pytest.raises(StatementRefused) as caught:
            guard.check(f"SELECT * FROM {name}")
        said.append((caught.value.message.replace(name, "?"), caught.value.hint, caught.value.offset))
    assert said[0] == said[1]


def test_no_refusal_names_what_is_hidden(guard: Guard) -> None:
    for _, text in EVERY:
        with pytest.raises(StatementRefused) as caught:
            guard.check(text)
        said = f"{caught.value.message} {caught.value.hint}"
        for secret in ("api_keys", "password_hash", "rlsgen_private"):
            assert secret not in said or secret in text
