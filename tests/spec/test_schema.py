"""The JSON Schema: complete, valid, and of one mind with the reader."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from rlsgen.errors import SpecError
from rlsgen.spec.load import parse_spec
from rlsgen.spec.schema import json_schema

SAMPLE = Path(__file__).parents[2] / "policies.yaml"
DOCS = Path(__file__).parents[2] / "docs" / "spec.md"


def validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json_schema())


def properties(schema: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        for name, each in schema.get("properties", {}).items():
            yield name, each
        for each in schema.values():
            yield from properties(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from properties(each)


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


def test_it_accepts_the_sample() -> None:
    validator().validate(yaml.safe_load(SAMPLE.read_text(encoding="utf-8")))


def test_every_key_is_explained_by_valid_examples() -> None:
    schema: dict[str, Any] = json_schema()
    found = list(properties(schema))
    assert len(found) > 40
    for name, each in found:
        target = schema["$defs"].get(each.get("$ref", "").removeprefix("#/$defs/"), {})
        assert each.get("description", target.get("description")), name
        assert each.get("examples"), name
        for example in each["examples"]:
            jsonschema.Draft202012Validator({**each, "$defs": schema["$defs"]}).validate(example)


def test_no_key_may_be_null() -> None:
    assert "null" not in str(json_schema())


def test_every_key_is_in_the_reference() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for name, _ in properties(json_schema()):
        assert f"`{name}`" in text, name


HEAD = {"version": 1, "context": {"a": "text"}, "roles": {"conversation": "t"}}


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"context": {"a": "number"}},
        {"context": {"a": {"maxLength": 3}}},
        {"context": {}},
        {"roles": {}},
        {"tables": {"o": 1}},
        {"tables": {"o": {"fliter": "x"}}},
        {"tables": {"o": {"allow": []}}},
        {"tables": {"o": {"allow": ["truncate"]}}},
        {"tables": {"o": {"access": "open"}}},
        {"tables": {"o": None}},
        {"views": {"o": "definer"}},
        {"limits": {"bytes": "20TB"}},
        {"limits": {"rows": 0}},
        {"limits": {"seconds": 0}},
        {"seal": "maybe"},
        {"schemas": []},
        {"functions": {"allow": []}},
        {"functions": {"allow": "public.f"}},
    ],
    ids=str,
)
def test_schema_and_reader_refuse_alike(change: dict[str, Any]) -> None:
    data = {**HEAD, **change}
    assert not validator().is_valid(data)
    with pytest.raises(SpecError):
        parse_spec(yaml.safe_dump(data), "f")


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"context": {"a": {"type": "uuid[]", "maxItems": 3}}},
        {
            "tables": {
                "o": "x = userContext.a",
                "p": "hidden",
                "q": {"through": ["a -> o(b)"]},
                "r": {"through": "a -> o(b)"},
            }
        },
        {"views": {"o": "invoker", "p": {"columns": {"hide": ["a"]}}}},
        {"limits": {"bytes": "20MB", "seconds": 0.5, "rows": 1}},
        {"limits": {"bytes": 5}},
        {"functions": {"allow": ["public.similarity", "public.<->"]}},
        {"seal": "off"},
        {"seal": False},
    ],
    ids=str,
)
def test_schema_and_reader_accept_alike(change: dict[str, Any]) -> None:
    data = {**HEAD, **change}
    validator().validate(data)
    parse_spec(yaml.safe_dump(data), "f")


def blocks() -> list[str]:
    parts = DOCS.read_text(encoding="utf-8").split("```yaml\n")[1:]
    return [part.partition("```")[0] for part in parts]


def test_the_reference_has_examples() -> None:
    assert len(blocks()) > 5


@pytest.mark.parametrize("block", blocks())
def test_the_examples_in_the_reference_are_specs(block: str) -> None:
    head = {
        "version": "1",
        "context": "{organisationId: integer, userId: text}",
        "roles": "{conversation: nl_conversation}",
    }
    given = yaml.safe_load(block)
    text = "".join(f"{key}: {value}\n" for key, value in head.items() if key not in given) + block
    parse_spec(text, "docs/spec.md")
    # PyYAML makes dates of what editors, and rlsgen, read as text.
    validator().validate(json.loads(json.dumps(yaml.safe_load(text), default=str)))
