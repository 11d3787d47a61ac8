"""organisations and their orders."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make them."""
    op.create_table("organisations", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.Text))
    op.create_table("countries", sa.Column("code", sa.Text, primary_key=True), sa.Column("name", sa.Text))
    op.create_table(
        "orders",
        sa.Column("organisation_id", sa.Integer, sa.ForeignKey("organisations.id"), nullable=False),
        sa.Column("id", sa.BigInteger, sa.Identity()),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("total", sa.Numeric(12, 2), nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "id"),
        sa.UniqueConstraint("id"),
    )


def downgrade() -> None:
    """Drop them."""
    for name in ("orders", "countries", "organisations"):
        op.drop_table(name)
