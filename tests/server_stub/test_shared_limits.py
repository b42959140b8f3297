"""A rate that instances share in a real Redis."""

import asyncio
from pathlib import Path

from redis.asyncio import Redis

from server_stub.limits import RateLimit
from server_stub.redis_link import open_redis
from server_stub.shared_limits import SharedTokenBuckets
from tests.server_stub.servers import RedisServer
from tests.support import eventually


class Refusing:
    """Stands in while Redis is away: lets nobody."""

    async def wait_s(self, key: str) -> float:  # noqa: ARG002 - whoever it is
        return 7.0


async def taken(*limits: RateLimit, times: int, key: str = "user") -> int:
    """Take one so many times of each; count how often there was one."""
    waits = await asyncio.gather(*(limit.wait_s(key) for limit in limits for _ in range(times)))
    return waits.count(0.0)


async def test_instances_share_a_burst(redis_url: str) -> None:
    """What one instance let pass counts at the other; another key and another limit do not."""
    async with open_redis(redis_url) as here, open_redis(redis_url) as there:
        rate = {"per_second": 0.001, "at_once": 10}
        limits = [SharedTokenBuckets(one, "a", **rate, local=Refusing()) for one in (here, there)]
        assert await taken(*limits, times=20) == 10
        assert await taken(*limits, times=20, key="another") == 10
        assert await taken(SharedTokenBuckets(here, "b", **rate, local=Refusing()), times=20) == 10
        wait_s = await limits[0].wait_s("user")
        assert 900 < wait_s <= 1000


async def test_the_allowance_comes_back_and_leaves_nothing(redis_url: str) -> None:
    """Tokens return with time, and a full bucket is no key in Redis."""
    async with open_redis(redis_url) as link, Redis.from_url(redis_url) as redis:
        limit = SharedTokenBuckets(link, "a", per_second=20, at_once=2, local=Refusing())
        assert await taken(limit, times=5) == 2

        async def is_there_one() -> bool:
            return await limit.wait_s("user") == 0

        await eventually(is_there_one)

        async def is_forgotten() -> bool:
            return await redis.dbsize() == 0

        await eventually(is_forgotten)


async def test_a_rate_of_nothing_limits_nothing(redis_url: str) -> None:
    """0 is no limit."""
    async with open_redis(redis_url) as link:
        limit = SharedTokenBuckets(link, "a", per_second=0, at_once=1, local=Refusing())
        assert await taken(limit, times=5) == 5


async def test_without_redis_each_instance_limits_for_itself(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    """While Redis is away the local limit decides."""
    async with open_redis(redis_server.url) as link:
        limit = SharedTokenBuckets(link, "a", per_second=1, at_once=9, local=Refusing())
        assert await limit.wait_s("user") == 0
        redis_server.stop()
        assert await limit.wait_s("user") == 7
