"""Who is online: presence in this process, and in Redis as well where there is one.

A registration has an epoch; only its holder may refresh or end it, so the late end of an old
connection never takes a newer one down. Presence fades by itself after 2.5 heartbeats of silence.
"""

import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

log = structlog.get_logger(__name__)

T = TypeVar("T")
HEARTBEATS_TO_LIVE = 2.5

# Each of these is one step for everybody else. KEYS are presence, report and epoch; ARGV[1] is
# the holder, ARGV[2] the milliseconds to live.
_REGISTER = """
local epoch = redis.call('INCR', KEYS[3])
redis.call('SET', KEYS[1], ARGV[1] .. '|' .. epoch, 'PX', ARGV[2])
redis.call('DEL', KEYS[2])
return epoch
"""
_REFRESH = """
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return 1
"""
_UNREGISTER = """
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1], KEYS[2])
return 1
"""
_REPORT = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[2])
return 1
"""
_PAUSE_S = 5.0


@dataclass(frozen=True)
class Lease:
    """One registration of a device: what proves that a connection is still its newest."""

    device_id: str
    epoch: int


class Presence(Protocol):
    """Who is online, and what they last said about themselves. `is_away`: others see it not."""

    is_away: bool

    async def register(self, device_id: str) -> Lease:
        """Mark a device online; an older lease of it is worth nothing from now on."""

    async def refresh(self, lease: Lease) -> bool:
        """Keep a device online; false if the lease is not the newest."""

    async def unregister(self, lease: Lease) -> bool:
        """Mark a device offline; false, and no change, if the lease is not the newest."""

    async def is_online(self, device_id: str) -> bool:
        """Tell whether a device holds a lease that has not faded."""

    async def report(self, lease: Lease, payload: dict[str, Any]) -> None:
        """Keep what a device said about itself, for as long as it is online."""

    async def last_report(self, device_id: str) -> dict[str, Any] | None:
        """Give what an online device last said about itself."""

    async def note_session(self, session_id: str, device_id: str, user_id: str) -> None:
        """Note a watch session while it lasts."""

    async def forget_session(self, session_id: str) -> None:
        """Clean up after a watch session."""


@dataclass
class _Record:
    epoch: int
    fades_at_s: float
    report: dict[str, Any] | None = None


@dataclass
class MemoryPresence:
    """Presence in this process. `time_to_live_s` is how long a silent device stays online."""

    time_to_live_s: float
    clock: Callable[[], float] = time.monotonic
    is_away: bool = False
    _records: dict[str, _Record] = field(default_factory=dict)
    _sessions: set[str] = field(default_factory=set)
    _epoch: int = 0

    async def register(self, device_id: str) -> Lease:
        """See `Presence`."""
        self._epoch += 1
        self._records[device_id] = _Record(self._epoch, self._later())
        return Lease(device_id, self._epoch)

    async def refresh(self, lease: Lease) -> bool:
        """See `Presence`."""
        record = self._records.get(lease.device_id)
        if record is None or record.epoch != lease.epoch:
            return False
        record.fades_at_s = self._later()
        return True

    async def unregister(self, lease: Lease) -> bool:
        """See `Presence`."""
        record = self._records.get(lease.device_id)
        if record is None or record.epoch != lease.epoch:
            return False
        del self._records[lease.device_id]
        return True

    async def is_online(self, device_id: str) -> bool:
        """See `Presence`."""
        return self._live(device_id) is not None

    async def report(self, lease: Lease, payload: dict[str, Any]) -> None:
        """See `Presence`."""
        record = self._records.get(lease.device_id)
        if record is not None and record.epoch == lease.epoch:
            record.report = payload

    async def last_report(self, device_id: str) -> dict[str, Any] | None:
        """See `Presence`."""
        record = self._live(device_id)
        return None if record is None else record.report

    async def note_session(self, session_id: str, device_id: str, user_id: str) -> None:  # noqa: ARG002 - the relay's own memory knows the rest
        """See `Presence`."""
        self._sessions.add(session_id)

    async def forget_session(self, session_id: str) -> None:
        """See `Presence`."""
        self._sessions.discard(session_id)

    def _live(self, device_id: str) -> _Record | None:
        record = self._records.get(device_id)
        return record if record is not None and self.clock() < record.fades_at_s else None

    def _later(self) -> float:
        return self.clock() + self.time_to_live_s


class RedisPresence:
    """Presence in Redis, mirrored in this process: without Redis, what is local goes on.

    While Redis is away it is asked every `pause_s` only, so that nobody's messages wait for it.
    Keys start with `camagent:`; those of one device share a hash slot. Only `:epoch` stays.
    """

    def __init__(
        self,
        redis: "Redis",
        *,
        time_to_live_s: float,
        session_time_to_live_s: float,
        pause_s: float = _PAUSE_S,
    ) -> None:
        self._redis = redis
        self._local = MemoryPresence(time_to_live_s)
        self._time_to_live_ms = round(time_to_live_s * 1000)
        self._session_time_to_live_ms = round(session_time_to_live_s * 1000)
        # Epochs start again when Redis was emptied; this keeps the holders apart even then.
        self._boot_id = secrets.token_hex(8)
        self._holders: dict[Lease, str] = {}
        self.is_away = False
        self._pause_s = pause_s
        self._ask_again_at_s = 0.0
        self._register = redis.register_script(_REGISTER)
        self._refresh = redis.register_script(_REFRESH)
        self._unregister = redis.register_script(_UNREGISTER)
        self._report = redis.register_script(_REPORT)

    async def register(self, device_id: str) -> Lease:
        """See `Presence`."""
        lease = await self._local.register(device_id)
        name = f"{self._boot_id}.{lease.epoch}"
        epoch = await self._ask(
            lambda: self._register(keys=_keys(device_id), args=[name, self._time_to_live_ms]), 0
        )
        self._holders[lease] = f"{name}|{epoch}"
        return lease

    async def refresh(self, lease: Lease) -> bool:
        """See `Presence`. After an absence of Redis this brings the device back there."""
        if not await self._local.refresh(lease):
            return False
        args: list[str | int] = [self._holders[lease], self._time_to_live_ms]
        return bool(
            await self._ask(lambda: self._refresh(keys=_keys(lease.device_id), args=args), 1)
        )

    async def unregister(self, lease: Lease) -> bool:
        """See `Presence`."""
        holder = self._holders.pop(lease, None)
        was_newest = await self._local.unregister(lease)
        if holder is None:
            return was_newest
        keys = _keys(lease.device_id)
        removed = await self._ask(lambda: self._unregister(keys=keys, args=[holder]), None)
        return was_newest if removed is None else bool(removed)

    async def is_online(self, device_id: str) -> bool:
        """See `Presence`."""
        found = await self._ask(lambda: self._redis.exists(_keys(device_id)[0]), None)
        return await self._local.is_online(device_id) if found is None else bool(found)

    async def report(self, lease: Lease, payload: dict[str, Any]) -> None:
        """See `Presence`."""
        await self._local.report(lease, payload)
        holder = self._holders.get(lease)
        if holder is not None:
            args: list[str | int] = [holder, self._time_to_live_ms, json.dumps(payload)]
            await self._ask(lambda: self._report(keys=_keys(lease.device_id), args=args), None)

    async def last_report(self, device_id: str) -> dict[str, Any] | None:
        """See `Presence`."""
        if not await self.is_online(device_id):
            return None
        text = await self._ask(lambda: self._redis.get(_keys(device_id)[1]), None)
        if text is None:
            return await self._local.last_report(device_id)
        report: dict[str, Any] = json.loads(text)
        return report

    async def note_session(self, session_id: str, device_id: str, user_id: str) -> None:
        """See `Presence`."""
        text = json.dumps({"device_id": device_id, "user_id": user_id})
        expiry = self._session_time_to_live_ms
        await self._ask(lambda: self._redis.set(_session_key(session_id), text, px=expiry), None)

    async def forget_session(self, session_id: str) -> None:
        """See `Presence`."""
        await self._ask(lambda: self._redis.delete(_session_key(session_id)), None)

    async def _ask(self, question: Callable[[], Awaitable[T]], otherwise: T) -> T:
        """Ask Redis; while it is away say so once, and answer `otherwise`."""
        if self.is_away and time.monotonic() < self._ask_again_at_s:
            return otherwise
        try:
            answer = await question()
        except (RedisError, OSError, TimeoutError) as error:
            if not self.is_away:
                log.warning("presence.redis_away", problem=str(error))
            self.is_away = True
            self._ask_again_at_s = time.monotonic() + self._pause_s
            return otherwise
        if self.is_away:
            log.info("presence.redis_back")
        self.is_away = False
        return answer


@asynccontextmanager
async def open_presence(
    redis_url: str | None, *, heartbeat_interval_s: float, longest_session_s: float
) -> AsyncIterator[Presence]:
    """Hold presence: in Redis if it has a URL, else in this process."""
    time_to_live_s = HEARTBEATS_TO_LIVE * heartbeat_interval_s
    if redis_url is None:
        yield MemoryPresence(time_to_live_s)
        return
    redis = Redis.from_url(
        redis_url, socket_timeout=2, socket_connect_timeout=2, retry=Retry(NoBackoff(), 0)
    )
    try:
        yield RedisPresence(
            redis, time_to_live_s=time_to_live_s, session_time_to_live_s=longest_session_s
        )
    finally:
        await redis.aclose()


def _keys(device_id: str) -> list[str]:
    slot = f"camagent:{{{device_id}}}"
    return [f"{slot}:presence", f"{slot}:report", f"{slot}:epoch"]


def _session_key(session_id: str) -> str:
    return f"camagent:session:{session_id}"
