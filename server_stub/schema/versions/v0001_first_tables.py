"""Devices, grants and watch sessions, as made by releases that did not write down a version."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables, unless such a release has made them."""
    if sa.inspect(op.get_bind()).has_table("devices"):
        return
    op.create_table(
        "devices",
        sa.Column("device_id", sa.String(128), primary_key=True),
        sa.Column("token_hash", sa.String(64)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True)),
    )
    op.create_table(
        "grants",
        sa.Column("user_id", sa.String(128), primary_key=True),
        sa.Column(
            "device_id",
            sa.String(128),
            sa.ForeignKey("devices.device_id", ondelete="CASCADE"),
            primary_key=True,
            index=True,
        ),
    )
    op.create_table(
        "watch_sessions",
        sa.Column("session_id", sa.String(128), primary_key=True),
        sa.Column("device_id", sa.String(128), nullable=False, index=True),
        sa.Column("user_id", sa.String(128), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("reason", sa.String(32)),
    )
