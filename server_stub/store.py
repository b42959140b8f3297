"""Devices with their tokens, grants and watch sessions in SQL."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    and_,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from server_stub.database import one_kind_of_error, open_database
from server_stub.records import Device, DeviceToken, Grant, SessionRecord
from server_stub.tables import device_tokens, devices, grants, watch_sessions


class DeviceExists(Exception):
    """A device of this name is there already."""


class DeviceUnknown(Exception):
    """There is no device of this name."""


_RECORD = [watch_sessions.c[name] for name in SessionRecord.__dataclass_fields__]


class Store:
    """The database. Every method may raise `sqlalchemy.exc.SQLAlchemyError`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def add_device(self, device_id: str, *, token_hash: str | None = None) -> None:
        """Register a device, with a token or for whoever gives its name.

        Raises:
            DeviceExists: it is registered.
        """
        now = _now()
        row = {"device_id": device_id, "created_at": now, "needs_token": token_hash is not None}
        queries = [insert(devices).values(row)]
        if token_hash is not None:
            queries.append(_insert_token(device_id, token_hash, now))
        try:
            await self._write(*queries)
        except IntegrityError as error:
            raise DeviceExists(device_id) from error

    async def remove_device(self, device_id: str) -> None:
        """Forget a device, its tokens and its grants.

        Raises:
            DeviceUnknown: there is none.
        """
        if not await self._write(delete(devices).where(devices.c.device_id == device_id)):
            raise DeviceUnknown(device_id)

    async def rotate_token(
        self, device_id: str, token_hash: str, *, others_until: datetime
    ) -> None:
        """Give a device a new token; the others are good until `others_until` at the latest.

        Raises:
            DeviceUnknown: there is none.
        """
        now, others = _now(), device_tokens.c.device_id == device_id
        expires_at = device_tokens.c.expires_at
        is_later = or_(expires_at.is_(None), expires_at > others_until)
        await self._change_device(
            device_id,
            update(device_tokens).where(others, is_later).values(expires_at=others_until),
            delete(device_tokens).where(others, expires_at <= now),
            _insert_token(device_id, token_hash, now),
        )

    async def revoke_tokens(self, device_id: str) -> None:
        """Keep a device out until it is given a new token.

        Raises:
            DeviceUnknown: there is none.
        """
        is_its = device_tokens.c.device_id == device_id
        await self._change_device(device_id, delete(device_tokens).where(is_its))

    async def device(self, device_id: str) -> Device | None:
        """Look a device up."""
        found = await self._devices(_devices().where(devices.c.device_id == device_id))
        return found[0] if found else None

    async def devices(self) -> list[Device]:
        """List every device by name."""
        return await self._devices(_devices())

    async def devices_named(self, device_ids: Collection[str]) -> dict[str, Device]:
        """Look several devices up, by name; unknown ones are left out."""
        # PostgreSQL takes no NUL in a text: one such name must not spoil the question of the others.
        asked = [name for name in device_ids if "\0" not in name]
        found = await self._devices(_devices().where(devices.c.device_id.in_(asked)))
        return {device.device_id: device for device in found}

    async def devices_of(self, user_id: str) -> list[Device]:
        """List the devices that a user may watch."""
        theirs = select(grants.c.device_id).where(grants.c.user_id == user_id)
        return await self._devices(_devices().where(devices.c.device_id.in_(theirs)))

    async def seen(self, device_ids: Collection[str]) -> None:
        """Note that devices are or were there now."""
        query = update(devices).where(devices.c.device_id.in_(device_ids))
        await self._write(query.values(last_seen_at=_now()))

    async def grant(self, user_id: str, device_id: str) -> None:
        """Let a user watch a device; a second time changes nothing.

        Raises:
            DeviceUnknown: there is no such device.
        """
        if await self.device(device_id) is None:
            raise DeviceUnknown(device_id)
        try:
            await self._write(insert(grants).values(user_id=user_id, device_id=device_id))
        except IntegrityError:
            if not await self.is_granted(user_id, device_id):
                raise

    async def revoke(self, user_id: str, device_id: str) -> bool:
        """Take a user's right away; false if there was none."""
        return bool(await self._write(delete(grants).where(*_pair(user_id, device_id))))

    async def is_granted(self, user_id: str, device_id: str) -> bool:
        """Tell whether a user may watch a device."""
        rows = await self._read(select(exists().where(*_pair(user_id, device_id))))
        return bool(rows[0][0])

    async def grants(
        self, *, user_id: str | None = None, device_id: str | None = None
    ) -> list[Grant]:
        """List who may watch what, by user and device."""
        query: Select[Any] = select(grants.c.user_id, grants.c.device_id).order_by(
            "user_id", "device_id"
        )
        query = _narrowed(query, grants.c.user_id, user_id)
        query = _narrowed(query, grants.c.device_id, device_id)
        return [Grant(*row) for row in await self._read(query)]

    async def granted(self, pairs: Collection[Grant]) -> set[Grant]:
        """Tell which of these rights there are."""
        columns = (grants.c.user_id, grants.c.device_id)
        wanted = [(pair.user_id, pair.device_id) for pair in pairs]
        rows = await self._read(select(*columns).where(tuple_(*columns).in_(wanted)))
        return {Grant(*row) for row in rows}

    async def start_session(
        self, session_id: str, device_id: str, user_id: str, *, instance_id: str
    ) -> None:
        """Write down that a watch session began, and which instance of the relay has it."""
        row = {"session_id": session_id, "device_id": device_id, "user_id": user_id}
        row |= {"instance_id": instance_id}
        await self._write(insert(watch_sessions).values(row | {"started_at": _now()}))

    async def end_session(self, session_id: str, reason: str) -> None:
        """Write down that and why a watch session ended."""
        query = update(watch_sessions).where(
            watch_sessions.c.session_id == session_id, watch_sessions.c.ended_at.is_(None)
        )
        await self._write(query.values(ended_at=_now(), reason=reason))

    async def instances_in_sessions(self) -> list[str]:
        """List the instances that have sessions open; `""` is one of long ago, without a name."""
        is_open = watch_sessions.c.ended_at.is_(None)
        query = select(watch_sessions.c.instance_id).where(is_open).distinct()
        return [row[0] or "" for row in await self._read(query)]

    async def end_forgotten_sessions(self, instance_ids: Sequence[str] | None = None) -> int:
        """Close what these instances, or all without a list, left open, with reason `error`."""
        query = update(watch_sessions).where(watch_sessions.c.ended_at.is_(None))
        if instance_ids is not None:
            query = query.where(func.coalesce(watch_sessions.c.instance_id, "").in_(instance_ids))
        return await self._write(query.values(ended_at=_now(), reason="error"))

    async def left_session(self, session_id: str, user_id: str) -> SessionRecord | None:
        """Look up a session of this user's that is open, or that the end of a relay closed."""
        is_left = or_(watch_sessions.c.ended_at.is_(None), watch_sessions.c.reason == "error")
        is_it = watch_sessions.c.session_id == session_id, watch_sessions.c.user_id == user_id
        rows = await self._read(select(*_RECORD).where(*is_it, is_left))
        return SessionRecord(*rows[0]) if rows else None

    async def ask_to_end(self, session_id: str) -> bool:
        """Have whichever relay runs a session end it; false if there is no such live one."""
        query = update(watch_sessions).where(
            watch_sessions.c.session_id == session_id, watch_sessions.c.ended_at.is_(None)
        )
        return bool(await self._write(query.values(end_asked_at=_now())))

    async def asked_to_end(self, session_ids: Sequence[str]) -> set[str]:
        """Tell which of these sessions somebody wants to end."""
        query = select(watch_sessions.c.session_id).where(
            watch_sessions.c.session_id.in_(session_ids),
            watch_sessions.c.end_asked_at.is_not(None),
        )
        return {row[0] for row in await self._read(query)}

    async def sessions(
        self, *, user_id: str | None = None, device_id: str | None = None, is_live: bool = False
    ) -> list[SessionRecord]:
        """List watch sessions, the oldest first; with `is_live`, those that have not ended."""
        query: Select[Any] = select(*_RECORD).order_by(watch_sessions.c.started_at)
        query = _narrowed(query, watch_sessions.c.user_id, user_id)
        query = _narrowed(query, watch_sessions.c.device_id, device_id)
        if is_live:
            query = query.where(watch_sessions.c.ended_at.is_(None))
        return [SessionRecord(*row) for row in await self._read(query)]

    async def answer(self) -> None:
        """Show that the database can be read."""
        await self._read(select(1))

    async def _change_device(self, device_id: str, *queries: Any) -> None:
        """Change the tokens of a device, which needs one from now on."""
        device = update(devices).where(devices.c.device_id == device_id).values(needs_token=True)
        try:
            # It comes first, and holds up whoever else changes or removes this device.
            if not await self._write(device, *queries):
                raise DeviceUnknown(device_id)
        except IntegrityError as error:
            raise DeviceUnknown(device_id) from error

    async def _devices(self, query: Select[Any]) -> list[Device]:
        """Gather the rows of each device, which has one for each token and at least one."""
        gathered: dict[str, tuple[Row[Any], list[DeviceToken]]] = {}
        for row in await self._read(query):
            _, tokens = gathered.setdefault(row.device_id, (row, []))
            if row.token_hash is not None:
                tokens.append(DeviceToken(row.token_hash, row.expires_at))
        return [
            Device(row.device_id, row.needs_token, row.created_at, row.last_seen_at, tuple(tokens))
            for row, tokens in gathered.values()
        ]

    async def _read(self, query: Any) -> list[Any]:
        with one_kind_of_error():
            async with self._engine.connect() as connection:
                return list((await connection.execute(query)).all())

    async def _write(self, *queries: Any) -> int:
        """Do it all or nothing; give how many rows the first query concerned."""
        with one_kind_of_error():
            async with self._engine.begin() as connection:
                counts = [(await connection.execute(query)).rowcount for query in queries]
        return int(counts[0])


@asynccontextmanager
async def open_store(url: str) -> AsyncIterator[Store]:
    """Hold the database at `url`, its tables made or brought up to date."""
    async with open_database(url) as engine:
        yield Store(engine)


def _devices() -> Select[Any]:
    """Ask for devices with the tokens that are good now."""
    is_good = or_(device_tokens.c.expires_at.is_(None), device_tokens.c.expires_at > _now())
    tokens = devices.outerjoin(
        device_tokens, and_(device_tokens.c.device_id == devices.c.device_id, is_good)
    )
    return (
        select(*devices.c, device_tokens.c.token_hash, device_tokens.c.expires_at)
        .select_from(tokens)
        .order_by(devices.c.device_id, device_tokens.c.created_at.desc())
    )


def _insert_token(device_id: str, token_hash: str, now: datetime) -> Any:
    row = {"device_id": device_id, "token_hash": token_hash, "created_at": now}
    return insert(device_tokens).values(row)


def _narrowed(query: Select[Any], column: ColumnElement[str], value: str | None) -> Select[Any]:
    return query if value is None else query.where(column == value)


def _pair(user_id: str, device_id: str) -> tuple[Any, Any]:
    return grants.c.user_id == user_id, grants.c.device_id == device_id


def _now() -> datetime:
    return datetime.now(UTC)
