"""What presence promises, held against this process's memory and against a real Redis."""

import asyncio
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from server_stub.bus import (
    MemoryPresence,
    Presence,
    RedisPresence,
    open_presence,
)

from tests.server_stub.peers import device, relay_at, viewer, watch
from tests.support import eventually

Program = Callable[[str, str], str]
LONG_S = 60.0
SHORT_S = 0.2


class RedisServer:
    """A Redis of our own behind a Unix socket, which can be stopped and started again."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{folder / 'redis.sock'}"

    def start(self) -> None:
        path = self._folder / "redis.sock"
        self._process = subprocess.Popen(
            [
                self._program,
                "--port",
                "0",
                "--unixsocket",
                path,
                "--save",
                "",
                "--dir",
                self._folder,
            ],
            stdout=subprocess.DEVNULL,
        )
        deadline_s = time.monotonic() + 15
        while not self._answers(path):
            assert time.monotonic() < deadline_s
            assert self._process.poll() is None
            time.sleep(0.01)

    def _answers(self, path: Path) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except OSError:
                return False
            probe.sendall(b"PING\r\n")
            return probe.recv(16).startswith(b"+PONG")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let it accept and answer nothing, as a machine does that swaps itself to death."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._process.pid, signal.SIGCONT)


@pytest.fixture
def redis_server(program: Program, tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(program("redis-server", "redis-server"), tmp_path)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@asynccontextmanager
async def in_redis(url: str, time_to_live_s: float = LONG_S) -> AsyncIterator[RedisPresence]:
    async with Redis.from_url(url, socket_timeout=2) as redis:
        yield RedisPresence(
            redis, time_to_live_s=time_to_live_s, session_time_to_live_s=LONG_S, pause_s=0.05
        )


async def keys(url: str) -> set[str]:
    async with Redis.from_url(url) as redis:
        return {key.decode() for key in await redis.keys("*")}


Opened = Callable[[float], Any]


@pytest.fixture(params=["memory", "redis"])
def opened(request: pytest.FixtureRequest) -> Opened:
    """Give what holds a presence with a given time to live."""

    @asynccontextmanager
    async def in_memory(time_to_live_s: float) -> AsyncIterator[Presence]:
        yield MemoryPresence(time_to_live_s)

    if request.param == "memory":
        return in_memory
    url = request.getfixturevalue("redis_server").url
    return lambda time_to_live_s: in_redis(url, time_to_live_s)


@pytest.fixture
async def presence(opened: Opened) -> AsyncIterator[Presence]:
    async with opened(LONG_S) as held:
        yield held


# The contract


async def test_a_device_is_online_while_it_is_registered(presence: Presence) -> None:
    """Registered is online, unregistered is not, and neither is anybody else."""
    assert not await presence.is_online("cam")
    lease = await presence.register("cam")
    assert await presence.is_online("cam")
    assert not await presence.is_online("another")
    assert await presence.unregister(lease)
    assert not await presence.is_online("cam")


async def test_only_the_newest_lease_counts(presence: Presence) -> None:
    """An older lease neither keeps, nor ends, nor speaks for what a newer one holds."""
    older = await presence.register("cam")
    newer = await presence.register("cam")
    assert newer != older
    await presence.report(newer, {"battery": 85})
    await presence.report(older, {"battery": 1})
    assert not await presence.refresh(older)
    assert await presence.refresh(newer)
    assert not await presence.unregister(older)
    assert await presence.is_online("cam")
    assert await presence.last_report("cam") == {"battery": 85}
    assert await presence.unregister(newer)
    assert not await presence.is_online("cam")


async def test_a_lease_ends_once(presence: Presence) -> None:
    """What is over cannot be kept or ended again, whoever is there meanwhile."""
    lease = await presence.register("cam")
    assert await presence.unregister(lease)
    assert not await presence.unregister(lease)
    assert not await presence.refresh(lease)
    assert not await presence.is_online("cam")
    await presence.register("cam")
    assert not await presence.unregister(lease)
    assert await presence.is_online("cam")


async def test_a_report_lasts_as_long_as_its_connection(presence: Presence) -> None:
    """The last report counts, and a new connection starts without one."""
    assert await presence.last_report("cam") is None
    lease = await presence.register("cam")
    assert await presence.last_report("cam") is None
    await presence.report(lease, {"battery": 85, "lens": {"zoom": [1, 2.5, None, "\u00fc"]}})
    await presence.report(lease, {"recording": True})
    assert await presence.last_report("cam") == {"recording": True}
    await presence.register("cam")
    assert await presence.last_report("cam") is None


async def test_a_silent_device_fades(opened: Opened) -> None:
    """Without refreshes a device goes offline, its report with it; it ends without a fuss."""
    async with opened(SHORT_S) as presence:
        lease = await presence.register("cam")
        await presence.report(lease, {"battery": 85})

        async def is_offline() -> bool:
            return not await presence.is_online("cam")

        await eventually(is_offline)
        assert await presence.last_report("cam") is None
        assert await presence.unregister(lease)


async def test_a_refreshed_device_stays(opened: Opened) -> None:
    """Refreshes keep a device and its report far beyond its time to live."""
    async with opened(SHORT_S) as presence:
        lease = await presence.register("cam")
        await presence.report(lease, {"battery": 85})
        until_s = time.monotonic() + 3 * SHORT_S
        while time.monotonic() < until_s:
            assert await presence.refresh(lease)
            await asyncio.sleep(SHORT_S / 10)
        assert await presence.last_report("cam") == {"battery": 85}


async def test_a_late_refresh_brings_a_faded_device_back(opened: Opened) -> None:
    """A device that was slow is online again with its next heartbeat."""
    async with opened(SHORT_S) as presence:
        lease = await presence.register("cam")

        async def is_offline() -> bool:
            return not await presence.is_online("cam")

        await eventually(is_offline)
        assert await presence.refresh(lease)
        assert await presence.is_online("cam")


@pytest.mark.parametrize("device_id", ["a b", "{a}:presence", "}{", "\u00fc\u20ac", "x" * 128, "*"])
async def test_any_name_will_do(presence: Presence, device_id: str) -> None:
    """Names with the characters of keys and patterns are names like others."""
    lease = await presence.register(device_id)
    await presence.report(lease, {"is": device_id})
    assert await presence.last_report(device_id) == {"is": device_id}
    assert not await presence.is_online("a")
    assert await presence.unregister(lease)


async def test_sessions_come_and_go(presence: Presence) -> None:
    """Noting, forgetting and forgetting again are all quiet."""
    await presence.note_session("s1", "cam", "user")
    await presence.forget_session("s1")
    await presence.forget_session("s1")


def test_memory_fades_by_its_clock() -> None:
    """Presence lasts exactly its time to live."""
    now_s = 100.0
    presence = MemoryPresence(75.0, clock=lambda: now_s)

    async def run() -> None:
        nonlocal now_s
        await presence.register("cam")
        now_s = 174.9
        assert await presence.is_online("cam")
        now_s = 175.0
        assert not await presence.is_online("cam")

    asyncio.run(run())


# Redis


async def test_nothing_is_left_in_redis(redis_server: RedisServer) -> None:
    """What is over is cleaned up; only the counter of epochs stays."""
    async with in_redis(redis_server.url) as presence:
        lease = await presence.register("cam")
        await presence.report(lease, {"battery": 85})
        await presence.note_session("s1", "cam", "user")
        assert await keys(redis_server.url) == {
            "camagent:{cam}:presence",
            "camagent:{cam}:report",
            "camagent:{cam}:epoch",
            "camagent:session:s1",
        }
        async with Redis.from_url(redis_server.url) as redis:
            for key in await redis.keys("*"):
                assert (await redis.pttl(key) > 0) == (b"epoch" not in key)
        await presence.forget_session("s1")
        await presence.unregister(lease)
        assert await keys(redis_server.url) == {"camagent:{cam}:epoch"}


async def test_two_relays_share_what_they_know(redis_server: RedisServer) -> None:
    """A device that moves to another relay is that one's, and visible from both."""
    async with in_redis(redis_server.url) as here, in_redis(redis_server.url) as there:
        older = await here.register("cam")
        newer = await there.register("cam")
        await there.report(newer, {"battery": 85})
        assert not await here.refresh(older)
        assert not await here.unregister(older)
        assert await here.is_online("cam")
        assert await here.last_report("cam") == {"battery": 85}
        assert await there.unregister(newer)
        assert not await here.is_online("cam")


async def test_a_report_outlasts_its_time_in_redis(redis_server: RedisServer) -> None:
    """Refreshes keep a report there, too, where another relay reads it."""
    async with (
        in_redis(redis_server.url, SHORT_S) as here,
        in_redis(redis_server.url, SHORT_S) as there,
    ):
        lease = await here.register("cam")
        await here.report(lease, {"battery": 85})
        until_s = time.monotonic() + 3 * SHORT_S
        while time.monotonic() < until_s:
            await here.refresh(lease)
            await asyncio.sleep(SHORT_S / 10)
        assert await there.last_report("cam") == {"battery": 85}


async def test_redis_goes_away_and_comes_back(
    redis_server: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without Redis the local part goes on; when it is back, empty, a refresh fills it in."""
    async with in_redis(redis_server.url) as presence:
        lease = await presence.register("cam")
        await presence.report(lease, {"battery": 85})
        redis_server.stop()
        for _ in range(3):
            assert await presence.is_online("cam")
            assert await presence.refresh(lease)
        assert await presence.last_report("cam") == {"battery": 85}
        second = await presence.register("second")
        await presence.note_session("s1", "cam", "user")
        await presence.forget_session("s1")

        redis_server.start()

        async def is_back() -> bool:
            await presence.refresh(lease)
            await presence.refresh(second)
            return {"camagent:{cam}:presence", "camagent:{second}:presence"} <= await keys(
                redis_server.url
            )

        await eventually(is_back)
        assert await presence.is_online("cam")
        assert await presence.unregister(lease)
        assert await presence.unregister(second)
        assert not {key for key in await keys(redis_server.url) if "presence" in key}
    said = capsys.readouterr().out
    assert said.count("presence.redis_away") == 1
    assert said.count("presence.redis_back") == 1


async def test_a_frozen_redis_is_waited_for_once(redis_server: RedisServer) -> None:
    """A Redis that hangs costs one time-out and not one for each message."""
    async with open_presence(
        redis_server.url, heartbeat_interval_s=30, longest_session_s=60
    ) as presence:
        lease = await presence.register("cam")
        with redis_server.frozen():
            began_at_s = time.monotonic()
            for _ in range(50):
                assert await presence.refresh(lease)
            assert time.monotonic() - began_at_s < 4


async def test_a_relay_goes_on_without_redis(redis_server: RedisServer, tmp_path: Path) -> None:
    """Devices connect, are watched and leave while Redis is gone."""
    async with (
        relay_at(tmp_path, redis_url=SecretStr(redis_server.url)) as relay,
        device(relay) as cam,
        viewer(relay) as user,
    ):
        await watch(user, cam)
        await relay._records.join()
        assert len([key for key in await keys(redis_server.url) if "session" in key]) == 1
        redis_server.stop()
        await watch(user, cam)
        async with device(relay) as newer:
            for _ in range(2):
                assert (await user.payload("watch_ended"))["reason"] == "device_disconnected"
            await watch(user, newer)
            await newer.nothing_came()


async def test_a_relay_cleans_up_in_redis(redis_server: RedisServer, tmp_path: Path) -> None:
    """When a relay stops, nothing of its devices and sessions is left."""
    async with (
        relay_at(tmp_path, redis_url=SecretStr(redis_server.url)) as relay,
        device(relay) as cam,
        viewer(relay) as user,
    ):
        await cam.send("device_presence", {"battery": 85})
        await watch(user, cam)
        await cam.nothing_came()
        assert "camagent:{cam}:report" in await keys(redis_server.url)
        relay.close_connections()
    assert await keys(redis_server.url) == {"camagent:{cam}:epoch"}
