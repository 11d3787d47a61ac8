"""The environment of the test project: as Alembic's own template, with the plugin, and with what the steps bring."""

from alembic import context
from sqlalchemy import create_engine, pool

config = context.config
step = config.attributes["step"]


def include_object(thing, name, type_, reflected, compare_to):
    """Partitions are made by hand."""
    return not (type_ == "table" and name.startswith("events_"))


options = {
    "target_metadata": step.metadata,
    "include_object": include_object,
    "include_schemas": True,
    "autogenerate_plugins": ["alembic.autogenerate.*", "rlsgen"],
    "rlsgen_spec": step.spec,
    "rlsgen_allow": ["PUBLIC_REVOKE", "PLANNER_STATISTICS", "COPY_FROM", "DUMP"],
}


def online() -> None:
    connection = config.attributes.get("connection")
    if connection is not None:  # pytest-alembic's engine
        engine = connection
    else:
        engine = create_engine(config.get_main_option("sqlalchemy.url"), poolclass=pool.NullPool)
    with engine.connect() as connected:
        context.configure(connection=connected, **options)
        with context.begin_transaction():
            context.run_migrations()


if context.is_offline_mode():
    context.configure(dialect_name="postgresql", literal_binds=True, **options)
    with context.begin_transaction():
        context.run_migrations()
else:
    online()
