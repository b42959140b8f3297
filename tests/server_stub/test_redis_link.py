"""What waits for Redis is bounded, however much there is of it or however large it is."""

import asyncio

import pytest

from server_stub.redis_link import AWAY, RedisLink, open_redis
from tests.server_stub.servers import RedisServer

LARGE = "x" * 65_536


async def _fill(link: RedisLink, text: str) -> int:
    """Tell Redis, which does not answer, this text until it is refused; count how often."""
    told = 0
    while not link.tell("PUBLISH", "nobody", text).done():
        told += 1
        if told % 100 == 0:
            await asyncio.sleep(0)  # so that some are on their way
    return told


@pytest.mark.parametrize(("text", "least", "most"), [(LARGE, 500, 512), ("x", 20_000, 20_500)])
async def test_only_so_much_waits(
    redis_server: RedisServer, text: str, least: int, most: int
) -> None:
    """More is answered as if Redis were away, and there is room again when it has answered."""
    async with open_redis(redis_server.url) as link:
        for _ in range(2):
            with redis_server.frozen():
                assert least <= await _fill(link, text) <= most
            await link.settle()
            assert await link.tell("ECHO", LARGE) == LARGE.encode()
            assert link._unanswered_bytes == 0


async def test_what_redis_lost_waits_no_more(redis_server: RedisServer) -> None:
    """Its room is free with its answer, which is that Redis is away."""
    async with open_redis(redis_server.url) as link:
        redis_server.stop()
        answers = [link.tell("PUBLISH", "nobody", LARGE) for _ in range(100)]
        assert set(await asyncio.gather(*answers)) == {AWAY}
        assert link._unanswered_bytes == 0
