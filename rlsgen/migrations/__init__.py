"""Alembic: the operations of a migration, and what writes them. See docs/migrations.md."""
