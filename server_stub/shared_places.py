"""How many places a key has taken at a time, counted by all instances of a relay in Redis.

Each place is a lease, which whoever took it renews: those of an instance that was killed end by
themselves, and those that Redis lost are there again with the next renewal.
"""

import asyncio
from collections import defaultdict
from typing import Any

from server_stub.redis_link import AWAY, NOW_MS, RedisLink

_RENEWALS_PER_LIFE = 3

# KEYS: the places, each with when its lease ends. ARGV: milliseconds to live, how many may be, the new one.
_TAKE = f"""{NOW_MS}
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], now_ms + ARGV[1], ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
"""
# ARGV: milliseconds to live, and the places.
_RENEW = f"""{NOW_MS}
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], now_ms + ARGV[1], ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
"""


class SharedPlaces:
    """At most `most` places of each key. While Redis is away everybody gets one."""

    def __init__(self, link: RedisLink, name: str, *, most: int, time_to_live_s: float) -> None:
        self._link = link
        self._name = name
        self._most = most
        self._time_to_live_s = time_to_live_s
        self._time_to_live_ms = max(1, round(time_to_live_s * 1000))
        self._held: defaultdict[str, set[str]] = defaultdict(set)

    async def take(self, key: str, place: str) -> bool:
        """Take a place; false if there is none. `leave` has to follow, also if this is cancelled."""
        answer = await self._run(_TAKE, key, self._most, place)
        is_taken = answer is AWAY or bool(answer)
        if is_taken:
            self._held[key].add(place)
        return is_taken

    def leave(self, key: str, place: str) -> None:
        """Give a place back, whether or not it was got."""
        if held := self._held.get(key):
            held.discard(place)
            if not held:
                del self._held[key]
        self._link.tell("ZREM", self._key(key), place)

    async def keep(self) -> None:
        """Renew what is taken here, until cancelled."""
        while True:
            await asyncio.sleep(self._time_to_live_s / _RENEWALS_PER_LIFE)
            for key, places in self._held.items():
                self._run(_RENEW, key, *places)

    def _run(self, script: str, key: str, *args: object) -> "asyncio.Future[Any]":
        return self._link.tell("EVAL", script, 1, self._key(key), self._time_to_live_ms, *args)

    def _key(self, key: str) -> str:
        return f"camagent:places:{self._name}:{key}"
