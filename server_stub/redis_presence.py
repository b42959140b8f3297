"""Presence that several instances share in Redis.

Each step is one script, so for everybody else it happens at once. A device's holder is
`instance|epoch|since`; whoever holds it not may neither refresh nor end it. What is local is mirrored
in this process: without Redis it goes on, and comes back there with Redis.

Several instances may come back with the same device. Each says how long ago it came there, for their
clocks may differ; `since` is when that was by Redis' clock, in Unix milliseconds. The latest wins.
"""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from server_stub.envelopes import CHANNELS
from server_stub.presence import Lease, MemoryPresence, Unreachable
from server_stub.redis_link import AWAY, NOW_MS, RedisLink

# KEYS are presence, report and epoch.
# ARGV: this instance, milliseconds to live, the device's id, what channels start with, milliseconds
# since it came. Gives the holder, or 0 if it came to another instance later. Of its own connections
# an instance knows the newest itself. A holder of the future is one of before the clock was put back.
_REGISTER = f"""{NOW_MS}
local since_ms = now_ms - ARGV[5]
local old = redis.call('GET', KEYS[1])
local at, old_since_ms = string.match(old or '', '^(%x+)|%d+|?(%d*)$')
local is_of_another = at and at ~= ARGV[1]
if is_of_another and since_ms < math.min(tonumber(old_since_ms) or 0, now_ms) then return 0 end
local epoch = redis.call('INCR', KEYS[3])
local holder = string.format('%s|%d|%.0f', ARGV[1], epoch, since_ms)
redis.call('SET', KEYS[1], holder, 'PX', ARGV[2])
redis.call('DEL', KEYS[2])
if is_of_another then
  local told = {{kind = 'replaced', sender = ARGV[1], device_id = ARGV[3], holder = old}}
  redis.call('PUBLISH', ARGV[4] .. at, cjson.encode(told))
end
return holder
"""
# ARGV: the holder, milliseconds to live.
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
# ARGV: the holder, milliseconds to live, the report.
_REPORT = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[2])
return 1
"""
_LONGEST_GATHERING_S = 1.0


@dataclass
class _Held:
    on_replaced: Callable[[], None]
    since_s: float
    holder: str | None = None
    """None: not in Redis yet, which was away."""


class RedisPresence:
    """See `Presence`. Keys of one device share a hash slot; only `:epoch` stays.

    Refreshes are gathered for a while and sent together: no heartbeat waits for Redis.
    """

    def __init__(
        self,
        link: RedisLink,
        instance_id: str,
        *,
        time_to_live_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._link = link
        self._instance_id = instance_id
        self._clock = clock
        self._local = MemoryPresence(time_to_live_s, clock)
        self._time_to_live_ms = max(1, round(time_to_live_s * 1000))
        self._held: dict[Lease, _Held] = {}
        self._due: set[Lease] = set()
        self._gathering_s = min(_LONGEST_GATHERING_S, time_to_live_s / 10)
        self._flush: asyncio.TimerHandle | None = None

    @property
    def is_away(self) -> bool:
        """See `Presence`."""
        return self._link.is_away

    async def register(self, device_id: str, on_replaced: Callable[[], None]) -> Lease:
        """See `Presence`."""
        lease = self._local.take(device_id)
        held = self._held[lease] = _Held(on_replaced, self._clock())
        await self._claim(lease, held)
        return lease

    def holds(self, lease: Lease) -> bool:
        """See `Presence`."""
        return self._local.holds(lease)

    def refresh(self, lease: Lease) -> None:
        """See `Presence`."""
        if not self._local.holds(lease) or lease not in self._held:
            return
        self._local.refresh(lease)
        self._due.add(lease)
        if self._flush is None:
            loop = asyncio.get_running_loop()
            self._flush = loop.call_later(self._gathering_s, self._refresh_all)

    async def unregister(self, lease: Lease) -> bool:
        """See `Presence`."""
        held = self._held.pop(lease, None)
        self._due.discard(lease)
        was_newest = self._local.drop(lease)
        if held is None or held.holder is None:
            return was_newest
        removed = await self._run(_UNREGISTER, lease.device_id, held.holder)
        return was_newest if removed is AWAY else bool(removed)

    async def is_online(self, device_id: str) -> bool:
        """See `Presence`. While Redis is away, of what is here."""
        found = await self._link.tell("EXISTS", _keys(device_id)[0])
        return await self._local.is_online(device_id) if found is AWAY else bool(found)

    def report(self, lease: Lease, payload: dict[str, Any]) -> None:
        """See `Presence`."""
        self._local.report(lease, payload)
        held = self._held.get(lease)
        if held is not None and held.holder is not None:
            text = json.dumps(payload)
            self._run(_REPORT, lease.device_id, held.holder, self._time_to_live_ms, text)

    async def last_report(self, device_id: str) -> dict[str, Any] | None:
        """See `Presence`."""
        found = await self._link.tell("MGET", *_keys(device_id)[:2])
        if found is AWAY:
            return await self._local.last_report(device_id)
        holder, text = found
        report: dict[str, Any] | None = json.loads(text) if holder and text else None
        return report

    async def whereabouts(self, device_id: str) -> str | None:
        """Give the instance that an online device is connected to.

        Raises:
            Unreachable: Redis is away.
        """
        holder = await self._link.tell("GET", _keys(device_id)[0])
        if holder is AWAY:
            raise Unreachable
        return None if holder is None else _instance_of(holder)

    def when_found(self, device_id: str, do: Callable[[str], object]) -> None:
        """Call `do` with the instance that a device is connected to, once Redis has said which."""
        holder = self._link.tell("GET", _keys(device_id)[0])
        holder.add_done_callback(lambda done: _pass_instance(done.result(), do))

    def take_replaced(self, device_id: str, holder: str) -> None:
        """Hear that another instance has a device, which `holder` had until then."""
        lease = self._local.newest(device_id)
        if lease is not None and (held := self._held.get(lease)) and held.holder == holder:
            self._lose(lease)

    async def come_back(self) -> None:
        """Bring everything that is here to a Redis that was away, and may have lost it."""
        for lease in tuple(self._held):
            self._renew(lease)
            self._report_again(lease)
        await self._link.settle()

    def _refresh_all(self) -> None:
        self._flush = None
        due, self._due = self._due, set()
        for lease in due:
            self._renew(lease)

    def _renew(self, lease: Lease) -> None:
        held = self._held.get(lease)
        if held is None or not self._local.holds(lease):
            return
        if held.holder is None:
            # It came while Redis was away.
            self._claim(lease, held)
        else:
            args = (held.holder, self._time_to_live_ms)
            answer = self._run(_REFRESH, lease.device_id, *args)
            answer.add_done_callback(lambda done: self._refreshed(lease, done.result()))

    def _refreshed(self, lease: Lease, answer: Any) -> None:
        if answer == 0:
            self._lose(lease)

    def _claim(self, lease: Lease, held: _Held) -> "asyncio.Future[Any]":
        """Make a lease the holder in Redis, unless another instance has a newer one.

        An instance that had the device hears of it.
        """
        # Rounded down: who came later may not seem to have come first.
        age_ms = int((self._clock() - held.since_s) * 1000)
        args = (self._instance_id, self._time_to_live_ms, lease.device_id, CHANNELS, age_ms)
        answer = self._run(_REGISTER, lease.device_id, *args)
        answer.add_done_callback(lambda done: self._claimed(lease, done.result()))
        return answer

    def _claimed(self, lease: Lease, answer: Any) -> None:
        if answer is AWAY:
            return
        if answer == 0:
            self._lose(lease)
            return
        holder = answer.decode()
        held = self._held.get(lease)
        if held is None:
            # It ended meanwhile.
            self._run(_UNREGISTER, lease.device_id, holder)
        else:
            held.holder = holder
            self._report_again(lease)

    def _report_again(self, lease: Lease) -> None:
        report = self._local.report_of(lease)
        if report is not None:
            self.report(lease, report)

    def _lose(self, lease: Lease) -> None:
        held = self._held.pop(lease, None)
        self._local.drop(lease)
        if held is not None:
            held.on_replaced()

    def _run(self, script: str, device_id: str, *args: Any) -> "asyncio.Future[Any]":
        keys = _keys(device_id)
        return self._link.tell("EVAL", script, len(keys), *keys, *args)


def _instance_of(holder: bytes) -> str:
    return holder.decode().partition("|")[0]


def _pass_instance(holder: Any, do: Callable[[str], object]) -> None:
    if holder is not None and holder is not AWAY:
        do(_instance_of(holder))


def _keys(device_id: str) -> list[str]:
    slot = f"camagent:{{{device_id}}}"
    return [f"{slot}:presence", f"{slot}:report", f"{slot}:epoch"]
