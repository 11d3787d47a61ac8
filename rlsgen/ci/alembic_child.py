"""Runs a project's Alembic migrations as a process of its own: its env.py is the project's code, and may do anything.

Reads a task as JSON from stdin, and writes what happened as JSON to the file descriptor that it is given.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from alembic import util
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, MigrationStep
from alembic.script import ScriptDirectory
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from rlsgen.errors import RlsgenError

DRIVER = "postgresql+psycopg"  # which rlsgen itself needs, so that it is there


class _WrongDatabase(Exception):
    """env.py connected to a database that is not the one to be migrated."""


@dataclass(slots=True)
class _Run:
    task: Mapping[str, Any]
    script: ScriptDirectory
    ran: bool = False
    applied: list[str] = field(default_factory=list)
    current: str = ""  # the revision that is being run
    heads: tuple[str, ...] = ()

    def steps(self, heads: Sequence[str], context: MigrationContext) -> Iterator[MigrationStep]:
        """Alembic's own steps, each noted before it runs, and none before the database is known to be ours."""
        self._require_ours(context)
        context._ensure_version_table()  # which `dont_mutate` left out, so that nothing was made in a wrong database
        self.ran = True
        # As alembic.command.upgrade does.
        for step in self.script._upgrade_revs("heads", tuple(heads)):  # type: ignore[arg-type]
            self.current = str(step.info.up_revision_id)
            yield step
            self.applied.append(self.current)
        self.current = ""

    def _require_ours(self, context: MigrationContext) -> None:
        if context.connection is None:
            raise _WrongDatabase("no database: it ran in offline mode")
        row = context.connection.exec_driver_sql(self.task["identity_query"]).one()
        if [str(each) for each in row] != self.task["identity"]:
            url = context.connection.engine.url
            raise _WrongDatabase(f"{url.database} on {url.host or 'the local server'}")


def main() -> None:
    """Do it, and tell what happened."""
    answer = int(sys.argv[1])
    task = json.load(sys.stdin)
    result = _upgraded(task)
    os.write(answer, json.dumps(result).encode())


def _upgraded(task: Mapping[str, Any]) -> dict[str, object]:
    options = SimpleNamespace(x=task["x"] or None)
    config = Config(task["ini"], cmd_opts=options)  # type: ignore[arg-type]
    if os.path.basename(task["ini"]).endswith(".toml"):
        config = Config(toml_file=task["ini"], cmd_opts=options)  # type: ignore[arg-type]
    try:
        url = _url(config, task["dsn"])
        config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
        os.environ["DATABASE_URL"] = os.environ["RLSGEN_DSN"] = url
        script = ScriptDirectory.from_config(config)
        heads = tuple(script.get_heads())
    except (util.CommandError, ArgumentError) as error:
        return _failed(
            str(error), "see that script_location in the configuration is right, from where rlsgen is started"
        )
    except Exception as error:  # noqa: BLE001  (a revision file is Python, and can fail in any way)
        return _broken_file(error)
    if len(heads) > 1 and not task["several_heads"]:
        return _two_heads(script, heads)
    run = _Run(task, script, heads=heads)
    environment = EnvironmentContext(config, script, fn=run.steps, destination_rev="heads", dont_mutate=True)
    try:
        with environment:
            script.run_env()
    except _WrongDatabase as error:
        message = f"env.py connects to another database than the one to be migrated: {error}"
        hint = "nothing was done there; take the URL from config.get_main_option('sqlalchemy.url') or from DATABASE_URL"
        return _failed(message, hint)
    except (Exception, SystemExit) as error:  # noqa: BLE001  (the project's code can fail in any way)
        return _broken_revision(run, error)
    return {"ran": run.ran, "applied": run.applied, "heads": list(run.heads)}


def _url(config: Config, dsn: Mapping[str, str]) -> str:
    """The database with the driver that the project uses."""
    driver = DRIVER
    option = getattr(config, "get_alembic_option", config.get_main_option)  # since 1.16, which knows pyproject.toml
    written = [option("sqlalchemy.url"), os.environ.get("DATABASE_URL")]
    for each in written:
        try:
            name = make_url(each).drivername if each else ""
        except ArgumentError:
            continue  # a placeholder: driver://user:pass@localhost/dbname is none of ours either
        if name.startswith("postgresql+"):
            driver = name
            break
    known = {"host", "port", "user", "password", "dbname"}
    host = dsn.get("host", "")
    query = {name: value for name, value in dsn.items() if name not in known}
    if host.startswith("/"):
        query["host"] = host
    port = dsn.get("port")
    return URL.create(
        driver, dsn.get("user"), dsn.get("password"), None if host.startswith("/") else host or None,
        int(port) if port else None, dsn.get("dbname"), query,
    ).render_as_string(hide_password=False)  # fmt: skip


def _failed(message: str, hint: str, file: str = "", line: int = 1) -> dict[str, object]:
    return {"error": {"message": message, "hint": hint, "file": file, "line": line}}


def _two_heads(script: ScriptDirectory, heads: Sequence[str]) -> dict[str, object]:
    told = [f"{each} ({_shown(script.get_revision(each).path)})" for each in sorted(heads)]
    message = f"the migrations have {len(heads)} heads: {', '.join(told)}"
    hint = f"join them: alembic merge -m 'merge' {' '.join(sorted(heads))}; or, if that is meant, say --several-heads"
    return _failed(message, hint, _shown(script.get_revision(sorted(heads)[-1]).path))


def _broken_file(error: Exception) -> dict[str, object]:
    file, line = _deepest(error, "")
    message = f"the migrations cannot be loaded: {type(error).__name__}: {_first_line(error)}"
    return _failed(message, "see that every revision imports, where rlsgen is installed", file, line)


def _broken_revision(run: _Run, error: BaseException) -> dict[str, object]:
    traceback.print_exception(error)
    said = _first_line(error.orig if isinstance(error, DBAPIError) and error.orig else error)
    if isinstance(error, RlsgenError):
        said = error.message
    if not run.current:
        file, line = _deepest(error, "env.py")
        where = "env.py fails" if not run.ran else "env.py fails after the migrations"
        hint = "run it as rlsgen does: the URL in DATABASE_URL, from the same folder, with the same Python"
        return _failed(f"{where}: {type(error).__name__}: {said}", hint, file, line)
    revision = run.script.get_revision(run.current)
    file, line = _deepest(error, revision.path)
    message = f"the revision {run.current} ({revision.doc}) fails: {said}"
    hint = getattr(error, "hint", "") or "it is rolled back; the database was empty before the first revision"
    return _failed(message, hint, file or _shown(revision.path), line)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _deepest(error: BaseException, wanted: str) -> tuple[str, int]:
    """The last place in the file, or in any of the project's, that the error went through."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [(each.filename, each.lineno or 1) for each in frames if each.filename.endswith(wanted or ".py")]
    if isinstance(error, SyntaxError) and error.filename:
        places.append((error.filename, error.lineno or 1))
    own = [place for place in places if "site-packages" not in place[0] and place[0] != __file__]
    return (_shown(own[-1][0]), own[-1][1]) if own else ("", 1)


def _shown(path: str) -> str:
    """As CI knows it: from the folder that it works in."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


if __name__ == "__main__":
    main()
