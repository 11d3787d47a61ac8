"""The environment of the test project: as Alembic's own template, with the plugin, and with what the steps bring."""

from alembic import context
from sqlalchemy import create_engine, pool

config = context.config
step = config.attributes["step"]


def include_object(thing: object, name: str, type_: str, reflected: bool, compare_to: object) -> bool:
    """Partitions are made by hand; and what a test leaves to others."""
    return not (type_ == "table" and (name.startswith("events_") or name in config.attributes["excluded"]))


options = {
    "target_metadata": step.metadata,
    "include_object": include_object,
    "include_schemas": True,
    "autogenerate_plugins": ["alembic.autogenerate.*", "rlsgen"],
    "rlsgen_spec": config.attributes["spec"],
    "rlsgen_allow": config.attributes["allow"],
}


def online() -> None:
    """On the engine of whoever calls, or one of its own."""
    engine = config.attributes.get("connection")
    if engine is None:
        own = config.get_main_option("sqlalchemy.url")
        assert own
        engine = create_engine(own, poolclass=pool.NullPool, **config.attributes.get("engine", {}))
    with engine.connect() as connection:
        context.configure(connection=connection, **options)
        with context.begin_transaction():
            context.run_migrations()


if context.is_offline_mode():
    context.configure(dialect_name="postgresql", literal_binds=True, **options)
    with context.begin_transaction():
        context.run_migrations()
else:
    online()
