"""Migrations that cannot be run: clear words with the file or revision, nothing done elsewhere, nothing left."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from rlsgen.ci.migrations import MigrationError, run_alembic, run_sql, sql_files
from tests.ci.conftest import Project
from tests.support.postgres import Database, Databases


@pytest.fixture
def here(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(project.folder)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.delenv("DATABASE_URL", raising=False)
    return project


INI = Path("alembic.ini")


def tables(database: Database) -> list[str]:
    query = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY 1"
    return [name for (name,) in database.connect().execute(query).fetchall()]


def test_alembic_upgrades_to_its_head(here: Project, database: Database) -> None:
    done = run_alembic(database.dsn(), INI)
    assert (done.files, done.at) == (("0001", "0002"), "revision 0002")
    assert tables(database) == ["alembic_version", "countries", "order_items", "orders", "organisations"]


def fails(here: Project) -> None:
    here.revision("0003", "0002", "op.execute('SELECT 1')\n    op.execute('ALTER TABLE nowhere ADD a int')")


def breaks(here: Project) -> None:
    here.revision("0003", "0002", "1 / 0")


def has_two_heads(here: Project) -> None:
    here.revision("0003", "0002", "pass")
    here.revision("0004", "0002", "pass")


def lacks_a_revision(here: Project) -> None:
    here.revision("0004", "0003", "pass")


def is_no_python(here: Project) -> None:
    here.write("migrations/versions/0003_more.py", "revision = (\n")


def env_fails(here: Project) -> None:
    here.change("migrations/env.py", "config = context.config", "raise KeyError('SETTINGS')\nconfig = context.config")


def env_does_nothing(here: Project) -> None:
    here.write("migrations/env.py", "")


def has_no_folder(here: Project) -> None:
    here.change("alembic.ini", "%(here)s/migrations", "%(here)s/nowhere")


CASES: dict[Callable[[Project], None], tuple[str, str, str]] = {
    fails: (
        'the revision 0003 (more.) fails: relation "nowhere" does not exist', "migrations/versions/0003_more.py:8",
        "rolled back",
    ),
    breaks: ("the revision 0003 (more.) fails: division by zero", "migrations/versions/0003_more.py:7", "rolled back"),
    has_two_heads: (
        "the migrations have 2 heads: 0003 (migrations/versions/0003_more.py), 0004 (migrations/versions/0004_more.py)",
        "migrations/versions/0004_more.py:1", "alembic merge -m 'merge' 0003 0004",
    ),
    lacks_a_revision: ("the migrations cannot be loaded: KeyError: '0003'", "", "every revision"),
    is_no_python: ("cannot be loaded: SyntaxError", "migrations/versions/0003_more.py:1", "every revision"),
    env_fails: ("env.py fails: KeyError: 'SETTINGS'", "migrations/env.py:9", "DATABASE_URL"),
    env_does_nothing: ("alembic.ini: env.py ended without running the migrations", "", "run_migrations"),
    has_no_folder: ("Path doesn't exist", "", "script_location"),
}  # fmt: skip


@pytest.mark.parametrize("broken", CASES, ids=lambda each: each.__name__)
def test_what_fails_is_named(here: Project, database: Database, broken: Callable[[Project], None]) -> None:
    message, place, hint = CASES[broken]
    broken(here)
    with pytest.raises(MigrationError) as caught:
        run_alembic(database.dsn(), INI)
    assert message in caught.value.message
    at = caught.value.position
    assert (f"{at.file}:{at.line}" if at else "") == place
    assert hint in caught.value.hint
    assert tables(database) == []  # Alembic runs all of it in one transaction


def test_several_heads_may_be_meant(here: Project, database: Database) -> None:
    has_two_heads(here)
    done = run_alembic(database.dsn(), INI, several_heads=True)
    assert sorted(done.files) == ["0001", "0002", "0003", "0004"]
    assert done.at in ("revision 0003 and 0004", "revision 0004 and 0003")


@pytest.mark.parametrize("new", [True, False], ids=["without a version table", "with one"])
def test_another_database_is_left_alone(here: Project, database_factory: Databases, new: bool) -> None:
    """An env.py with an address of its own, as many have: what it names may be production."""
    ours, theirs = database_factory(), database_factory()
    if not new:
        theirs.connect().execute("CREATE TABLE alembic_version (version_num varchar(32))")
    before = tables(theirs)
    here.change(
        "migrations/env.py",
        'config.get_main_option("sqlalchemy.url") or os.environ["DATABASE_URL"]',
        f'"postgresql+psycopg://", creator=lambda: __import__("psycopg").connect({theirs.dsn()!r})',
    )
    with pytest.raises(MigrationError, match="another database than the one to be migrated") as caught:
        run_alembic(ours.dsn(), INI)
    assert "nothing was done there" in caught.value.hint
    assert tables(theirs) == before
    assert tables(ours) == []


def test_alembic_is_missing(here: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MigrationError, match="alembic is not installed where rlsgen is") as caught:
        run_alembic("", INI)
    assert sys.executable in caught.value.hint


def test_no_alembic_ini() -> None:
    with pytest.raises(MigrationError, match=r"nowhere\.ini: there is no such file"):
        run_alembic("", Path("nowhere.ini"))


def test_files_of_a_folder_come_in_order(tmp_path: Path) -> None:
    names = [
        "V10__c.sql",
        "V2__b.sql",
        "V1__a.sql",
        "R__views.sql",
        "U2__b.sql",
        "2_b.down.sql",
        "a/V1__a.sql",
        "x.txt",
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    found = [str(each.relative_to(tmp_path)) for each in sql_files([tmp_path])]
    assert found == ["V1__a.sql", "V2__b.sql", "V10__c.sql", "a/V1__a.sql", "R__views.sql"]
    with pytest.raises(MigrationError, match="there is no such file or folder"):
        sql_files([tmp_path / "nowhere"])
    with pytest.raises(MigrationError, match=r"no \.sql file is in this folder"):
        sql_files([Path(tempfile.mkdtemp(dir=tmp_path))])


@pytest.mark.parametrize(
    ("text", "message", "place", "left"),
    [
        ("CREATE TABLE a ();\n\nCREATE TABLE ü (b nothing);", 'type "nothing" does not exist', "3:19", []),
        ("BEGIN; CREATE TABLE a (); COMMIT;\nSELECT 1/0;", "division by zero", "2:1", ["a"]),
        ("CREATE TABLE a ();\nCREATE TABL b ();", "cannot be read as SQL: syntax error", "2:8", []),
        ("\\i other.sql", "cannot be read as SQL: syntax error", "1:1", []),
    ],
)
def test_where_sql_fails(
    database: Database, tmp_path: Path, text: str, message: str, place: str, left: list[str]
) -> None:
    file = tmp_path / "1.sql"
    file.write_text(text)
    with pytest.raises(MigrationError) as caught:
        run_sql(database.dsn(), [file])
    assert message in caught.value.message
    assert str(caught.value.position) == f"{file}:{place}"
    assert tables(database) == left


def test_what_sql_files_may_do(database: Database, tmp_path: Path) -> None:
    one = "CREATE TEMP TABLE t ON COMMIT DROP AS SELECT 1 AS x; CREATE TABLE a AS SELECT x FROM t; SET search_path = x;"
    two = "CREATE INDEX CONCURRENTLY ON a (x); VACUUM a; -- ü\n-- migrate:down\nDROP TABLE a;"
    files = [tmp_path / "1.sql", tmp_path / "2.sql"]
    for file, text in zip(files, (one, two), strict=True):
        file.write_text(text)
    assert run_sql(database.dsn(), files).files == tuple(map(str, files))
    assert tables(database) == ["a"]
