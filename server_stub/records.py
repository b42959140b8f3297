"""What the database gives back: devices, rights and watch sessions."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class DeviceToken:
    """What opens a device's door, hashed; until `expires_at`, if another took over from it."""

    token_hash: str
    expires_at: datetime | None


@dataclass(frozen=True)
class Device:
    """One device as it is registered, with the tokens that are good now, the newest first."""

    device_id: str
    needs_token: bool
    created_at: datetime
    last_seen_at: datetime | None
    tokens: tuple[DeviceToken, ...]


@dataclass(frozen=True)
class Grant:
    """A user's right to watch a device."""

    user_id: str
    device_id: str


@dataclass(frozen=True)
class SessionRecord:
    """One watch session as it is written down."""

    session_id: str
    device_id: str
    user_id: str
    started_at: datetime
    ended_at: datetime | None
    reason: str | None
    instance_id: str | None
