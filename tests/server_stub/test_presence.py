"""What presence promises, held against this process's memory and against a real Redis."""

import asyncio
import functools
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from server_stub.presence import MemoryPresence, Presence, Unreachable, new_instance_id
from server_stub.redis_link import open_redis
from server_stub.redis_presence import RedisPresence
from tests.server_stub.servers import RedisServer
from tests.support import eventually, until

LONG_S = 60.0
SHORT_S = 0.2
# Long enough for a busy machine, on which nobody refreshes for a while.
STEADY_S = 1.6


def ignored() -> None:
    """Take a takeover for granted."""


@asynccontextmanager
async def in_redis(url: str, time_to_live_s: float = LONG_S) -> AsyncIterator[RedisPresence]:
    async with open_redis(url) as link:
        yield RedisPresence(link, new_instance_id(), time_to_live_s=time_to_live_s)


Opened = Callable[[float], Any]


@pytest.fixture(params=["memory", "redis"])
def opened(request: pytest.FixtureRequest) -> Opened:
    """Give what holds a presence with a given time to live."""

    @asynccontextmanager
    async def in_memory(time_to_live_s: float) -> AsyncIterator[Presence]:
        yield MemoryPresence(time_to_live_s)

    if request.param == "memory":
        return in_memory
    url = request.getfixturevalue("redis_url")
    return lambda time_to_live_s: in_redis(url, time_to_live_s)


@pytest.fixture
async def presence(opened: Opened) -> AsyncIterator[Presence]:
    async with opened(LONG_S) as held:
        yield held


# The contract


async def test_a_device_is_online_while_it_is_registered(presence: Presence) -> None:
    """Registered is online, unregistered is not, and neither is anybody else."""
    assert not await presence.is_online("cam")
    lease = await presence.register("cam", ignored)
    assert await presence.is_online("cam")
    assert not await presence.is_online("another")
    assert await presence.unregister(lease)
    assert not await presence.is_online("cam")


async def test_only_the_newest_lease_counts(presence: Presence) -> None:
    """An older lease neither keeps, nor ends, nor speaks for what a newer one holds."""
    older = await presence.register("cam", ignored)
    newer = await presence.register("cam", ignored)
    assert newer != older
    presence.report(newer, {"battery": 85})
    presence.report(older, {"battery": 1})
    presence.refresh(older)
    presence.refresh(newer)
    assert presence.holds(newer)
    assert not presence.holds(older)
    assert not await presence.unregister(older)
    assert await presence.is_online("cam")
    assert await presence.last_report("cam") == {"battery": 85}
    assert await presence.unregister(newer)
    assert not await presence.is_online("cam")


async def test_a_lease_ends_once(presence: Presence) -> None:
    """What is over cannot be kept or ended again, whoever is there meanwhile."""
    lease = await presence.register("cam", ignored)
    assert await presence.unregister(lease)
    assert not await presence.unregister(lease)
    presence.refresh(lease)
    assert not await presence.is_online("cam")
    await presence.register("cam", ignored)
    assert not await presence.unregister(lease)
    assert await presence.is_online("cam")


async def test_a_report_lasts_as_long_as_its_connection(presence: Presence) -> None:
    """The last report counts, and a new connection starts without one."""
    assert await presence.last_report("cam") is None
    lease = await presence.register("cam", ignored)
    assert await presence.last_report("cam") is None
    presence.report(lease, {"battery": 85, "lens": {"zoom": [1, 2.5, None, "\u00fc"]}})
    presence.report(lease, {"recording": True})
    assert await presence.last_report("cam") == {"recording": True}
    await presence.register("cam", ignored)
    assert await presence.last_report("cam") is None


async def test_a_silent_device_fades(opened: Opened) -> None:
    """Without refreshes a device goes offline, its report with it; it ends without a fuss."""
    async with opened(SHORT_S) as presence:
        lease = await presence.register("cam", ignored)
        presence.report(lease, {"battery": 85})

        async def is_offline() -> bool:
            return not await presence.is_online("cam")

        await eventually(is_offline)
        assert await presence.last_report("cam") is None
        assert await presence.unregister(lease)


async def test_a_refreshed_device_stays(opened: Opened) -> None:
    """Refreshes keep a device and its report beyond its time to live."""
    async with opened(STEADY_S) as presence:
        lease = await presence.register("cam", ignored)
        presence.report(lease, {"battery": 85})
        until_s = time.monotonic() + 1.2 * STEADY_S
        while time.monotonic() < until_s:
            presence.refresh(lease)
            await asyncio.sleep(STEADY_S / 50)
        assert await presence.last_report("cam") == {"battery": 85}


async def test_a_late_refresh_brings_a_faded_device_back(opened: Opened) -> None:
    """A device that was slow is online again with its next heartbeat."""
    async with opened(SHORT_S) as presence:
        lease = await presence.register("cam", ignored)

        async def is_offline() -> bool:
            return not await presence.is_online("cam")

        async def is_back() -> bool:
            presence.refresh(lease)
            return await presence.is_online("cam")

        await eventually(is_offline)
        await eventually(is_back)


@pytest.mark.parametrize("device_id", ["a b", "{a}:presence", "}{", "\u00fc\u20ac", "x" * 128, "*"])
async def test_any_name_will_do(presence: Presence, device_id: str) -> None:
    """Names with the characters of keys and patterns are names like others."""
    lease = await presence.register(device_id, ignored)
    presence.report(lease, {"is": device_id})
    assert await presence.last_report(device_id) == {"is": device_id}
    assert not await presence.is_online("a")
    assert await presence.unregister(lease)


def test_memory_fades_by_its_clock() -> None:
    """Presence lasts exactly its time to live."""
    now_s = 100.0
    presence = MemoryPresence(75.0, clock=lambda: now_s)

    async def run() -> None:
        nonlocal now_s
        await presence.register("cam", ignored)
        now_s = 174.9
        assert await presence.is_online("cam")
        now_s = 175.0
        assert not await presence.is_online("cam")

    asyncio.run(run())


# Redis


async def test_nothing_is_left_in_redis(lasting_redis: RedisServer, redis_url: str) -> None:
    """What is over is cleaned up, and what is not fades; only the counter of epochs stays."""
    async with in_redis(redis_url) as presence, Redis.from_url(redis_url) as redis:
        lease = await presence.register("cam", ignored)
        presence.report(lease, {"battery": 85})
        await presence.is_online("cam")
        names = {f"camagent:{{cam}}:{name}" for name in ("presence", "report", "epoch")}
        assert await lasting_redis.keys() == names
        for key in names:
            assert (await redis.pttl(key) > 0) == ("epoch" not in key)
        await presence.unregister(lease)
        assert await lasting_redis.keys() == {"camagent:{cam}:epoch"}


async def test_two_instances_share_what_they_know(redis_url: str) -> None:
    """A device that moves to another instance is that one's, and visible from both."""
    async with in_redis(redis_url) as here, in_redis(redis_url) as there:
        older = await here.register("cam", ignored)
        newer = await there.register("cam", ignored)
        there.report(newer, {"battery": 85})
        assert await there.is_online("cam")
        assert not await here.unregister(older)
        assert await here.is_online("cam")
        assert await here.last_report("cam") == {"battery": 85}
        assert await there.unregister(newer)
        assert not await here.is_online("cam")


async def test_an_old_lease_is_lost_with_its_next_refresh(redis_url: str) -> None:
    """Who did not hear of a takeover finds out by itself, and leaves the newest in peace."""
    lost: list[str] = []
    async with in_redis(redis_url, SHORT_S) as here, in_redis(redis_url) as there:
        older = await here.register("cam", lambda: lost.append("here"))
        newer = await there.register("cam", lambda: lost.append("there"))
        here.refresh(older)
        await until(lambda: lost)
        assert not here.holds(older)
        there.refresh(newer)
        assert await there.unregister(newer)
        assert lost == ["here"]


def _round_trips(presence: RedisPresence) -> list[int]:
    """Note how many commands each further round trip to Redis carries."""
    calls: list[int] = []
    execute = presence._link._execute

    async def noted(commands: Any) -> list[Any]:
        calls.append(len(commands))
        return await execute(commands)

    presence._link._execute = noted  # type: ignore[method-assign]
    return calls


async def test_refreshes_wait_for_nobody_and_travel_together(redis_url: str) -> None:
    """Many heartbeats are one round trip, and none of them waits for it."""
    async with in_redis(redis_url, 3.0) as presence, Redis.from_url(redis_url) as redis:
        leases = [await presence.register(f"cam-{number}", ignored) for number in range(200)]
        for lease in leases:
            await redis.pexpire(f"camagent:{{{lease.device_id}}}:presence", 60_000)
        calls = _round_trips(presence)
        for lease in leases:
            presence.refresh(lease)
        assert calls == []

        async def are_refreshed() -> bool:
            left_ms = [await redis.pttl(f"camagent:{{cam-{n}}}:presence") for n in range(200)]
            return max(left_ms) <= 3000

        await eventually(are_refreshed)
        assert calls == [200]


async def test_a_report_outlasts_its_time_in_redis(redis_url: str) -> None:
    """Refreshes keep a report there, too, where another instance reads it."""
    async with in_redis(redis_url, STEADY_S) as here, in_redis(redis_url, STEADY_S) as there:
        lease = await here.register("cam", ignored)
        here.report(lease, {"battery": 85})
        until_s = time.monotonic() + 1.2 * STEADY_S
        while time.monotonic() < until_s:
            here.refresh(lease)
            await asyncio.sleep(STEADY_S / 50)
        assert await there.last_report("cam") == {"battery": 85}


# Races, as many as show what is left out: without the scripts about half of them are lost


RACES = 400
_LONGEST_JITTER_S = 0.002


async def _many(race: Callable[[int], Awaitable[None]]) -> None:
    """Run the races, some beside each other."""
    numbers = iter(range(RACES))

    async def work() -> None:
        for number in numbers:
            await race(number)

    await asyncio.gather(*(work() for _ in range(20)))


async def _soon(work: Awaitable[Any], order: random.Random) -> Any:
    """Do it a moment later, so that either of two may be first at Redis."""
    await asyncio.sleep(order.uniform(0, _LONGEST_JITTER_S))
    return await work


async def test_a_late_end_never_takes_a_newer_registration_down(redis_url: str) -> None:
    """Whichever comes first to Redis, the device is online and the newest instance's."""
    order = random.Random(8)  # noqa: S311 - moments to try
    was_first: Counter[bool] = Counter()
    async with in_redis(redis_url) as here, in_redis(redis_url) as there:

        async def race(number: int) -> None:
            device_id = f"cam-{number}"
            older = await here.register(device_id, ignored)
            ended, _ = await asyncio.gather(
                _soon(here.unregister(older), order),
                _soon(there.register(device_id, ignored), order),
            )
            was_first[ended] += 1
            assert await here.is_online(device_id)
            assert await here.whereabouts(device_id) == there._instance_id

        await _many(race)
    assert min(was_first[True], was_first[False]) > RACES / 20, "both orders have to occur"


async def test_of_two_registrations_one_wins_and_the_other_knows(redis_url: str) -> None:
    """However they overlap, exactly one lease can be refreshed: the one that Redis names."""
    order = random.Random(8)  # noqa: S311 - moments to try
    async with in_redis(redis_url) as here, in_redis(redis_url) as there:
        lost: list[tuple[int, RedisPresence]] = []

        async def race(number: int) -> None:
            leases = await asyncio.gather(
                *(
                    _soon(
                        side.register(
                            f"cam-{number}", functools.partial(lost.append, (number, side))
                        ),
                        order,
                    )
                    for side in (here, there)
                )
            )
            here.refresh(leases[0])
            there.refresh(leases[1])

        await _many(race)
        await until(lambda: len(lost) >= RACES)
        for number, side in lost:
            winner = there if side is here else here
            assert await side.whereabouts(f"cam-{number}") == winner._instance_id
        assert sorted(number for number, _ in lost) == list(range(RACES))
        assert len({side for _, side in lost}) == 2, "each has to win now and then"


# Without Redis


async def test_what_is_local_goes_on_without_redis(
    redis_server: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """While Redis is away this process answers; afterwards all of it is there again."""
    async with open_redis(redis_server.url) as link:
        presence = RedisPresence(link, new_instance_id(), time_to_live_s=LONG_S)
        lease = await presence.register("cam", ignored)
        presence.report(lease, {"battery": 85})
        assert not presence.is_away
        redis_server.stop()
        for _ in range(3):
            assert await presence.is_online("cam")
            presence.refresh(lease)
        assert presence.is_away
        assert await presence.last_report("cam") == {"battery": 85}
        second = await presence.register("second", ignored)
        with pytest.raises(Unreachable):
            await presence.whereabouts("cam")

        redis_server.start()
        assert link.back()
        await presence.come_back()
        expected = {"camagent:{cam}:presence", "camagent:{cam}:report"}
        assert expected | {"camagent:{second}:presence"} <= await redis_server.keys()
        assert await presence.unregister(lease)
        assert await presence.unregister(second)
        assert not {key for key in await redis_server.keys() if "presence" in key}
    said = capsys.readouterr().out
    assert said.count("redis.away") == 1
    assert said.count("redis.back") == 1


async def test_who_came_while_redis_was_away_is_the_newest(redis_server: RedisServer) -> None:
    """A device that moved meanwhile is not lost to the connection that Redis remembers."""
    lost: list[str] = []
    async with in_redis(redis_server.url) as here, open_redis(redis_server.url) as link:
        there = RedisPresence(link, new_instance_id(), time_to_live_s=LONG_S)
        older = await here.register("cam", lambda: lost.append("here"))
        link.lost(OSError("as told"))
        newer = await there.register("cam", lambda: lost.append("there"))
        link.back()
        await there.come_back()
        assert await here.whereabouts("cam") == there._instance_id
        here._renew(older)
        there._renew(newer)
        await until(lambda: lost)
        assert await there.unregister(newer)
        assert lost == ["here"]


@pytest.mark.parametrize("newer_is_first", [True, False])
async def test_of_those_who_came_while_redis_was_away_the_last_wins(
    redis_url: str, *, newer_is_first: bool
) -> None:
    """In whichever order their instances come back: that says nothing about their connections."""
    lost: list[str] = []
    now_s = 100.0
    async with open_redis(redis_url) as one, open_redis(redis_url) as another:
        here, there = (
            RedisPresence(link, new_instance_id(), time_to_live_s=LONG_S, clock=lambda: now_s)
            for link in (one, another)
        )
        for link in (one, another):
            link.lost(OSError("as told"))
        older = await here.register("cam", lambda: lost.append("here"))
        now_s = 101.0
        newer = await there.register("cam", lambda: lost.append("there"))
        now_s = 102.0
        for link in (one, another):
            link.back()
        for side in (there, here) if newer_is_first else (here, there):
            await side.come_back()
        here._renew(older)
        there._renew(newer)
        await one.settle()
        await another.settle()
        await until(lambda: lost)
        assert not here.holds(older)
        assert await here.whereabouts("cam") == there._instance_id
        assert await there.unregister(newer)
    assert lost == ["here"]


async def test_who_came_after_redis_was_back_is_newer_than_who_came_before(
    redis_url: str,
) -> None:
    """A claim that comes late takes the device from nobody, and the instance of it knows."""
    lost: list[str] = []
    now_s = 100.0
    async with in_redis(redis_url) as there, open_redis(redis_url) as link:
        here = RedisPresence(link, new_instance_id(), time_to_live_s=LONG_S, clock=lambda: now_s)
        link.lost(OSError("as told"))
        await here.register("cam", lambda: lost.append("here"))
        newer = await there.register("cam", lambda: lost.append("there"))
        there.report(newer, {"battery": 85})
        now_s = 101.0
        link.back()
        await here.come_back()
        assert lost == ["here"]
        assert await here.last_report("cam") == {"battery": 85}
        assert await there.unregister(newer)


async def test_a_clock_that_was_put_back_keeps_nobody_out(redis_url: str) -> None:
    """A holder of the future is no newer than who comes now; nor is one of an older release."""
    async with in_redis(redis_url) as presence, Redis.from_url(redis_url) as redis:
        for holder in ("00ff|7|9999999999999", "00ff|7"):
            await redis.set("camagent:{cam}:presence", holder, px=60_000)
            lease = await presence.register("cam", ignored)
            assert await presence.whereabouts("cam") == presence._instance_id
            assert await presence.unregister(lease)


async def test_what_redis_refuses_for_one_device_is_nothing_to_others(redis_url: str) -> None:
    """A key of the wrong kind costs its own device the presence, and nobody else."""
    async with in_redis(redis_url) as presence, Redis.from_url(redis_url) as redis:
        await redis.lpush("camagent:{odd}:presence", "no text")
        odd = await presence.register("odd", ignored)
        await presence.register("cam", ignored)
        presence.report(odd, {"battery": 85})
        assert await presence.is_online("cam")
        assert not presence._link.is_away


async def test_a_frozen_redis_is_waited_for_once(redis_server: RedisServer) -> None:
    """A Redis that hangs costs one time-out and not one for each question."""
    async with in_redis(redis_server.url) as presence:
        await presence.register("cam", ignored)
        with redis_server.frozen():
            began_at_s = time.monotonic()
            for _ in range(50):
                assert await presence.is_online("cam")
            assert time.monotonic() - began_at_s < 10, "fifty time-outs take longer"
