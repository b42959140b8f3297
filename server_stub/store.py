"""Devices, grants and watch sessions in SQL."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    MetaData,
    String,
    Table,
    TypeDecorator,
    delete,
    event,
    exists,
    func,
    insert,
    make_url,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine


class _UtcDateTime(TypeDecorator[datetime]):
    """A moment that comes back with its time zone, which SQLite does not keep."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=value.tzinfo or UTC)


_metadata = MetaData()

_devices = Table(
    "devices",
    _metadata,
    Column("device_id", String(128), primary_key=True),
    Column("token_hash", String(64)),
    Column("created_at", _UtcDateTime, nullable=False),
    Column("last_seen_at", _UtcDateTime),
)
_grants = Table(
    "grants",
    _metadata,
    Column("user_id", String(128), primary_key=True),
    Column(
        "device_id",
        ForeignKey("devices.device_id", ondelete="CASCADE"),
        primary_key=True,
        index=True,
    ),
)
_sessions = Table(
    "watch_sessions",
    _metadata,
    Column("session_id", String(128), primary_key=True),
    Column("device_id", String(128), nullable=False, index=True),
    Column("user_id", String(128), nullable=False),
    Column("started_at", _UtcDateTime, nullable=False),
    Column("ended_at", _UtcDateTime),
    Column("reason", String(32)),
    Column("instance_id", String(32), index=True),
)


class DeviceExists(Exception):
    """A device of this name is there already."""


class DeviceUnknown(Exception):
    """There is no device of this name."""


@dataclass(frozen=True)
class Device:
    """One device as it is registered."""

    device_id: str
    token_hash: str | None
    created_at: datetime
    last_seen_at: datetime | None


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


class Store:
    """The database. Every method may raise `sqlalchemy.exc.SQLAlchemyError`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def add_device(self, device_id: str, *, token_hash: str | None = None) -> None:
        """Register a device.

        Raises:
            DeviceExists: it is registered.
        """
        row = {"device_id": device_id, "token_hash": token_hash, "created_at": _now()}
        try:
            await self._write(insert(_devices).values(row))
        except IntegrityError as error:
            raise DeviceExists(device_id) from error

    async def remove_device(self, device_id: str) -> None:
        """Forget a device and its grants.

        Raises:
            DeviceUnknown: there is none.
        """
        if not await self._write(delete(_devices).where(_devices.c.device_id == device_id)):
            raise DeviceUnknown(device_id)

    async def device(self, device_id: str) -> Device | None:
        """Look a device up."""
        if "\0" in device_id:
            return None  # PostgreSQL takes no NUL in a text, not even to compare it.
        rows = await self._read(select(_devices).where(_devices.c.device_id == device_id))
        return Device(*rows[0]) if rows else None

    async def devices(self) -> list[Device]:
        """List every device by name."""
        return [Device(*row) for row in await self._read(select(_devices).order_by("device_id"))]

    async def devices_of(self, user_id: str) -> list[Device]:
        """List the devices that a user may watch."""
        query = (
            select(_devices)
            .join(_grants, _grants.c.device_id == _devices.c.device_id)
            .where(_grants.c.user_id == user_id)
            .order_by(_devices.c.device_id)
        )
        return [Device(*row) for row in await self._read(query)]

    async def seen(self, device_id: str) -> None:
        """Note that a device is or was there now."""
        query = update(_devices).where(_devices.c.device_id == device_id)
        await self._write(query.values(last_seen_at=_now()))

    async def grant(self, user_id: str, device_id: str) -> None:
        """Let a user watch a device; a second time changes nothing.

        Raises:
            DeviceUnknown: there is no such device.
        """
        if await self.device(device_id) is None:
            raise DeviceUnknown(device_id)
        try:
            await self._write(insert(_grants).values(user_id=user_id, device_id=device_id))
        except IntegrityError:
            if not await self.is_granted(user_id, device_id):
                raise

    async def revoke(self, user_id: str, device_id: str) -> bool:
        """Take a user's right away; false if there was none."""
        return bool(await self._write(delete(_grants).where(*_pair(user_id, device_id))))

    async def is_granted(self, user_id: str, device_id: str) -> bool:
        """Tell whether a user may watch a device."""
        if "\0" in user_id + device_id:
            return False
        rows = await self._read(select(exists().where(*_pair(user_id, device_id))))
        return bool(rows[0][0])

    async def start_session(
        self, session_id: str, device_id: str, user_id: str, *, instance_id: str
    ) -> None:
        """Write down that a watch session began, and which instance of the relay has it."""
        row = {"session_id": session_id, "device_id": device_id, "user_id": user_id}
        row |= {"instance_id": instance_id}
        await self._write(insert(_sessions).values(row | {"started_at": _now()}))

    async def end_session(self, session_id: str, reason: str) -> None:
        """Write down that and why a watch session ended."""
        query = update(_sessions).where(
            _sessions.c.session_id == session_id, _sessions.c.ended_at.is_(None)
        )
        await self._write(query.values(ended_at=_now(), reason=reason))

    async def instances_in_sessions(self) -> list[str]:
        """List the instances that have sessions open; `""` is one of long ago, without a name."""
        query = select(_sessions.c.instance_id).where(_sessions.c.ended_at.is_(None)).distinct()
        return [row[0] or "" for row in await self._read(query)]

    async def end_forgotten_sessions(self, instance_ids: Sequence[str] | None = None) -> int:
        """Close what these instances, or all without a list, left open, with reason `error`."""
        query = update(_sessions).where(_sessions.c.ended_at.is_(None))
        if instance_ids is not None:
            query = query.where(func.coalesce(_sessions.c.instance_id, "").in_(instance_ids))
        return await self._write(query.values(ended_at=_now(), reason="error"))

    async def left_session(self, session_id: str, user_id: str) -> SessionRecord | None:
        """Look up a session of this user's that is open, or that the end of a relay closed."""
        is_left = or_(_sessions.c.ended_at.is_(None), _sessions.c.reason == "error")
        is_it = _sessions.c.session_id == session_id, _sessions.c.user_id == user_id
        rows = await self._read(select(_sessions).where(*is_it, is_left))
        return SessionRecord(*rows[0]) if rows else None

    async def sessions(self) -> list[SessionRecord]:
        """List every watch session, the oldest first."""
        rows = await self._read(select(_sessions).order_by(_sessions.c.started_at))
        return [SessionRecord(*row) for row in rows]

    async def _read(self, query: Any) -> list[Any]:
        with _one_kind_of_error():
            async with self._engine.connect() as connection:
                return list((await connection.execute(query)).all())

    async def _write(self, query: Any) -> int:
        with _one_kind_of_error():
            async with self._engine.begin() as connection:
                return int((await connection.execute(query)).rowcount)


@asynccontextmanager
async def open_store(url: str) -> AsyncIterator[Store]:
    """Hold the database at `url`, its tables made. PostgreSQL's needs no driver in its name."""
    address = make_url(url)
    if address.drivername in ("postgresql", "postgres"):
        address = address.set(drivername="postgresql+asyncpg")
    # A connection may have died since it was used: PostgreSQL was restarted, say.
    engine = create_async_engine(address, pool_pre_ping=address.get_backend_name() != "sqlite")
    if engine.dialect.name == "sqlite":
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    try:
        with _one_kind_of_error():
            async with engine.begin() as connection:
                await connection.run_sync(_metadata.create_all)
        yield Store(engine)
    except SQLAlchemyError:
        await asyncio.to_thread(_outlive_aiosqlite)
        raise
    finally:
        await engine.dispose()


@contextmanager
def _one_kind_of_error() -> Iterator[None]:
    """Make a database that cannot be reached an SQLAlchemy error, which asyncpg's is not."""
    try:
        yield
    except OSError as error:
        raise OperationalError(None, None, error) from error


def _outlive_aiosqlite() -> None:
    """Wait for the thread of a connection that failed: it complains if the loop is gone first."""
    for thread in threading.enumerate():
        if "_connection_worker_thread" in thread.name:
            thread.join(timeout=1)


def _prepare_sqlite(connection: Any, _record: object) -> None:
    """Let commands write while the server runs, and heed foreign keys."""
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=NORMAL",
        "busy_timeout=5000",
        "foreign_keys=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _pair(user_id: str, device_id: str) -> tuple[Any, Any]:
    return _grants.c.user_id == user_id, _grants.c.device_id == device_id


def _now() -> datetime:
    return datetime.now(UTC)
