"""Only typed SQL reaches the output of a template."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import jinja2
import pytest

from rlsgen.identifiers import Sql
from rlsgen.provision import functions, render
from rlsgen.provision.functions import DesiredFunction, accessor_versions, context_functions, key_tables
from tests.context.stage import SPEC, context_field, spec_of


@pytest.fixture
def template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A template that prints `value`, in a package directory of its own."""
    package = tmp_path / "rlsgen"
    (package / "_templates").mkdir(parents=True)
    (package / "_templates" / "one.sql.j2").write_text("SELECT {{ value }};\n")
    monkeypatch.setattr(render, "_PACKAGE", package)
    render._environment.cache_clear()
    return package


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """No test leaves its templates to others."""
    yield
    render._environment.cache_clear()


@pytest.mark.parametrize(("value", "text"), [(Sql('"a"'), 'SELECT "a";'), (7, "SELECT 7;"), (Sql(""), "SELECT ;")])
def test_sql_and_numbers_pass(template: Path, value: object, text: str) -> None:
    rendered = render.render("one.sql.j2", value=value)
    assert rendered == text
    assert isinstance(rendered, Sql)


@pytest.mark.parametrize("value", ["x", b"x", 1.5, True, None, ["x"], object(), Sql("a") + "b"])
def test_nothing_else_passes(template: Path, value: object) -> None:
    with pytest.raises(TypeError, match="only Sql and int"):
        render.render("one.sql.j2", value=value)


def test_nothing_is_undefined(template: Path) -> None:
    with pytest.raises(jinja2.UndefinedError, match="value"):
        render.render("one.sql.j2")
    with pytest.raises(jinja2.TemplateNotFound):
        render.render("none.sql.j2")


def test_a_wheel_carries_its_own_templates(template: Path) -> None:
    (template.parent / "templates").mkdir()
    (template.parent / "templates" / "one.sql.j2").write_text("the checkout's")
    assert render.render("one.sql.j2", value=1) == "SELECT 1;"
    (template / "_templates" / "one.sql.j2").unlink()
    (template / "_templates").rmdir()
    render._environment.cache_clear()
    assert render.render("one.sql.j2", value=1) == "the checkout's"


def created() -> list[DesiredFunction]:
    kinds = ("integer", "bigint", "uuid", "text", "boolean", "date", "timestamptz")
    fields = [context_field(f"a{kind}", kind, required=False) for kind in kinds]  # type: ignore[arg-type]
    fields += [context_field(f"b{kind}", kind, array=True) for kind in kinds]  # type: ignore[arg-type]
    spec = spec_of(*fields, *SPEC.context)
    gone = functions.Accessor("old", "text", None)
    return [*context_functions(spec, accessor_versions(spec, {}), [gone])]


def test_every_function_is_pinned() -> None:
    for each in created():
        assert " SET search_path = pg_catalog, pg_temp\n" in each.create
        assert each.create.count("CREATE OR REPLACE FUNCTION") == 1
        assert ("SECURITY DEFINER" in each.create) == (each.name.name != "old")
        assert each.execute


def test_literals_read_the_same_whatever_standard_conforming_strings_says() -> None:
    for text in (*(each.create for each in created()), key_tables()):
        for line in text.splitlines():
            assert "\\" not in line or " E'" in line
            assert "\\'" not in line


def test_patterns_stay_in_their_literals() -> None:
    pattern = r"\$rlsgen\$|\'; DROP TABLE x; --|\"\\|{{ 7 }}|%s"
    spec = spec_of(context_field("it", "text", pattern=pattern))
    create = context_functions(spec, accessor_versions(spec, {}))[0].create
    assert pattern.replace("\\", "\\\\").replace("'", "''") in create
    opening = next(line for line in create.splitlines() if line.startswith("AS $")).removeprefix("AS ")
    assert opening == "$rlsgen1$"  # since the pattern has $rlsgen in it
    assert create.count(opening) == 2
    assert create.rstrip().endswith(opening)
