"""Several instances of a relay by way of a real Redis: what crosses, what is lost, how it heals."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy import text

from server_stub.app import running
from server_stub.device import REPLACED
from server_stub.envelopes import Signal, channel_of
from server_stub.relay import Relay
from tests.server_stub.peers import (
    Client,
    TwoInstances,
    device,
    recorded,
    relay_settings,
    two_instances,
    viewer,
    watch,
)
from tests.server_stub.servers import RedisServer
from tests.support import eventually, until

INTERVAL_S = 8.0
_OTHERS_OUT = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
    " AND backend_type = 'client backend'"
)


@pytest.fixture
async def two(redis_url: str, tmp_path: Path) -> AsyncIterator[TwoInstances]:
    """Hold two whose beats are so rare that no busy machine has them take each other for gone."""
    async with two_instances(tmp_path, redis_url) as held:
        yield held


def settle(relay: Relay) -> None:
    """Have an instance take another's silence for its end, as if it had been there for long."""
    _link(relay)._back_at_s -= 600


@asynccontextmanager
async def third(two: TwoInstances, redis_url: str, folder: Path) -> AsyncIterator[Relay]:
    async with running(relay_settings(folder, redis_url=SecretStr(redis_url))) as relay:
        yield relay


async def beat(*peers: Client) -> None:
    for peer in peers:
        await peer.nothing_came()


async def test_instances_share_postgresql(
    redis_url: str, postgres_url: str, tmp_path: Path
) -> None:
    """What one writes down is there for the other; a database that restarted is used again."""
    url = SecretStr(postgres_url)
    async with (
        two_instances(tmp_path, redis_url, database_url=url) as two,
        device(two) as cam,
        viewer(two) as user,
    ):
        session_id = await watch(user, cam)
        await user.send("end_watch", {"session_id": session_id})
        await cam.payload("watch_ended")
        assert (await recorded(two.of_devices, session_id)).instance_id == two.instance_id
        async with two.store._engine.connect() as connection:
            await connection.execute(_OTHERS_OUT)
        await watch(user, cam)


# Takeover


async def test_the_newest_connection_wins_wherever_it_is(two: TwoInstances) -> None:
    """The older connection is closed on its instance, its sessions end, and the newer works."""
    async with viewer(two) as user, device(two) as older:
        lost_id = await watch(user, older)
        async with device(two.of_viewers) as newer:
            assert await older.ended() == (1008, REPLACED)
            ended = await user.payload("watch_ended")
            assert ended == {"session_id": lost_id, "reason": "device_disconnected"}
            await until(lambda: not two.of_devices.present)
            await watch(user, newer)
            assert await two.of_devices.presence.is_online("cam")
            assert (await recorded(two, lost_id)).reason == "device_disconnected"


async def test_a_device_that_hops_is_always_where_it_was_last(two: TwoInstances) -> None:
    """However often it changes instances without saying goodbye, a viewer finds it."""
    async with AsyncExitStack() as held, viewer(two) as user:
        for relay in [two.of_devices, two.of_viewers] * 5:
            cam = await held.enter_async_context(device(relay))
            session_id = await watch(user, cam)
            await user.send("end_watch", {"session_id": session_id})
            assert (await cam.payload("watch_ended"))["reason"] == "user_ended"


async def test_a_report_crosses_and_is_counted_once(two: TwoInstances) -> None:
    """At the instance that receives it from the device, and at the one that sends it on."""
    report = {"rung": "low", "reason": "loss", "bitrate_bps": 300_000}
    async with device(two) as cam, viewer(two) as user:
        session_id = await watch(user, cam)
        await cam.send("session_report", {"session_id": session_id} | report)
        assert await user.payload("session_report") == {"session_id": session_id} | report
        await user.send("end_watch", {"session_id": session_id})
        await cam.payload("watch_ended")
        both = (two.of_devices, two.of_viewers)
        report_type = {"type": "session_report"}
        for name, labels, counts in (
            ("messages", {"direction": "from_device"} | report_type, [1, 0]),
            ("messages", {"direction": "to_viewer"} | report_type, [0, 1]),
            ("sessions_ended", {"outcome": "user_ended"}, [0, 1]),
        ):
            assert [_count(relay, name, labels) for relay in both] == counts


# Ends


async def test_a_session_is_ended_from_any_instance(
    two: TwoInstances, redis_url: str, tmp_path: Path
) -> None:
    """A viewer that comes back anywhere ends its old session, and the device hears that first."""
    async with (
        third(two, redis_url, tmp_path) as other,
        device(two) as cam,
        viewer(two) as old,
    ):
        for relay in (other, two.of_devices, two.of_viewers):
            left_behind = await watch(old, cam)
            await two.of_viewers._records.join()
            async with viewer(relay) as new:
                await new.send("end_watch", {"session_id": left_behind})
                await new.send("watch_request", {"device_id": "cam"})
                ended = {"session_id": left_behind, "reason": "user_ended"}
                assert await cam.payload("watch_ended") == ended
                fresh = (await cam.payload("watch_request"))["session_id"]
                assert (await new.payload("watch_ready"))["session_id"] == fresh
                assert await old.payload("watch_ended") == ended
                assert (await recorded(two, left_behind)).reason == "user_ended"
            assert (await cam.payload("watch_ended"))["reason"] == "viewer_disconnected"


@pytest.mark.parametrize("where", ["of_devices", "of_viewers"])
async def test_a_session_that_a_restart_left_is_ended_by_name(
    two: TwoInstances, where: str
) -> None:
    """What no instance knows any more is in the database: its user may end it at the device."""
    await two.store.start_session("left", "cam", "user", instance_id="0123")
    await two.store.end_forgotten_sessions(["0123"])
    async with (
        device(two) as cam,
        viewer(getattr(two, where)) as user,
        viewer(two, "stranger") as stranger,
    ):
        await stranger.send("end_watch", {"session_id": "left"}, request_id="e")
        assert await stranger.error(request_id="e") == "Session not found"
        await user.send("end_watch", {"session_id": "left"})
        await user.send("watch_request", {"device_id": "cam"})
        assert await cam.payload("watch_ended") == {"session_id": "left", "reason": "user_ended"}
        fresh = (await cam.payload("watch_request"))["session_id"]
        assert (await user.payload("watch_ready"))["session_id"] == fresh


# What reaches nobody


async def test_a_watch_request_to_nobody_is_answered(two: TwoInstances, redis_url: str) -> None:
    """A device that Redis has with an instance that is gone is offline, and nothing is begun."""
    async with open_at(redis_url) as redis, viewer(two) as user:
        await redis.set("camagent:{cam}:presence", "00ff|7", px=60_000)
        await user.send("watch_request", {"device_id": "cam"}, request_id="w")
        assert await user.error(request_id="w") == "Device is offline"
        assert len(two.sessions) == 0
        assert await two.store.sessions() == []


async def test_a_watch_request_that_came_too_late_is_answered(
    two: TwoInstances, redis_url: str
) -> None:
    """An instance that does not have the device any more says so."""
    async with open_at(redis_url) as redis, viewer(two) as user:
        holder = f"{two.of_devices.instance_id}|7"
        await redis.set("camagent:{cam}:presence", holder, px=60_000)
        await user.send("watch_request", {"device_id": "cam"}, request_id="w")
        assert await user.error(request_id="w") == "Device is offline"


async def test_a_signal_to_nobody_ends_its_session(redis_url: str, tmp_path: Path) -> None:
    """Where no instance listens any more, the sender hears that its session is over."""
    async with (
        two_instances(tmp_path, redis_url, heartbeat_interval_s=INTERVAL_S) as two,
        device(two) as cam,
        viewer(two) as user,
    ):
        session_id = await watch(user, cam)
        settle(two.of_viewers)
        session = two.sessions.get(session_id)
        assert session is not None
        session.device.instance_id = "00ff"
        await user.send("signal_ice", {"session_id": session_id, "candidate": None})
        ended = {"session_id": session_id, "reason": "device_disconnected"}
        assert await user.payload("watch_ended") == ended
        # The half at the device is ended as soon as the two instances compare.
        assert (await cam.payload("watch_ended"))["reason"] == "viewer_disconnected"


async def test_nonsense_on_a_channel_disturbs_nobody(two: TwoInstances, redis_url: str) -> None:
    """What is no envelope is dropped, and one for a session that is not shared changes nothing."""
    async with open_at(redis_url) as redis, device(two) as cam, viewer(two) as user:
        session_id = await watch(user, cam)
        for text in (
            b"\xff",
            "{}",
            '{"kind": "open"}',
            f'{{"kind": "forget", "sender": "00ff", "session_ids": ["{session_id}"]}}',
            f'{{"kind": "unknown", "sender": "00ff", "session_ids": ["{session_id}"]}}',
            Signal(
                sender=two.of_viewers.instance_id, session_id=session_id, text="{}"
            ).model_dump_json(),
        ):
            assert await redis.publish(channel_of(two.of_devices.instance_id), text) == 1
        await user.send("signal_ice", {"session_id": session_id, "candidate": None})
        assert (await cam.payload("signal_ice"))["session_id"] == session_id
        await beat(cam, user)


# Redis away


async def test_redis_goes_and_comes_back(
    redis_server: RedisServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is local goes on, what is not is refused with a reason, and all heals by itself."""
    async with (
        two_instances(tmp_path, redis_server.url) as two,
        device(two) as cam,
        viewer(two) as user,
        viewer(two.of_devices) as local,
    ):
        crossing = await watch(user, cam)
        redis_server.stop()
        await until(lambda: _link(two.of_viewers).is_away and _link(two.of_devices).is_away)
        local_id = await watch(local, cam)
        await beat(cam, local)
        await user.send("watch_request", {"device_id": "cam"}, request_id="w")
        assert await user.error(request_id="w") == "Device cannot be reached now"
        await user.send("signal_ice", {"session_id": crossing, "candidate": None}, request_id="i")
        assert await user.error(request_id="i") == "The other end cannot be reached now"

        redis_server.start()
        await until(lambda: not (_link(two.of_viewers).is_away or _link(two.of_devices).is_away))
        await user.send("signal_ice", {"session_id": crossing, "candidate": None})
        assert (await cam.payload("signal_ice"))["session_id"] == crossing
        await watch(user, cam)
        assert two.of_devices.sessions.is_live(local_id)
        assert await two.of_viewers.presence.is_online("cam")
    said = capsys.readouterr().out
    assert said.count("redis.away") == said.count("redis.back") == 2  # one of each instance


async def test_a_dead_connection_takes_no_device_from_a_live_one(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that moved while Redis was away stays where it is, whichever instance is back first."""
    async with two_instances(tmp_path, redis_server.url, heartbeat_interval_s=8) as two:
        here, there = two.of_devices.presence, two.of_viewers.presence
        come_back = here.come_back

        async def come_back_last() -> None:
            await until(lambda: [held.holder for held in there._held.values()] != [None])
            await come_back()

        monkeypatch.setattr(here, "come_back", come_back_last)
        redis_server.stop()
        await until(lambda: _link(two.of_viewers).is_away and _link(two.of_devices).is_away)
        async with device(two) as dead, device(two.of_viewers) as alive:
            redis_server.start()
            assert await dead.ended() == (1008, REPLACED)
            await alive.nothing_came()
            assert await there.whereabouts("cam") == two.of_viewers.instance_id
            async with viewer(two.of_devices) as user:
                await watch(user, alive)


async def test_an_end_that_redis_lost_is_made_up_for(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    """A viewer that leaves while Redis is away is missed at the device when it is back."""
    async with (
        two_instances(tmp_path, redis_server.url, heartbeat_interval_s=INTERVAL_S) as two,
        device(two) as cam,
    ):
        async with viewer(two) as user:
            session_id = await watch(user, cam)
            redis_server.stop()
            await until(lambda: _link(two.of_viewers).is_away)
        await until(lambda: len(two.of_viewers.sessions) == 0)
        redis_server.start()
        ended = {"session_id": session_id, "reason": "viewer_disconnected"}
        assert await cam.payload("watch_ended") == ended


async def test_a_relay_starts_without_redis(redis_server: RedisServer, tmp_path: Path) -> None:
    """What was there before Redis is found there afterwards."""
    redis_server.stop()
    async with two_instances(tmp_path, redis_server.url) as two, device(two) as cam:
        await cam.nothing_came()
        redis_server.start()
        await eventually(lambda: two.of_viewers.presence.is_online("cam"))
        await until(lambda: not (_link(two.of_viewers).is_away or _link(two.of_devices).is_away))
        async with viewer(two) as user:
            await watch(user, cam)


# Leaving


async def test_an_instance_that_stops_leaves_nothing(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    """Its devices and its own name are gone from Redis; who waits for an answer is told so."""
    settings = relay_settings(tmp_path, redis_url=SecretStr(redis_server.url))
    async with running(settings) as staying:
        await staying.store.add_device("cam")
        await staying.store.grant("user", "cam")
        async with viewer(staying) as user:
            async with AsyncExitStack() as held:
                leaving = await held.enter_async_context(running(settings))
                cam = await held.enter_async_context(device(leaving))
                await cam.send("device_presence", {"battery": 85})
                session_id = await watch(user, cam)
                await leaving.drain(0)
                assert await cam.ended() == (1001, "relay stops")
                ended = {"session_id": session_id, "reason": "device_disconnected"}
                assert await user.payload("watch_ended") == ended
            assert (await recorded(staying, session_id)).reason == "device_disconnected"
            own = channel_of(staying.instance_id)
            left = await redis_server.keys()
            # A bucket is left to fill by itself.
            assert left - {"camagent:limit:watch_requests:user"} == {own, "camagent:{cam}:epoch"}


def _count(relay: Relay, name: str, labels: dict[str, str]) -> float:
    full_name = f"camagent_relay_{name}_total"
    return relay.meters.registry.get_sample_value(full_name, labels) or 0


def _link(relay: Relay) -> Any:
    assert relay.instances is not None
    return relay.instances._routing.link


def open_at(url: str) -> Redis:
    return Redis.from_url(url)
