"""Makes reports, and reads pages with the standard library's parser."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from html.parser import HTMLParser

from rlsgen.catalog.connect import open_connection
from rlsgen.catalog.read import read_catalog
from rlsgen.proof.lint import examine
from rlsgen.proof.report import Report, gather
from rlsgen.proof.verify import VerifyResult
from rlsgen.spec.model import Exclusion, Spec
from tests.proof.verify.harness import CATALOGUE, Stage

AT = datetime(2026, 11, 21, 4, 30, tzinfo=UTC)
THREATS = {each.id: each.threat for each in CATALOGUE}
_EMPTY = frozenset({"meta", "link", "br", "img", "input", "hr", "wbr"})


def report_of(stage: Stage, verified: VerifyResult | None, spec: Spec | None = None) -> Report:
    declared = spec or stage.spec
    with open_connection(stage.database.dsn()) as connection:
        catalog = read_catalog(connection, declared.conversation)
        linted = examine(connection, declared, catalog=catalog, now=AT)
    return gather(declared, catalog, linted, verified, at=AT, threats=THREATS)


def accepting(spec: Spec, *rules: str) -> Spec:
    """The spec, all findings of some rules accepted."""
    where = spec.tables[0].position
    ignore = tuple(Exclusion(rule, None, "the test does not look at it", None, where) for rule in rules)
    return replace(spec, lint=replace(spec.lint, ignore=(*spec.lint.ignore, *ignore)))


@dataclass(slots=True)
class Element:
    """An element, with the text of everything in it."""

    tag: str
    attributes: dict[str, str]
    text: str = ""
    inside: tuple[str, ...] = ()  # tags around it


class Page(HTMLParser):
    """All elements of a page, in their order; unbalanced tags are an error."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self.open: list[Element] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        inside = tuple(each.tag for each in self.open)
        element = Element(tag, {name: value or "" for name, value in attrs}, inside=inside)
        self.elements.append(element)
        if tag not in _EMPTY:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data

    def all(self, tag: str) -> list[Element]:
        return [each for each in self.elements if each.tag == tag]

    def words(self) -> str:
        """The text of the body."""
        return self.all("body")[0].text


def parsed(html: str) -> Page:
    page = Page()
    page.feed(html)
    page.close()
    assert not page.open, f"left open: {[each.tag for each in page.open]}"
    return page
