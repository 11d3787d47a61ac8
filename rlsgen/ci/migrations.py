"""The project's migrations, run on a database that is empty: Alembic's, or SQL files in the order of their names."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import postgast
import psycopg
from postgast import pg_query_pb2 as pb
from psycopg.conninfo import conninfo_to_dict

from rlsgen.catalog.connect import driver_errors, open_connection
from rlsgen.errors import Position, RlsgenError

_ALONE = ("transaction_stmt", "reindex_stmt", "createdb_stmt", "dropdb_stmt", "alter_system_stmt")
_UNDOING = ("-- migrate:down", "-- +goose down", "--//@undo")
"""Lines at which dbmate, goose and MyBatis files go on with what undoes them."""
_IDENTITY = """SELECT d.datname, d.oid, extract(epoch FROM pg_catalog.pg_postmaster_start_time())::text
FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()"""


class MigrationError(RlsgenError):
    """A migration cannot be run: which file or revision, why, and what to do."""

    def __init__(self, message: str, *, position: Position | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.position = position


@dataclass(frozen=True, slots=True)
class Migrated:
    """What was run."""

    files: tuple[str, ...]  # SQL files, or revisions of Alembic, in order
    at: str  # where that leads, for people: the heads, or the last file


# SQL files


def sql_files(paths: Sequence[Path]) -> tuple[Path, ...]:
    """The files that are named, and those of folders by name, numbers in them by size. What undoes is left out.

    Raises:
        MigrationError: a path does not exist, or a folder has no SQL file.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = [each for each in path.rglob("*.sql") if not _undoes(each)]
            if not inside:
                raise MigrationError(f"{path}: no .sql file is in this folder", hint="name the folder of migrations")
            found += sorted(inside, key=functools.partial(_order, path))
        elif path.is_file():
            found.append(path)
        else:
            raise MigrationError(f"{path}: there is no such file or folder", hint="name SQL files, or their folder")
    return tuple(found)


def _undoes(path: Path) -> bool:
    """golang-migrate's *.down.sql, Flyway's U1__*.sql."""
    return path.name.lower().endswith((".down.sql", "_down.sql")) or re.match(r"U\d[\d._]*__", path.name) is not None


def _order(root: Path, path: Path) -> tuple[object, ...]:
    """V2 before V10; Flyway's repeatable R__ after everything."""
    parts = path.relative_to(root).parts
    numbered = [[(0, int(p), "") if p.isdigit() else (1, 0, p) for p in re.split(r"(\d+)", each)] for each in parts]
    return path.name.startswith("R__"), numbered


def run_sql(dsn: str, files: Sequence[Path]) -> Migrated:
    """Run SQL files, each in a session of its own.

    Raises:
        MigrationError: a statement failed; it says which, and where it stands.
    """
    for file in files:
        run_file(dsn, file)
    return Migrated(tuple(map(str, files)), str(files[-1]) if files else "")


def run_file(dsn: str, file: Path) -> None:
    """Run one file in one transaction, as migration tools do; without, if it says BEGIN or cannot be in one.

    Raises:
        MigrationError: it cannot be read, is not SQL, or a statement failed.
    """
    try:
        text = _upwards(file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise MigrationError(f"{file} cannot be read: {error}") from None
    try:
        statements = postgast.parse(text).stmts
    except postgast.PgQueryError as error:
        at = _place(file, text, max(error.cursorpos - 1, 0))
        hint = "one SQL script; psql's own commands (\\i, \\set) and the data of COPY … FROM stdin are not understood"
        raise MigrationError(f"{file} cannot be read as SQL: {error.message}", position=at, hint=hint) from None
    data = text.encode()
    together = not any(_ends_transactions(each.stmt) for each in statements)
    with open_connection(dsn) as connection, connection.transaction() if together else nullcontext():
        for each in statements:
            end = each.stmt_location + each.stmt_len if each.stmt_len else len(data)
            _run(connection, file, text, data[each.stmt_location : end], len(data[: each.stmt_location].decode()))


def _ends_transactions(statement: pb.Node) -> bool:
    """BEGIN, COMMIT and their kin, and what Postgres does outside of transactions only."""
    kind = statement.WhichOneof("node")
    if kind in ("index_stmt", "drop_stmt"):
        return bool(getattr(statement, kind).concurrent)
    if kind == "vacuum_stmt":
        return bool(statement.vacuum_stmt.is_vacuumcmd)  # ANALYZE alone may be in one
    return kind in _ALONE


def _run(connection: psycopg.Connection[Any], file: Path, text: str, statement: bytes, start: int) -> None:
    try:
        connection.execute(statement, prepare=False)
    except psycopg.Error as error:
        told = statement.decode()
        into = int(error.diag.statement_position or 0)
        at = start + (into - 1 if into else len(told) - len(told.lstrip()))
        said = error.diag.message_primary or str(error).strip()
        place = _place(file, text, at)
        raise MigrationError(f"the migration {file} fails: {said}", position=place, hint=_hint(error)) from error


def _upwards(text: str) -> str:
    """The part of a file that migrates, where the same file also has what undoes it."""
    kept: list[str] = []
    for line in text.splitlines(keepends=True):
        if line.strip().lower().startswith(_UNDOING):
            break
        kept.append(line)
    return "".join(kept)


def _place(file: Path, text: str, offset: int) -> Position:
    before = text[:offset]
    return Position(str(file), before.count("\n") + 1, len(before) - before.rfind("\n"))


def _hint(error: psycopg.Error) -> str:
    said = error.diag.message_primary or ""
    if error.sqlstate in ("0A000", "58P01") and "extension" in said:
        return "this server does not have the extension: use one that has, with --postgres-bin or --dsn"
    if error.sqlstate == "42501":
        return "what only an administrator may do (extensions, roles) belongs into a file for --setup"
    if error.sqlstate == "42704" and "role" in said:
        return "roles that migrations name and the spec does not are made by a file for --setup"
    return error.diag.message_hint or "the database was empty before: what this needs must be in an earlier migration"


# Alembic


def run_alembic(dsn: str, ini: Path, *, arguments: Sequence[str] = (), several_heads: bool = False) -> Migrated:
    """`alembic upgrade heads` of a project, in a process of its own, on this database and no other.

    env.py gets the database as `sqlalchemy.url`, DATABASE_URL, RLSGEN_DSN and the PG* variables. If it connects to
    another one all the same, nothing is done there.

    Args:
        dsn: of the role that migrates; over TCP, as every driver knows it.
        ini: alembic.ini, or pyproject.toml where the configuration is there.
        arguments: what `alembic -x` would get.
        several_heads: whether more than one head is how the project wants it.

    Raises:
        MigrationError: alembic is missing or misconfigured, there are two heads, or a revision failed; nothing of that
            revision stays, since Alembic runs in transactions.
    """
    if importlib.util.find_spec("alembic") is None:
        hint = f"pip install alembic, and what env.py imports, for {sys.executable}; or write the migrations as SQL"
        hint += " (alembic upgrade heads --sql > migrations.sql) and give --sql migrations.sql"
        raise MigrationError("alembic is not installed where rlsgen is", hint=hint)
    if not ini.is_file():
        raise MigrationError(f"{ini}: there is no such file", hint="name the project's alembic.ini with --alembic")
    task = {
        "ini": str(ini),
        "dsn": {name: str(value) for name, value in conninfo_to_dict(dsn).items()},
        "identity": list(identity(dsn)),
        "identity_query": _IDENTITY,
        "x": list(arguments),
        "several_heads": several_heads,
    }
    read, write = os.pipe()
    try:
        with open(read, "rb", closefd=False) as answer:
            process = subprocess.Popen(
                # -P: like the command `alembic`, which does not put the current folder onto the path by itself.
                [sys.executable, "-P", "-m", "rlsgen.ci.alembic_child", str(write)],
                stdin=subprocess.PIPE,
                stdout=2,  # stderr: what env.py prints is no result of ours
                env={**os.environ, **_variables(conninfo_to_dict(dsn))},
                pass_fds=[write],
            )
            os.close(write)
            write = -1
            try:
                process.communicate(json.dumps(task).encode())
                result = json.loads(answer.read() or b"null")
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
    finally:
        os.close(read)
        if write >= 0:
            os.close(write)
    return _outcome(ini, result, process.returncode)


def _outcome(ini: Path, result: Mapping[str, Any] | None, code: int) -> Migrated:
    if result is None:
        raise MigrationError(f"alembic ended with exit code {code} and no answer", hint="see what env.py printed above")
    if error := result.get("error"):
        position = Position(error["file"], error["line"], 1) if error.get("file") else None
        raise MigrationError(error["message"], position=position, hint=error["hint"])
    if not result["ran"]:
        hint = "env.py must run context.run_migrations() when it is not in offline mode"
        raise MigrationError(f"{ini}: env.py ended without running the migrations", hint=hint)
    heads = result["heads"]
    return Migrated(tuple(result["applied"]), f"revision {' and '.join(heads)}" if heads else "no revision")


def identity(dsn: str) -> tuple[str, str, str]:
    """What no other database on any server has: its name, its number, and when its server was started."""
    with open_connection(dsn) as connection, driver_errors("ask which database this is"):
        name, oid, started = connection.execute(_IDENTITY).fetchone() or ("", 0, "")
    return str(name), str(oid), str(started)


def _variables(parameters: Mapping[str, Any]) -> dict[str, str]:
    """PG* variables, for an env.py that reads no URL. (DATABASE_URL is set where the driver is known.)"""
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}
    return {variable: str(parameters[name]) for name, variable in names.items() if parameters.get(name)}
