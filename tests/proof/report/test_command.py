"""rlsgen report as people and CI run it."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.cli.runner import SPEC, Rlsgen
from tests.proof.report.harness import parsed
from tests.proof.verify.harness import Stage


@pytest.fixture
def command(shop_shared: Stage, tmp_path: Path) -> Rlsgen:
    return Rlsgen(tmp_path).having(
        RLSGEN_DSN=shop_shared.database.dsn(), RLSGEN_CONVERSATION_DSN=shop_shared.database.dsn("nl_conversation"),
        RLSGEN_SIGNING_KEY=shop_shared.key.reveal(), RLSGEN_SPEC=str(SPEC),
    )  # fmt: skip


def test_a_page_in_a_file(command: Rlsgen, tmp_path: Path) -> None:
    done = command("report", "--out", "report.html", "--time-budget", "30")
    assert done.returncode in (0, 3), done.stderr  # 3 on a server with known holes
    assert done.stdout == ""
    path = tmp_path / "report.html"
    page = parsed(path.read_text("utf-8"))
    headline = next(each.text for each in page.all("h2"))
    assert done.stderr.strip().endswith(f"{headline}: report.html")
    assert stat.S_IMODE(path.stat().st_mode) & 0o400
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]  # nothing half-written is left


def test_without_verify(command: Rlsgen) -> None:
    done = command.having(RLSGEN_CONVERSATION_DSN="", RLSGEN_SIGNING_KEY="")(
        "report", "--no-verify", "--format", "json"
    )
    document = json.loads(done.stdout)
    assert (document["format"], document["compared"], document["attacks"]) == (1, None, None)
    assert document["verdict"]["level"] in ("unproven", "endangered")
    assert done.returncode == (0 if document["verdict"]["level"] == "unproven" else 3)
    markdown = command("report", "--no-verify", "--format", "markdown")
    assert markdown.stdout.startswith("# Tenant isolation of ")


@pytest.mark.parametrize("missing", ["RLSGEN_CONVERSATION_DSN", "RLSGEN_SIGNING_KEY"])
def test_what_verify_needs(command: Rlsgen, missing: str) -> None:
    done = command.having(**{missing: ""})("report")
    assert (done.returncode, done.stdout) == (2, "")
    assert "or say --no-verify" in done.stderr


def test_a_place_that_cannot_be_written(command: Rlsgen, tmp_path: Path) -> None:
    done = command("report", "--no-verify", "--out", "missing/report.html")
    assert done.returncode == 1
    assert "missing/report.html cannot be written: No such file or directory" in done.stderr
    (tmp_path / "report.html").write_text("as it was")
    broken = command.having(RLSGEN_DSN="host=/nowhere")("report", "--no-verify", "--out", "report.html")
    assert broken.returncode == 1
    assert (tmp_path / "report.html").read_text() == "as it was"
