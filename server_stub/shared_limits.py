"""A rate per key that all instances of a relay share: token buckets in Redis, a script each."""

from server_stub.limits import RateLimit, Sharing, TokenBuckets
from server_stub.redis_link import AWAY, RedisLink

# KEYS: the bucket. ARGV: tokens per second, how many it holds.
# Gives the milliseconds until there is a token, 0 if one was taken. Full buckets are not kept.
_TAKE = """
local rate, size = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now_s = time[1] + time[2] / 1e6
local held = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = size
if held[1] then
  tokens = math.min(size, held[1] + math.max(0, now_s - held[2]) * rate)
end
local wait_ms = 0
if tokens < 1 then
  wait_ms = math.ceil((1 - tokens) / rate * 1000)
else
  tokens = tokens - 1
end
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', string.format('%.6f', now_s))
redis.call('PEXPIRE', KEYS[1], math.ceil((size - tokens) / rate * 1000) + 1)
return wait_ms
"""


class SharedTokenBuckets:
    """A `RateLimit` of all instances: `at_once`, and `per_second` in the long run.

    `name` tells it from other limits. While Redis is away `local` stands in, on each instance.
    """

    def __init__(
        self, link: RedisLink, name: str, *, per_second: float, at_once: int, local: RateLimit
    ) -> None:
        self._link = link
        self._name = name
        self._per_second = per_second
        self._at_once = at_once
        self._local = local

    async def wait_s(self, key: str) -> float:
        """See `RateLimit`. `per_second` of 0 limits nothing."""
        if not self._per_second:
            return 0.0
        bucket = f"camagent:limit:{self._name}:{key}"
        answer = await self._link.tell("EVAL", _TAKE, 1, bucket, self._per_second, self._at_once)
        return await self._local.wait_s(key) if answer is AWAY else float(answer) / 1000


def shared_over(link: RedisLink) -> Sharing:
    """Have instances that reach the same Redis count together."""

    def share(name: str, local: TokenBuckets) -> RateLimit:
        return SharedTokenBuckets(
            link, name, per_second=local.per_second, at_once=local.at_once, local=local
        )

    return share
