"""Fills the SQL templates: only typed fragments and numbers reach their output, and nothing may be undefined."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import jinja2

from rlsgen.identifiers import Sql

_PACKAGE = Path(__file__).resolve().parent.parent


def render(template: str, **names: object) -> Sql:
    """The SQL of a template, from the wheel's own copy or, in a checkout, from `templates/`.

    Args:
        template: the file's name, such as `keys.sql.j2`.
        names: what the template may use; whatever it prints must be `Sql` or `int`.

    Raises:
        TypeError: the template prints something that is neither, a plain `str` above all.
        jinja2.UndefinedError: the template uses a name that was not given.
        jinja2.TemplateNotFound: there is no such template.
    """
    return Sql(_environment().get_template(template).render(**names))


def template_loader() -> jinja2.BaseLoader:
    """Where the templates are: the wheel's own copy or, in a checkout, `templates/`."""
    packaged = _PACKAGE / "_templates"
    return jinja2.FileSystemLoader(packaged if packaged.is_dir() else _PACKAGE.parent / "templates")


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=template_loader(),
        undefined=jinja2.StrictUndefined,
        finalize=_only_sql,
        autoescape=False,  # noqa: S701 the output is SQL, and nothing unquoted passes _only_sql
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )


def _only_sql(value: object) -> object:
    """Let typed SQL and whole numbers through; a bool is no number, and prints as Python spells it."""
    if isinstance(value, Sql) or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if isinstance(value, jinja2.Undefined):
        return value  # StrictUndefined names the missing name when it is printed
    raise TypeError(f"only Sql and int go into a template, not {type(value).__name__}")
