"""Revisions without autogenerate: one of rlsgen's own, or its part of one that somebody wrote."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import alembic.op
from alembic import command
from alembic.autogenerate import render_op_text
from alembic.autogenerate.api import AutogenContext
from alembic.config import Config
from alembic.operations import Operations
from alembic.operations.ops import MigrationScript
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError

from rlsgen.errors import RlsgenError
from rlsgen.migrations import operations, render
from rlsgen.migrations.autogenerate import as_command_errors
from rlsgen.migrations.changes import Isolation, isolate
from rlsgen.migrations.insertion import inserted
from rlsgen.migrations.operations import ApplyOp
from rlsgen.migrations.rehearsal import Stage, stage
from rlsgen.migrations.settings import Settings
from rlsgen.spec.load import load_spec

__all__ = ["Wish", "configuration", "fill_revision", "make_revision", "operations", "render"]


@dataclass(frozen=True, slots=True)
class Wish:
    """What a new revision is to be, as `alembic revision` takes it; and whose spec, with which hazards."""

    message: str | None = None
    head: str = "head"
    splice: bool = False
    branch_label: str | None = None
    version_path: str | None = None
    rev_id: str | None = None
    depends_on: tuple[str, ...] = ()
    spec: Path | None = None  # None: as the project's env.py or configuration file says
    allow: frozenset[str] = frozenset()


def configuration(file: Path, section: str = "alembic", x: Sequence[str] = ()) -> Config:
    """A project's configuration: alembic.ini, and from Alembic 1.16 on pyproject.toml.

    Raises:
        RlsgenError: there is neither.
    """
    options: dict[str, Any] = {"ini_section": section, "cmd_opts": Namespace(x=list(x), quiet=True)}
    toml = Path("pyproject.toml")
    if toml.is_file() and "toml_file" in signature(Config).parameters:
        options["toml_file"] = str(toml)
    config = Config(str(file) if file.is_file() else None, **options)
    if not file.is_file() and not (options.get("toml_file") and getattr(config, "toml_alembic_config", None)):
        raise RlsgenError(f"there is no {file}", hint="say where Alembic's configuration is: --config FILE")
    return config


def make_revision(config: Config, wish: Wish) -> Path | None:
    """A new revision with what brings the database at its heads to what the spec says; None if nothing is to be done.

    Raises:
        RlsgenError: the database is not at its heads, the spec does not fit, a hazard was not allowed.
    """

    def directives(context: MigrationContext, heads: Any, scripts: list[MigrationScript]) -> None:
        directory = context.script
        if directory is None or set(directory.get_revisions(heads)) != set(directory.get_revisions("heads")):
            raise CommandError("the database is not at the newest revision: alembic upgrade heads")
        made = _isolation(context, None, wish.spec, wish.allow)
        script = scripts[0]
        if not made:
            scripts[:] = []
        elif script.upgrade_ops is not None and script.downgrade_ops is not None:
            script.upgrade_ops.ops[:] = [*made.first, *made.last]
            script.upgrade_ops.reverse_into(script.downgrade_ops)

    config.set_main_option("revision_environment", "true")
    with _as_ours():
        made = command.revision(
            config, wish.message, head=wish.head, splice=wish.splice, branch_label=wish.branch_label,
            version_path=wish.version_path, rev_id=wish.rev_id, depends_on=list(wish.depends_on) or None,  # type: ignore[arg-type]
            process_revision_directives=directives,
        )  # fmt: skip
    return Path(made.path) if isinstance(made, Script) else None


def fill_revision(config: Config, revision: str, spec: Path | None = None, allow: Collection[str] = ()) -> Path | None:
    """Write rlsgen's part into a revision that somebody wrote and that is the next one for the database.

    Its upgrade() is carried out in a transaction that is rolled back, to see what it leaves.

    Returns:
        The file; None if nothing is to be added.

    Raises:
        RlsgenError: the revision is not the next one, has operations of rlsgen's already, or fails; or as above.
    """
    with _as_ours():
        directory = ScriptDirectory.from_config(config)
        script = directory.get_revision(revision)
        file = Path(script.path)
        source = file.read_text(encoding="utf-8")
        if "rlsgen_apply" in source:
            raise RlsgenError(f"{file} has operations of rlsgen's already", hint="take them out of it first")
        rendered: list[list[str]] = []

        def look(heads: Any, context: MigrationContext) -> list[Any]:
            _require_next(directory, script, heads)
            made = _isolation(context, _running(script.module.upgrade), spec, allow)
            rendered.extend(_rendered(context, made))
            return []

        with EnvironmentContext(config, directory, fn=look, as_sql=False, dont_mutate=True):
            directory.run_env()
    if not any(rendered):
        return None
    first, last, first_down, last_down = rendered
    source = inserted(source, "upgrade", first, last)
    file.write_text(inserted(source, "downgrade", first_down, last_down), encoding="utf-8")
    return file


@contextmanager
def _as_ours() -> Iterator[None]:
    try:
        yield
    except CommandError as error:
        if isinstance(error.__cause__, RlsgenError):
            raise error.__cause__ from error
        message, _, hint = str(error).removeprefix("rlsgen: ").partition("\n  ")
        raise RlsgenError(message, hint=hint) from error


def _isolation(
    context: MigrationContext,
    change: Callable[[Stage], None] | None,
    spec: Path | None,
    allow: Collection[str],
) -> Isolation:
    with as_command_errors():
        settings = Settings.of(context)
        declared = load_spec(spec) if spec else settings.spec()
        with stage(context) as place:
            return isolate(place, declared, change, allow=settings.allow | set(allow))


def _running(upgrade: Callable[[], None]) -> Callable[[Stage], None]:
    """A function that runs a revision's upgrade() on a stage, where `op` means that stage."""

    def change(place: Stage) -> None:
        outer = getattr(alembic.op, "_proxy", None)
        with Operations.context(place.context):
            upgrade()
        if outer is not None:  # Alembic has one `op`, and takes it away at the end of each context
            outer._install_proxy()

    return change


def _require_next(directory: ScriptDirectory, script: Script, heads: Any) -> None:
    here = {each.revision for each in directory.get_revisions(heads)}
    below = {each.revision for each in directory.iterate_revisions(script.revision, "base")}
    if script.revision in {each.revision for head in here for each in directory.iterate_revisions(head, "base")}:
        raise RlsgenError(f"revision {script.revision} is applied already", hint="alembic downgrade -1 first")
    parents = set(script._all_down_revisions)
    if not parents <= here:
        missing = ", ".join(sorted(parents - here))
        raise RlsgenError(
            f"the database is not at {missing}, which {script.revision} comes after",
            hint=f"alembic upgrade {missing}" if below else "",
        )


def _rendered(context: MigrationContext, made: Isolation) -> Iterator[list[str]]:
    """The calls: before and after the team's part of upgrade(), then of downgrade()."""
    autogenerate = AutogenContext(context, autogenerate=False)

    def calls(wanted: Sequence[ApplyOp]) -> list[str]:
        return [text for each in wanted if (text := render_op_text(autogenerate, each))]

    yield calls(made.first)
    yield calls(made.last)
    yield calls([each.reverse() for each in reversed(made.last)])
    yield calls([each.reverse() for each in reversed(made.first)])
