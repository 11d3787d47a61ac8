"""The page of the provisioned shop: complete, self-contained, accessible, and the same for the same input."""

from __future__ import annotations

import itertools
import json
import re

import pytest

from rlsgen.proof.report import Report, to_html, to_markdown
from rlsgen.proof.verify import VerifyResult
from tests.proof.report.harness import Page, accepting, parsed, report_of
from tests.proof.verify.harness import ORDINARY, Stage, attacks

SECTIONS = ["scope", "paths", "access", "attacks", "findings", "versions", "fingerprints", "uncovered", "promises"]


@pytest.fixture(scope="module")
def verified(shop_shared: Stage) -> VerifyResult:
    return shop_shared.verify(ORDINARY, attacks("forge-sub-query", "token-expired", "drop-policy", "stat-activity"))


@pytest.fixture(scope="module")
def report(shop_shared: Stage, verified: VerifyResult) -> Report:
    return report_of(shop_shared, verified, accepting(shop_shared.spec, "server-version"))


@pytest.fixture(scope="module")
def page(report: Report) -> Page:
    return parsed(to_html(report))


def test_the_verdict_stands_first(report: Report, page: Page) -> None:
    assert (report.verdict.level, report.verdict.good) == ("holds", True)
    assert page.all("h2")[0].text == report.verdict.headline
    assert page.all("h1")[0].text == report.origin.database
    words = page.words()
    assert words.index(report.verdict.headline) < words.index("What conversations see")
    assert "2026-11-21 04:30:00 UTC" in words
    assert f"PostgreSQL {report.origin.server}" in words


def test_sections_landmarks_and_tables(page: Page) -> None:
    assert [each.attributes["id"] for each in page.all("h2")] == ["verdict", *SECTIONS]
    links = [each.attributes["href"].removeprefix("#") for each in page.all("a") if "nav" in each.inside]
    assert links == SECTIONS
    for tag in ("header", "nav", "main", "footer", "h1"):
        assert len(page.all(tag)) == 1
    assert page.all("html")[0].attributes["lang"] == "en"
    ids = [each.attributes["id"] for each in page.elements if "id" in each.attributes]
    assert len(ids) == len(set(ids))
    for element in page.elements:
        assert set(element.attributes.get("aria-labelledby", "").split()) <= set(ids)
        if element.attributes.get("role") == "region":  # what scrolls is reached by the keyboard, and has a name
            assert element.attributes["tabindex"] == "0"
            assert {"aria-label", "aria-labelledby"} & element.attributes.keys()
    headers = page.all("th")
    assert headers
    assert all(each.attributes["scope"] in ("col", "row", "rowgroup") for each in headers)
    assert len(page.all("table")) == len(page.all("thead"))
    drawing = next(each for each in page.all("svg") if each.attributes.get("role") == "img")
    assert "order_items follows orders by order_id → id." in drawing.text
    assert all(each.attributes.get("aria-hidden") == "true" for each in page.all("svg") if each is not drawing)


def test_nothing_is_fetched(report: Report, page: Page) -> None:
    policy = next(each for each in page.all("meta") if each.attributes.get("http-equiv") == "Content-Security-Policy")
    assert policy.attributes["content"].startswith("default-src 'none'")
    assert {each.tag for each in page.elements}.isdisjoint(
        {"script", "link", "img", "iframe", "object", "base", "form"}
    )
    assert not any(name.startswith("on") or name == "src" for each in page.elements for name in each.attributes)
    style = page.all("style")[0].text
    assert "url(" not in style
    assert "@import" not in style
    for scheme in ("prefers-color-scheme: dark", "@media print", "max-width: 40rem"):
        assert scheme in style
    outside = [each.attributes["href"] for each in page.all("a") if not each.attributes["href"].startswith("#")]
    assert set(outside) <= {hole.source for hole in report.holes}  # links, which fetch nothing by themselves


def test_what_it_says_of_tables(page: Page, report: Report) -> None:
    rows = {row.table: row for row in report.scope}
    assert rows["public.users"].hidden_columns == ("password_hash",)
    assert rows["public.users"].private_columns == ("email",)
    assert (rows["public.users"].shown, rows["public.users"].columns) == (7, 8)
    assert rows["public.order_items"].through == ("order_id → public.orders (id)",)
    assert rows["public.templates"].check == "organisation_id = userContext.organisationId"
    assert rows["public.notes"].commands == ("select", "insert", "update", "delete")
    assert rows["public.api_keys"].access == "hidden"
    assert {row.verified.status for row in report.scope} == {"isolated"}
    for row in report.scope:
        assert row.table in page.words()
    nodes = {node.id: node.label for node in report.paths.nodes}
    assert ("orders", "order_items", "path") in {
        (nodes[edge.source], nodes[edge.target], edge.kind) for edge in report.paths.edges
    }


def test_attacks_by_ring(page: Page, report: Report) -> None:
    assert report.attacks is not None
    rings = {ring.ring: (ring.blocked, ring.leaks, ring.skipped) for ring in report.attacks.rings}
    assert rings == {1: (2, 0, 1), 2: (2, 0, 1)}
    assert [chapter.title[:8] for chapter in report.attacks.chapters] == ["The cont", "Objects ", "Inferenc"]
    assert "2 blocked, 0 got through, 1 not tried" in " ".join(page.words().split())
    assert ("2 attacks", "it could write: --writes tries it, and rolls back") in {
        (each.what, each.why) for each in report.uncovered
    }


def test_nothing_secret(report: Report, shop_shared: Stage) -> None:
    secret = shop_shared.key.reveal().rpartition(".")[2]
    for text in (to_html(report), to_markdown(report), json.dumps(report.to_json())):
        assert shop_shared.key.kid in text
        assert secret not in text
        assert "@example" not in text  # e-mail addresses are tenants' values


def test_the_same_in_every_form(report: Report) -> None:
    document = json.loads(json.dumps(report.to_json()))
    assert document["verdict"]["level"] == "holds"
    assert [each["table"] for each in document["scope"]] == [row.table for row in report.scope]
    page, markdown = " ".join(parsed(to_html(report)).words().split()), to_markdown(report)
    facts = [row.table for row in report.scope] + [report.fingerprints.spec, report.fingerprints.provision]
    facts += [key.kid for key in report.fingerprints.keys] + [hole.id for hole in report.holes]
    facts += [row.id for chapter in report.attacks.chapters for row in chapter.rows] if report.attacks else []
    for fact in facts:
        assert fact in page
        assert fact in markdown
    for point in (*report.uncovered, *report.not_promised):
        assert point.why in page
        assert point.what in markdown


def test_the_same_input_the_same_text(report: Report, shop_shared: Stage, verified: VerifyResult) -> None:
    again = report_of(shop_shared, verified, accepting(shop_shared.spec, "server-version"))
    assert again == report
    assert to_html(again) == to_html(report)
    assert to_markdown(again) == to_markdown(report)


def test_contrast_of_every_pair_of_colours(page: Page) -> None:
    """WCAG 2.2, 1.4.3: 4.5 to 1 for text, in both schemes."""
    style = page.all("style")[0].text
    blocks = re.findall(r":root \{([^}]*)\}", style)
    schemes = [dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{3,6})", block)) for block in blocks]
    assert len(schemes) == 3  # light, dark, print
    for colours in schemes:
        plain = itertools.product(("ink", "soft", "accent", "good", "bad", "warn"), ("paper", "ground", "faint"))
        tones = [(front, f"{tone}-bg") for tone in ("good", "bad", "warn") for front in (tone, "ink")]
        for front, back in (*plain, *tones, ("paper", "accent")):
            light, dark = sorted((_luminance(colours[front]), _luminance(colours[back])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (front, back)


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(each * 2 for each in colour[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_without_verify(shop_shared: Stage) -> None:
    bare = report_of(shop_shared, None, accepting(shop_shared.spec, "server-version"))
    assert bare.verdict.level == "unproven"
    assert not bare.verdict.good
    assert [each.what for each in bare.uncovered] == ["Rows and attacks"]
    words = parsed(to_html(bare)).words()
    assert "None were tried for this report." in words
    assert "isolated" not in words
