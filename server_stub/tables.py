"""The tables as this release has them. `schema` makes a database of any earlier release so."""

from datetime import UTC, datetime

from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    MetaData,
    String,
    Table,
    TypeDecorator,
)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment that comes back with its time zone, which SQLite does not keep."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """See `TypeDecorator`."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """See `TypeDecorator`."""
        return None if value is None else value.replace(tzinfo=value.tzinfo or UTC)


metadata = MetaData()


def _device_id(*, is_key: bool) -> Column[str]:
    device = ForeignKey("devices.device_id", ondelete="CASCADE")
    return Column("device_id", device, primary_key=is_key, nullable=False, index=True)


devices = Table(
    "devices",
    metadata,
    Column("device_id", String(128), primary_key=True),
    Column("needs_token", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("last_seen_at", UtcDateTime),
)
device_tokens = Table(
    "device_tokens",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    _device_id(is_key=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
)
grants = Table(
    "grants",
    metadata,
    Column("user_id", String(128), primary_key=True),
    _device_id(is_key=True),
)
watch_sessions = Table(
    "watch_sessions",
    metadata,
    Column("session_id", String(128), primary_key=True),
    Column("device_id", String(128), nullable=False, index=True),
    Column("user_id", String(128), nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("reason", String(32)),
    Column("end_asked_at", UtcDateTime),
    Column("instance_id", String(32)),
)
# Of open sessions alone, as its step says: to say it here takes both databases' dialects into memory.
Index("ix_watch_sessions_open", watch_sessions.c.instance_id)
