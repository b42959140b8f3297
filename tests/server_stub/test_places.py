"""How much a user and a device may have at a time, wherever their instances are: a real Redis counts."""

import asyncio
from pathlib import Path

from redis.asyncio import Redis

from server_stub.metrics import Meters
from server_stub.quotas import TOO_MANY_SESSIONS, WatchLimits
from server_stub.redis_link import open_redis
from server_stub.shared_places import SharedPlaces
from server_stub.tasks import beside
from tests.server_stub.peers import Client, device, two_instances, viewer, watch
from tests.server_stub.servers import RedisServer
from tests.support import eventually, until

LIFE_S = 2.5


async def answers(*viewers: Client) -> list[str]:
    """Have viewers ask to watch who may not; give what each is told."""
    for one in viewers:
        await one.send("watch_request", {"device_id": "cam"})
    return [await one.error() for one in viewers]


async def test_a_user_has_so_many_sessions_in_all(redis_url: str, tmp_path: Path) -> None:
    """One more is refused wherever it is asked for, and an ended one makes room everywhere."""
    async with (
        two_instances(tmp_path, redis_url, sessions_per_user=2) as two,
        device(two) as cam,
        viewer(two) as far,
        viewer(two.of_devices) as near,
    ):
        first = await watch(far, cam)
        await watch(near, cam)
        assert await answers(far, near) == ["Too many sessions"] * 2
        await far.send("end_watch", {"session_id": first})
        await cam.payload("watch_ended")
        await watch(near, cam)
        assert await answers(far) == ["Too many sessions"]


async def test_a_device_has_so_many_viewers_in_all(redis_url: str, tmp_path: Path) -> None:
    """Its instance counts those of every other, and those get its refusal."""
    async with (
        two_instances(tmp_path, redis_url, sessions_per_device=2) as two,
        device(two) as cam,
        viewer(two) as far,
        viewer(two.of_devices) as near,
    ):
        first = await watch(far, cam)
        await watch(near, cam)
        assert await answers(far, near) == ["Device has too many viewers"] * 2
        await cam.nothing_came()
        assert len(two.of_viewers.sessions) == 1
        await far.send("end_watch", {"session_id": first})
        await cam.payload("watch_ended")
        await watch(near, cam)


async def test_without_redis_each_instance_counts_for_itself(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    """And together again when it is back, what was begun meanwhile included."""
    async with (
        two_instances(
            tmp_path, redis_server.url, sessions_per_user=2, heartbeat_interval_s=4
        ) as two,
        device(two) as cam,
        viewer(two) as far,
        viewer(two.of_devices) as near,
    ):
        redis_server.stop()
        await until(lambda: two.of_devices.presence.is_away and two.presence.is_away)
        await watch(near, cam)
        await watch(near, cam)
        assert await answers(near) == ["Too many sessions"]
        redis_server.start()
        await until(lambda: not (two.of_devices.presence.is_away or two.presence.is_away))

        async def is_counted() -> bool:
            async with Redis.from_url(redis_server.url) as redis:
                return bool(await redis.zcard("camagent:places:user:user") == 2)

        await eventually(is_counted)
        assert await answers(far) == ["Too many sessions"]


async def test_places_that_are_asked_for_at_once_are_given_once(redis_url: str) -> None:
    """However many instances ask together; another key has places of its own."""
    async with open_redis(redis_url) as here, open_redis(redis_url) as there:
        places = [
            SharedPlaces(link, "a", most=3, time_to_live_s=60) for link in (here, there, here)
        ]
        asked = [one.take("user", f"{n}-{m}") for n, one in enumerate(places) for m in range(5)]
        assert (await asyncio.gather(*asked)).count(True) == 3
        assert await places[0].take("another", "x")


async def test_the_places_of_who_was_killed_come_free(redis_url: str) -> None:
    """Nobody renews them; those of who lives stay, even if Redis forgot them."""
    async with open_redis(redis_url) as link, Redis.from_url(redis_url) as redis:
        killed, living = (SharedPlaces(link, "a", most=2, time_to_live_s=LIFE_S) for _ in range(2))
        assert await killed.take("user", "1")
        assert await living.take("user", "2")
        async with beside(living.keep()):
            assert not await living.take("user", "3")
            await eventually(lambda: living.take("user", "3"))
            assert not await living.take("user", "4")

            await redis.flushall()

            async def are_back() -> bool:
                return bool(await redis.zcard("camagent:places:a:user") == 2)

            await eventually(are_back)
        for place in ("2", "3"):
            living.leave("user", place)
        await link.settle()
        assert await redis.dbsize() == 0


async def test_who_leaves_while_asking_holds_no_place(redis_url: str) -> None:
    """Neither here nor in Redis."""
    async with open_redis(redis_url) as link, Redis.from_url(redis_url) as redis:
        limits = WatchLimits(
            requests_per_minute=0, sessions_per_user=1, sessions_per_device=0, meters=Meters()
        )
        limits.shared = SharedPlaces(link, "a", most=1, time_to_live_s=60)
        asking = asyncio.create_task(limits.take_place("user", "1"))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled()
        await link.settle()
        assert await redis.dbsize() == 0
        assert await limits.take_place("user", "2") is None
        assert await limits.take_place("user", "3") == TOO_MANY_SESSIONS
