"""Several tokens for a device; sessions that say which process has them, and can be asked to end."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Move each device's token into a table of tokens; a device without one goes on without."""
    op.create_table(
        "device_tokens",
        sa.Column("token_hash", sa.String(64), primary_key=True),
        sa.Column(
            "device_id",
            sa.String(128),
            sa.ForeignKey("devices.device_id", ondelete="CASCADE"),
            nullable=False,
            index=True,
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
    )
    op.execute(
        "INSERT INTO device_tokens (token_hash, device_id, created_at) "
        "SELECT token_hash, device_id, created_at FROM devices WHERE token_hash IS NOT NULL"
    )
    # A column that may not be empty needs a value for the rows that are there: the safe one.
    op.add_column(
        "devices",
        sa.Column("needs_token", sa.Boolean, nullable=False, server_default=sa.true()),
    )
    op.execute(sa.text("UPDATE devices SET needs_token = false WHERE token_hash IS NULL"))
    op.drop_column("devices", "token_hash")
    op.add_column("watch_sessions", sa.Column("end_asked_at", sa.DateTime(timezone=True)))
    op.add_column("watch_sessions", sa.Column("instance_id", sa.String(32)))
    op.create_index("ix_watch_sessions_instance_id", "watch_sessions", ["instance_id"])
