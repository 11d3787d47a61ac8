"""What a report says about access is so: asked of Postgres, and on databases that somebody broke."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import psycopg
import pytest

from rlsgen.identifiers import fill, identifier
from rlsgen.proof.report import Report, to_html
from rlsgen.proof.report.data import REACHES
from tests.proof.report.harness import accepting, parsed, report_of
from tests.proof.verify.harness import ORDINARY, Stage, attacks
from tests.support.postgres import Roles


def _counts(stage: Stage, user: str, relations: tuple[str, ...], become: str = "") -> dict[str, int | None]:
    """Rows that a login counts, None where it is refused; after SET ROLE, where it is to become another role."""
    counted: dict[str, int | None] = {}
    with psycopg.connect(stage.database.dsn(user), autocommit=True) as connection:
        if become:
            connection.execute(fill("SET ROLE {}", identifier(become)).encode())
        for name in relations:
            try:
                row = connection.execute(f"SELECT count(*) FROM {name}").fetchone()
                counted[name] = row[0] if row else None
            except psycopg.errors.InsufficientPrivilege:
                counted[name] = None
    return counted


def _check(stage: Stage, report: Report, becoming: Mapping[str, str] = MappingProxyType({})) -> int:
    everything = _counts(stage, stage.database.server.superuser, report.access.relations)
    checked = 0
    for readers in report.access.readers:
        for reader in readers.roles if readers.kind != "everybody" else ():
            role = reader.role.strip('"')
            seen = _counts(stage, role, report.access.relations, becoming.get(role, ""))
            for name, reach in zip(report.access.relations, readers.reads, strict=True):
                if reach == "all":
                    assert seen[name] == everything[name], (reader.role, name)
                elif reach == "none":
                    assert not seen[name], (reader.role, name)
                elif reach == "own":
                    assert seen[name] is None, (reader.role, name)  # without a context it is refused
                elif reach == "policies":
                    assert seen[name] is not None, (reader.role, name)
                checked += 1
    return checked


def test_who_can_read_what(stage: Stage, role_factory: Roles) -> None:
    member, stranger, reader, group = (role_factory(), role_factory(), role_factory(), role_factory("NOLOGIN"))
    schema_less = role_factory()
    stage.administrator(fill("GRANT shop_app TO {}", identifier(member)))
    stage.administrator(
        fill("GRANT SELECT ON products, orders TO {}; GRANT {} TO {}", *map(identifier, (group, group, reader)))
    )
    stage.administrator(fill("CREATE POLICY mine ON products TO {} USING (id < 5)", identifier(group)))
    stage.administrator(fill("GRANT pg_read_all_data TO {}", identifier(schema_less)))
    report = report_of(stage, None)
    assert _check(stage, report, {member: "shop_app"}) > 60
    kinds = {reader.role: readers for readers in report.access.readers for reader in readers.roles}
    assert stranger not in kinds  # it reads nothing, and is not named for it
    assert kinds["nl_conversation"].kind == "conversation"
    products = report.access.relations.index("public.products")
    assert kinds[reader].reads[products] == "policies"
    assert kinds[member].reads[products] == kinds["shop_app"].reads[products] == "all"


@pytest.mark.parametrize(
    ("breaking", "reach", "level"),
    [
        ("ALTER TABLE orders DISABLE ROW LEVEL SECURITY", "all", "leaks"),
        ("ALTER VIEW monthly_revenue SET (security_invoker = false)", "owner", "leaks"),
        ("REVOKE SELECT ON orders FROM nl_conversation", "none", "broken"),
    ],
)
def test_broken(stage: Stage, breaking: str, reach: str, level: str) -> None:
    stage.owner(breaking)
    report = report_of(
        stage, stage.verify(ORDINARY, attacks("forge-sub-query")), accepting(stage.spec, "server-version")
    )
    assert report.verdict.level == level
    name = "public.monthly_revenue" if "VIEW" in breaking else "public.orders"
    conversations = report.access.readers[0]
    assert conversations.reads[report.access.relations.index(name)] == reach
    page = parsed(to_html(report))
    assert report.verdict.headline in page.words()
    alarms = {each.text for each in page.all("span") if "alarm" in each.attributes.get("class", "").split()}
    assert alarms == ({REACHES["all" if reach == "all" else "owner"]} if level == "leaks" else set())
    if level == "leaks":
        assert name in report.verdict.sentences[0]
    assert report.findings
    assert all(each.message in page.words() for each in report.findings)


def test_every_shape(shapes: Stage) -> None:
    report = report_of(shapes, shapes.verify(ORDINARY))
    page = parsed(to_html(report))
    for row in report.scope:
        assert row.table in page.words()
    kinds = {edge.kind for edge in report.paths.edges}
    assert kinds == {"filter", "path", "query"}
    assert _check(shapes, report) > 100
