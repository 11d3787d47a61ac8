"""Conversations: what runs beside the language layer. Light: no typer, jinja2, alembic or sqlalchemy."""
