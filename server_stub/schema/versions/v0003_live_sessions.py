"""An index of the sessions that have not ended: few of many, and asked for time and again."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Index by process the open sessions alone; nobody asks for the others like that."""
    op.drop_index("ix_watch_sessions_instance_id", "watch_sessions")
    is_open = sa.text("ended_at IS NULL")
    op.create_index(
        "ix_watch_sessions_open",
        "watch_sessions",
        ["instance_id"],
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
