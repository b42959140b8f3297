"""Real processes of the relay: one that is killed, one that drains."""

import asyncio
import json
import signal
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from server_stub.store import Store, open_store
from tests.server_stub.peers import SECRET, Client, DeafViewer, device, viewer, watch
from tests.server_stub.test_program import Program, _url_of
from tests.server_stub.test_whep import playing, post
from tests.support import eventually, until

HEARTBEAT_S = 4.0


class Instance(SimpleNamespace):
    """One process: `port` and `process`. Takes the place of a relay for `device` and `viewer`."""


@asynccontextmanager
async def serving(folder: Path, **settings: str) -> AsyncIterator[Instance]:
    environment = {f"CAMAGENT_RELAY_{name}": value for name, value in settings.items()}
    environment["CAMAGENT_RELAY_JWT_SECRET"] = SECRET
    with Program(folder).serving("--host", "127.0.0.1", "--port", "0", **environment) as process:
        url = await asyncio.to_thread(_url_of, process)
        yield Instance(port=int(url.rpartition(":")[2]), process=process)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(f"sqlite+aiosqlite:///{tmp_path / 'relay.db'}") as held:
        await held.add_device("cam")
        await held.grant("user", "cam")
        yield held


async def test_an_instance_that_is_killed_is_missed(
    store: Store, redis_url: str, tmp_path: Path
) -> None:
    """The other ends of its sessions hear of it, its devices come back elsewhere by themselves."""
    await store.add_device("second")
    await store.grant("user", "second")
    settings = {"REDIS_URL": redis_url, "HEARTBEAT_INTERVAL_S": str(HEARTBEAT_S)}
    async with AsyncExitStack() as held:
        dying = await held.enter_async_context(serving(tmp_path, **settings))
        staying = await held.enter_async_context(serving(tmp_path, **settings))
        cam = await held.enter_async_context(device(staying))
        second = await held.enter_async_context(device(dying, "second"))
        there = await held.enter_async_context(viewer(dying))
        here = await held.enter_async_context(viewer(staying))
        of_viewer, of_device = await watch(there, cam), await watch(here, second, "second")
        local = await watch(there, second, "second")

        async def all_are_written_down() -> bool:
            return len(await store.sessions()) == 3

        await eventually(all_are_written_down)
        # Nobody is up for long enough yet to take a busy process for one that is gone.
        dying.process.kill()
        killed_at_s = time.monotonic()
        ended = {"session_id": of_viewer, "reason": "viewer_disconnected"}
        assert await cam.payload("watch_ended") == ended
        ended = {"session_id": of_device, "reason": "device_disconnected"}
        assert await here.payload("watch_ended") == ended
        # By what its devices leave in Redis it would be known after two and a half.
        assert time.monotonic() - killed_at_s < 2 * HEARTBEAT_S

        async with device(staying, "second") as again:
            await watch(here, again, "second")

        async def all_ends_are_written_down() -> bool:
            reasons = {one.session_id: one.reason for one in await store.sessions()}
            return (reasons[of_viewer], reasons[of_device], reasons[local]) == (
                "viewer_disconnected",
                "device_disconnected",
                "error",
            )

        await eventually(all_ends_are_written_down)


async def test_a_drain_is_spread_and_takes_nobody_new(store: Store, tmp_path: Path) -> None:
    """After SIGTERM sockets close one by one with 1001; `/readyz` says why, and the exit is 0."""
    over_s = 3.0
    for number in range(10):
        await store.add_device(f"cam-{number}")
    async with serving(tmp_path, DRAIN_S=str(over_s)) as relay, AsyncExitStack() as held:
        assert (await _status(relay, "/readyz"))[0] == 200
        peers = [
            await held.enter_async_context(device(relay, f"cam-{number}")) for number in range(10)
        ]
        ends: list[float] = []

        async def note_end(peer: Any) -> tuple[int, str]:
            ended: tuple[int, str] = await peer.ended()
            ends.append(time.monotonic())
            return ended

        waiting = [asyncio.ensure_future(note_end(peer)) for peer in peers]
        asked_at_s = time.monotonic()
        relay.process.send_signal(signal.SIGTERM)
        await until(lambda: ends)
        status, told = await _status(relay, "/readyz")
        assert (status, json.loads(told)["reasons"]) == (503, ["draining"])
        assert await _status(relay, "/healthz") == (200, "ok\n")
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://127.0.0.1:{relay.port}/ws/device", proxy=None)
        assert refused.value.response.status_code == 503
        assert set(await asyncio.gather(*waiting)) == {(1001, "relay stops")}
        assert all(
            end_s - asked_at_s >= over_s * number / len(peers) for number, end_s in enumerate(ends)
        ), "nobody goes before its turn"
        assert ends[-1] - ends[0] > over_s / 4
        assert await asyncio.to_thread(relay.process.wait, 20) == 0


async def test_who_asks_twice_is_in_a_hurry(store: Store, tmp_path: Path) -> None:
    """A second SIGTERM ends the drain, and everybody still hears goodbye."""
    async with (
        serving(tmp_path, DRAIN_S="600") as relay,
        device(relay) as cam,
        viewer(relay) as user,
    ):
        ends = [asyncio.ensure_future(peer.ended()) for peer in (cam, user)]
        relay.process.send_signal(signal.SIGTERM)
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        relay.process.send_signal(signal.SIGTERM)
        assert await asyncio.gather(*ends) == [(1001, "relay stops")] * 2
        assert await asyncio.to_thread(relay.process.wait, 20) == 0


async def test_nobody_holds_a_stop_up(store: Store, tmp_path: Path) -> None:
    """Neither a player whose camera never answers, nor a viewer who reads nothing."""
    await store.add_device("mute")
    await store.grant("user", "mute")
    limits = {"DRAIN_S": "0", "MESSAGES_PER_SECOND": "1e6"}
    async with (
        serving(tmp_path, **limits) as relay,
        device(relay) as cam,
        device(relay, "mute") as mute,
        playing(relay) as player,
    ):
        asked = asyncio.create_task(post(player, device_id="mute"))
        await mute.payload("watch_request")
        await mute.payload("signal_offer")
        async with DeafViewer(relay.port) as deaf:
            too_many = await _fill(cam, await deaf.watch(), 10_000)
        async with DeafViewer(relay.port) as deaf:
            await _fill(cam, await deaf.watch(), too_many - 2)
            relay.process.send_signal(signal.SIGTERM)
            asked_at_s = time.monotonic()
            assert await asyncio.to_thread(relay.process.wait, 20) == 0
            assert time.monotonic() - asked_at_s < 5
        assert (await asked).status == 503
        for peer in (cam, mute):
            assert await peer.ended() == (1001, "relay stops")


async def _fill(cam: Client, session_id: str, most: int) -> int:
    """Send a viewer so many large messages, or until it is cut off; count them."""
    answer = {"type": "answer", "sdp": "x" * 60_000}
    for number in range(most):
        await cam.send("signal_answer", {"session_id": session_id, "sdp": answer})
        await cam.send("heartbeat")
        came = set()
        while "heartbeat_ack" not in came:
            came.add((await cam.receive())["type"])
        if "watch_ended" in came:
            return number
    return most


async def _status(relay: Instance, path: str) -> tuple[int, str]:
    def ask() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{relay.port}{path}", timeout=10) as got:
                return got.status, got.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    return await asyncio.to_thread(ask)
