"""Names are hostile: tables, columns, roles and filters that look like markup stay text in every form."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from rlsgen.identifiers import Name, fill, identifier
from rlsgen.proof.report import Report, to_html, to_markdown
from rlsgen.proof.verify import AttackResult, Note, TableResult, Uncovered, VerifyResult
from rlsgen.runtime.token import SigningKey
from rlsgen.spec.load import load_spec
from tests.proof.report.harness import parsed, report_of
from tests.proof.verify.harness import Stage
from tests.support.postgres import Databases, Roles

NAMES = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style></title><script>",
    "{{ report }}{% raw %}",
    "it's | a `table` *bold* @here",
    "a\nb & <b>&amp;",
    "right\u202eto\u200bleft\x07",
    "x" * 63,
]


@pytest.fixture
def report(database_factory: Databases, role_factory: Roles, tmp_path: Path) -> Report:
    database = database_factory()
    role = role_factory("LOGIN", name='<i>r"o`le</i>|')
    tables: dict[str, dict[str, object]] = {}
    with database.connect() as owner:
        for name in NAMES:
            table, column = identifier(name), identifier(f"c{name}"[:60])
            owner.execute(fill("CREATE TABLE {} (id int PRIMARY KEY, t int, {} text)", table, column).encode())
            owner.execute(fill("GRANT SELECT ON {} TO {}", table, identifier(role)).encode())
            tables[str.__str__(table)] = {"filter": "t = userContext.t", "columns": {"hide": [f"c{name}"[:60]]}}
    first, second, *_ = tables
    tables[first] = {"through": f"id -> {second}(id)", "filter": f"t IN (SELECT t FROM {second}) AND '<u>' <> ''"}
    document = {
        "version": 1,
        "context": {"t": {"type": "integer"}},
        "roles": {"conversation": "nl_conversation", "unrestricted": ["shop_owner"]},
        "schemas": ["public"],
        "tables": tables,
    }
    path = tmp_path / "<b>.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")
    key = SigningKey("kid", "00000000-0000-0000-0000-000000000000", b"s" * 32)
    result = VerifyResult(
        tables=tuple(
            TableResult(Name("public", name), "scoped", "leak", ({"t": "<s>1</s>"},), 1, 1, False,
                        (Note("leak", f"in {name}", "<mark>"),), 0.0, None) for name in NAMES
        ),
        attacks=(AttackResult("own", 1, "leak", "<h1>", "<h2>|", "SELECT '</pre><h3>'"),),
        uncovered=(Uncovered("<h4>", "<h5>"),), contexts=({"t": "<s>1</s>"},), snapshot=True, seconds=1.0,
    )  # fmt: skip
    return report_of(Stage(database, load_spec(path), key), result)


def test_on_the_page(report: Report) -> None:
    html = to_html(report)
    page = parsed(html)
    allowed = "html head meta title style body header nav main footer section div p span a h1 h2 h3 dl dt dd ol ul li"
    allowed += " b bdi small time table thead tbody tr th td code pre i details summary figure wbr"
    allowed += " svg g path rect circle text desc"
    assert {each.tag for each in page.elements} <= set(allowed.split())
    assert not any(name.startswith("on") or name == "src" for each in page.elements for name in each.attributes)
    words = page.words()
    for name in NAMES[:5]:
        assert identifier(name) in words  # as it is, quoted as SQL quotes it
    assert "\u202e" not in html
    assert "\x07" not in html
    assert "right\\u202eto\\u200bleft\\x07" in words
    assert report.verdict.level == "leaks"


def test_in_markdown(report: Report) -> None:
    lines = to_markdown(report).splitlines()
    rows = [line for line in lines if line.startswith("| ") and "scoped" in line]
    assert len(rows) == len(NAMES)  # a line break in a name makes no row
    for row in rows:
        assert len(row.replace("\\|", "").split(" | ")) == 6  # nor does a bar make a cell
    outside = "".join("".join(line.replace("``", "`").split("`")[::2]) for line in lines if "table" not in line)
    assert "<" not in outside
    assert "\u202e" not in "".join(lines)


def test_the_graph_is_drawn_within_its_frame(report: Report) -> None:
    drawing = next(each for each in parsed(to_html(report)).all("svg") if each.attributes.get("role") == "img")
    width, height = (float(drawing.attributes[name]) for name in ("width", "height"))
    boxes = [each.attributes for each in parsed(to_html(report)).all("rect")]
    assert len(boxes) == len(report.paths.nodes)
    for box in boxes:
        assert 0 <= float(box["x"]) <= width - float(box["width"])
        assert 0 <= float(box["y"]) <= height - float(box["height"])
    places = [(box["x"], float(box["y"])) for box in boxes]
    for x, y in places:
        assert not any(x == other and 0 < abs(y - at) < 34 for other, at in places), "nodes overlap"
