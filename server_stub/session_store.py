"""Watch sessions in SQL."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from server_stub.database import Database, in_batches
from server_stub.records import SessionRecord
from server_stub.tables import watch_sessions

_RECORD = [watch_sessions.c[name] for name in SessionRecord.__dataclass_fields__]


class SessionStore(Database):
    """What is written down of watch sessions."""

    async def start_session(
        self,
        session_id: str,
        device_id: str,
        user_id: str,
        *,
        instance_id: str,
        at: datetime | None = None,
    ) -> None:
        """Write down that a watch session began, now or `at`, and which instance of the relay has it.

        Again changes nothing.
        """
        row = {"session_id": session_id, "device_id": device_id, "user_id": user_id}
        row |= {"instance_id": instance_id}
        # Ids are random: one that is there is this session's, written down without our hearing so.
        with suppress(IntegrityError):
            await self._write(insert(watch_sessions).values(row | {"started_at": at or _now()}))

    async def end_session(
        self, session_id: str, reason: str, *, at: datetime | None = None
    ) -> None:
        """Write down that and why a watch session ended, now or `at`. Again changes nothing."""
        query = update(watch_sessions).where(
            watch_sessions.c.session_id == session_id, watch_sessions.c.ended_at.is_(None)
        )
        await self._write(query.values(ended_at=at or _now(), reason=reason))

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

    async def left_session(
        self, session_id: str, user_id: str, *, longest_s: float
    ) -> SessionRecord | None:
        """Look up a session of this user's that is open, or that the end of a relay closed.

        Of the latter none is meant that is older than any may become, and so is over at its device.
        """
        may_be_live = watch_sessions.c.started_at > _now() - timedelta(seconds=longest_s)
        is_left = or_(
            watch_sessions.c.ended_at.is_(None),
            and_(watch_sessions.c.reason == "error", may_be_live),
        )
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
        found: set[str] = set()
        for batch in in_batches(session_ids):
            query = select(watch_sessions.c.session_id).where(
                watch_sessions.c.session_id.in_(batch),
                watch_sessions.c.end_asked_at.is_not(None),
            )
            found |= {row[0] for row in await self._read(query)}
        return found

    async def sessions(
        self, *, user_id: str | None = None, device_id: str | None = None, is_live: bool = False
    ) -> list[SessionRecord]:
        """List watch sessions, the oldest first; with `is_live`, those that have not ended."""
        query: Select[Any] = select(*_RECORD).order_by(watch_sessions.c.started_at)
        query = narrowed(query, watch_sessions.c.user_id, user_id)
        query = narrowed(query, watch_sessions.c.device_id, device_id)
        if is_live:
            query = query.where(watch_sessions.c.ended_at.is_(None))
        return [SessionRecord(*row) for row in await self._read(query)]


def narrowed(query: Select[Any], column: ColumnElement[str], value: str | None) -> Select[Any]:
    """Ask for one value of a column, or with None for any."""
    return query if value is None else query.where(column == value)


def _now() -> datetime:
    return datetime.now(UTC)
