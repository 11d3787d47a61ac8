"""The report as one page: everything in it, nothing fetched, no script, every name escaped."""

from __future__ import annotations

from functools import cache

import jinja2
from markupsafe import Markup, escape

from rlsgen.proof.report.data import REACHES, Report
from rlsgen.proof.report.graph import to_svg
from rlsgen.proof.report.text import visible
from rlsgen.provision.render import template_loader


def to_html(report: Report) -> str:
    """The page. The same report gives the same text."""
    template = _environment().get_template("report.html.j2")
    kinds = {row.table: row.access for row in report.scope}
    return template.render(report=report, graph=to_svg(report.paths), reaches=REACHES, kinds=kinds)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=template_loader(),
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["counted"] = _counted
    environment.filters["breakable"] = _breakable
    return environment


def _shown(value: object) -> object:
    """Names without characters that hide or turn what is read; markup of our own as it is."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _breakable(name: str) -> Markup:
    """A name that may be broken where its parts meet."""
    text = str(escape(visible(name)))
    return Markup(text.replace(".", ".<wbr>").replace("_", "_<wbr>"))  # noqa: S704 (escaped in the line before)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
