"""What `alembic revision --autogenerate` and `alembic check` compare: policies.yaml with the database as it will be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from alembic.operations.ops import MigrateOperation, OpContainer
from alembic.util import CommandError
from sqlalchemy import MetaData, Table

from rlsgen.errors import RlsgenError
from rlsgen.identifiers import Name
from rlsgen.migrations.operations import ApplyOp

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext
    from alembic.operations.ops import UpgradeOps

_OWN_SCHEMAS = ("rlsgen", "rlsgen_private")


def compare_isolation(context: AutogenContext, upgrade_ops: UpgradeOps) -> None:
    """Put what the spec needs around the operations that the comparisons before this one have found.

    Raises:
        CommandError: the spec does not fit the database as the migration will leave it, or has hazards nobody allowed.
    """
    from rlsgen.migrations.changes import isolate  # noqa: PLC0415 - upgrades need neither spec nor plan
    from rlsgen.migrations.rehearsal import Stage, perform, stage  # noqa: PLC0415
    from rlsgen.migrations.settings import Settings  # noqa: PLC0415

    _prune(upgrade_ops)
    if context.dialect.name != "postgresql" or any(isinstance(each, ApplyOp) for each in upgrade_ops.ops):
        return
    with as_command_errors():
        settings = Settings.of(context.migration_context)
        if settings.off:
            return
        theirs = list(upgrade_ops.ops)

        def change(place: Stage) -> None:
            perform(place, theirs)

        with stage(context.migration_context) as place:
            made = isolate(
                place,
                settings.spec(),
                change if theirs else None,
                allow=settings.allow,
                included=_included(context),
            )
    upgrade_ops.ops[:] = [*made.first, *theirs, *made.last]


@contextmanager
def as_command_errors() -> Iterator[None]:
    """Alembic's command line prints these and ends; others it shows with a traceback."""
    try:
        yield
    except RlsgenError as error:
        hint = f"\n  {error.hint}" if error.hint else ""
        raise CommandError(f"rlsgen: {error.message}{hint}") from error


def _prune(container: OpContainer) -> None:
    """Leave rlsgen's own tables alone, which stand in no model and which include_schemas shows to Alembic."""
    kept: list[MigrateOperation] = []
    for operation in container.ops:
        if getattr(operation, "schema", None) in _OWN_SCHEMAS:
            continue
        if isinstance(operation, OpContainer):
            _prune(operation)
        kept.append(operation)
    container.ops[:] = kept


def _included(context: AutogenContext) -> Callable[[Name], bool]:
    """Whether include_name and include_object leave a table in. Alembic calls the default schema None."""
    default = context.dialect.default_schema_name

    def included(name: Name) -> bool:
        schema = None if name.schema == default else name.schema
        if not context.run_name_filters(schema, "schema", {}):
            return False
        if not context.run_name_filters(name.name, "table", {"schema_name": schema}):
            return False
        table = Table(name.name, MetaData(), schema=schema)
        return context.run_object_filters(table, name.name, "table", True, None)

    return included
