"""Devices with their tokens, grants and watch sessions in SQL."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Row,
    Select,
    and_,
    delete,
    exists,
    insert,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError

from server_stub.database import in_batches, open_database
from server_stub.records import Device, DeviceToken, Grant
from server_stub.session_store import SessionStore, narrowed
from server_stub.tables import device_tokens, devices, grants


class DeviceExists(Exception):
    """A device of this name is there already."""


class DeviceUnknown(Exception):
    """There is no device of this name."""


class Store(SessionStore):
    """The database. Every method may raise `sqlalchemy.exc.SQLAlchemyError`."""

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
        if "\0" in device_id:
            return None  # PostgreSQL takes no NUL in a text, not even to compare it.
        found = await self._devices(_devices().where(devices.c.device_id == device_id))
        return found[0] if found else None

    async def devices(self) -> list[Device]:
        """List every device by name."""
        return await self._devices(_devices())

    async def devices_named(self, device_ids: Collection[str]) -> dict[str, Device]:
        """Look several devices up, by name; unknown ones are left out."""
        # PostgreSQL takes no NUL in a text: one such name must not spoil the question of the others.
        asked = [name for name in device_ids if "\0" not in name]
        found: dict[str, Device] = {}
        for batch in in_batches(asked):
            query = _devices().where(devices.c.device_id.in_(batch))
            found |= {device.device_id: device for device in await self._devices(query)}
        return found

    async def devices_of(self, user_id: str) -> list[Device]:
        """List the devices that a user may watch."""
        theirs = select(grants.c.device_id).where(grants.c.user_id == user_id)
        return await self._devices(_devices().where(devices.c.device_id.in_(theirs)))

    async def seen(self, device_ids: Collection[str]) -> None:
        """Note that devices are or were there now."""
        now = _now()
        for batch in in_batches(device_ids):
            query = update(devices).where(devices.c.device_id.in_(batch))
            await self._write(query.values(last_seen_at=now))

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
        if "\0" in user_id + device_id:
            return False
        rows = await self._read(select(exists().where(*_pair(user_id, device_id))))
        return bool(rows[0][0])

    async def grants(
        self, *, user_id: str | None = None, device_id: str | None = None
    ) -> list[Grant]:
        """List who may watch what, by user and device."""
        query: Select[Any] = select(grants.c.user_id, grants.c.device_id).order_by(
            "user_id", "device_id"
        )
        query = narrowed(query, grants.c.user_id, user_id)
        query = narrowed(query, grants.c.device_id, device_id)
        return [Grant(*row) for row in await self._read(query)]

    async def granted(self, pairs: Collection[Grant]) -> set[Grant]:
        """Tell which of these rights there are."""
        columns = (grants.c.user_id, grants.c.device_id)
        found: set[Grant] = set()
        for batch in in_batches(pairs):
            wanted = [(pair.user_id, pair.device_id) for pair in batch]
            rows = await self._read(select(*columns).where(tuple_(*columns).in_(wanted)))
            found |= {Grant(*row) for row in rows}
        return found

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


def _pair(user_id: str, device_id: str) -> tuple[Any, Any]:
    return grants.c.user_id == user_id, grants.c.device_id == device_id


def _now() -> datetime:
    return datetime.now(UTC)
