"""Migrations: a project on Alembic, its revisions and what they leave."""
