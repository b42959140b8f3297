"""What one connection may do, and that its troubles stay its own."""

import asyncio
import contextlib
import json
import socket
import sqlite3
import struct
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from pydantic import SecretStr
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs
from websockets.exceptions import ConnectionClosed

from camagent.signaling.messages import Offer, SignalOffer
from server_stub.app import running
from server_stub.auth import make_token
from server_stub.device import REPLACED
from server_stub.outbox import fitting
from server_stub.relay import Relay
from tests.server_stub.peers import (
    SECRET,
    TS,
    Client,
    DeafViewer,
    client,
    device,
    recorded,
    relay_at,
    relay_settings,
    viewer,
    watch,
)
from tests.server_stub.servers import PostgresServer
from tests.support import running as task_running
from tests.support import until

OFFER = {"type": "offer", "sdp": "v=0\r\n"}

NO_MESSAGES = {
    "no JSON": ("garbage", "not JSON"),
    "empty": ("", "not JSON"),
    "no object": ("[1, 2]", "should be an object"),
    "no type": ("{}", "type: missing"),
    "unknown type": ('{"type": "shutdown"}', "type: unknown here"),
    "no payload": (json.dumps({"type": "heartbeat", "ts": TS}), "payload is missing"),
    "no time": ('{"type": "heartbeat", "payload": {}}', "ts is missing"),
    "wrong time": ('{"type": "heartbeat", "payload": {}, "ts": 7}', "ts: should be"),
    "deep": ("[" * 30_000, "not JSON"),
    "half a character": ('{"type": "heartbeat", "request_id": "\\ud800"}', "not JSON"),
}


@pytest.mark.parametrize("kind", [device, viewer])
@pytest.mark.parametrize("case", NO_MESSAGES)
async def test_what_is_no_message_is_answered(relay: Relay, kind: Any, case: str) -> None:
    """The sender learns what is wrong with its message, and may go on."""
    text, problem = NO_MESSAGES[case]
    async with kind(relay) as peer:
        await peer.websocket.send(text)
        answer = await peer.error()
        assert answer.startswith("Invalid message: ")
        assert problem in answer
        await peer.nothing_came()


async def test_binary_is_no_message(relay: Relay) -> None:
    """The protocol is text; a binary message is answered like any other that is none."""
    async with device(relay) as cam:
        await cam.websocket.send(b"\x00\xff")
        assert await cam.error() == "Invalid message: not JSON"
        await cam.nothing_came()


@pytest.mark.parametrize("kind", [device, viewer])
async def test_too_large_a_message_ends_the_connection(relay: Relay, kind: Any) -> None:
    """More than 64 KiB in one message is refused unread, with 1009."""
    async with device(relay, "cam") as cam, kind(relay) as peer:
        await peer.websocket.send("x" * (64 * 1024 + 1))
        code, _ = await peer.ended()
        assert code == 1009
        if kind is viewer:
            await cam.nothing_came()


async def test_a_flood_is_cut_off(tmp_path: Path) -> None:
    """Who sends more than its allowance is told and closed; another's messages go on."""
    async with (
        relay_at(tmp_path, messages_at_once=20, messages_per_second=0.001) as relay,
        device(relay) as cam,
        viewer(relay) as user,
    ):
        for _ in range(20):
            await user.send("heartbeat")
        for _ in range(20):
            await user.payload("heartbeat_ack")
        await user.send("heartbeat")
        assert await user.error() == "rate limit"
        assert await user.ended() == (1008, "rate limit")
        await cam.nothing_came()


async def test_a_flood_that_does_not_stop_hears_why(tmp_path: Path) -> None:
    """The reason reaches a client that goes on sending into the close."""
    async with (
        relay_at(tmp_path, messages_at_once=20) as relay,
        viewer(relay) as user,
        task_running(_flood(user)),
    ):
        assert await user.ended() == (1008, "rate limit")


async def _flood(user: Any) -> None:
    with contextlib.suppress(ConnectionClosed):
        while True:
            for _ in range(100):
                await user.send("heartbeat")
            await asyncio.sleep(0)


async def test_the_allowance_comes_back(tmp_path: Path) -> None:
    """Within the rate a connection may speak for ever."""
    async with (
        relay_at(tmp_path, messages_at_once=2, messages_per_second=100) as relay,
        device(relay) as cam,
    ):
        for _ in range(20):
            await asyncio.sleep(0.011)  # the pace is what is tested
            await cam.nothing_came()


async def test_silence_ends_a_connection(tmp_path: Path) -> None:
    """Who says nothing for too long is taken for gone; who speaks stays."""
    async with (
        relay_at(tmp_path, idle_timeout_s=3.0) as relay,
        device(relay) as cam,
        viewer(relay) as user,
    ):
        await watch(user, cam)
        silent = asyncio.ensure_future(cam.ended())
        while not silent.done():
            await user.send("heartbeat")
            await asyncio.wait([silent], timeout=0.1)
        assert silent.result() == (1008, "silent for too long")
        await until(lambda: not relay.devices)
        await user.send("watch_request", {"device_id": "cam"}, request_id="w")
        while (message := await user.receive())["type"] != "error":
            assert message["type"] in ("heartbeat_ack", "watch_ended")
        assert message["payload"] == {"message": "Device is offline"}


async def test_a_pong_is_no_word(tmp_path: Path) -> None:
    """A client whose WebSocket library answers while its program says nothing is gone as well."""
    async with (
        relay_at(tmp_path, idle_timeout_s=1.5) as relay,
        device(relay) as cam,
        task_running(_pong(cam)),
    ):
        assert await cam.ended() == (1008, "silent for too long")


async def _pong(peer: Client) -> None:
    with contextlib.suppress(ConnectionClosed):
        while True:
            await peer.websocket.pong()
            await asyncio.sleep(0.05)  # much more often than the relay would wait


async def test_a_viewer_that_does_not_read_is_cut_off(tmp_path: Path) -> None:
    """What waits for a deaf viewer is bounded, and the device is answered promptly meanwhile."""
    async with (
        relay_at(tmp_path, messages_per_second=1e6) as relay,
        device(relay) as cam,
        DeafViewer(relay.port) as deaf,
    ):
        session_id = await deaf.watch()
        await cam.payload("watch_request")

        answer = {"type": "answer", "sdp": "x" * 60_000}
        slowest_s = 0.0
        message: dict[str, Any] = {}
        for _ in range(500):
            await cam.send("signal_answer", {"session_id": session_id, "sdp": answer})
            asked_at_s = time.monotonic()
            await cam.send("heartbeat")
            message = await cam.receive()
            slowest_s = max(slowest_s, time.monotonic() - asked_at_s)
            if message["type"] == "watch_ended":
                break
        assert message["payload"] == {"session_id": session_id, "reason": "error"}
        assert slowest_s < 5, "waiting for the viewer takes ten"
        assert (await recorded(relay, session_id)).reason == "error"


async def test_messages_keep_their_order(relay: Relay) -> None:
    """A small message does not pass a large one that has to wait."""
    async with device(relay) as cam:
        connection = relay.devices["cam"]
        offer = SignalOffer.Payload(session_id="s", sdp=Offer(sdp="x" * 20_000))
        for number in range(5):
            connection.send(SignalOffer(request_id=f"{number}", payload=offer))
            connection.send_error("small", request_id=f"{number}")
        came = [await cam.receive() for _ in range(10)]
        assert [message["request_id"] for message in came] == list("0011223344")
        assert [message["type"] for message in came] == ["signal_offer", "error"] * 5


async def test_clients_that_vanish_at_the_door_leave_nothing(
    relay: Relay, caplog: pytest.LogCaptureFixture
) -> None:
    """A reset during the handshake is neither an error nor a leak."""
    async with device(relay) as cam:
        for _ in range(50):
            with socket.create_connection(("127.0.0.1", relay.port)) as raw:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                raw.sendall(
                    b"GET /ws/device HTTP/1.1\r\nHost: relay\r\nUpgrade: websocket\r\n"
                    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                    b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
                )
            await asyncio.sleep(0)
        await cam.nothing_came()
        await until(lambda: len(relay.present) == 1)
        await until(lambda: sum(_is_writer(task) for task in asyncio.all_tasks()) == 0)
    assert not [one for one in caplog.records if one.levelname in ("ERROR", "CRITICAL")]


def _is_writer(task: "asyncio.Task[Any]") -> bool:
    return getattr(task.get_coro(), "__qualname__", "") == "Outbox._drain"


async def test_a_connection_leaves_no_task_behind(relay: Relay) -> None:
    """However a connection ends, its writer ends with it."""
    for leave in ("politely", "abruptly", "refused"):
        async with viewer(relay) as user:
            if leave == "politely":
                await user.leave()
            elif leave == "abruptly":
                user.websocket.transport.abort()
            else:
                await user.send("hello", {"token": "bad"})
                await user.ended()
        await until(lambda: not any(_is_writer(task) for task in asyncio.all_tasks()))
    await until(lambda: not relay.present)


async def test_a_fault_ends_only_its_own_connection(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of ours is 1011 for whoever met it; a session between others goes on."""
    async with device(relay) as cam, viewer(relay) as user, viewer(relay) as unlucky:
        session_id = await watch(user, cam)
        with monkeypatch.context() as broken:
            broken.setattr(relay.store, "is_granted", None)
            await unlucky.send("watch_request", {"device_id": "cam"})
            assert await unlucky.ended() == (1011, "server error")
        await user.send("signal_offer", {"session_id": session_id, "sdp": OFFER})
        assert (await cam.payload("signal_offer"))["session_id"] == session_id
        await watch(user, cam)


async def test_a_fault_ends_its_sessions_as_an_error(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever shared a session with a connection that a fault of ours ended is told the truth."""
    async with device(relay) as cam, viewer(relay) as user:
        session_id = await watch(user, cam)
        monkeypatch.setattr(relay.sessions, "forward", None)
        await user.send("signal_offer", {"session_id": session_id, "sdp": OFFER})
        assert await user.ended() == (1011, "server error")
        ended = await cam.payload("watch_ended")
        assert ended == {"session_id": session_id, "reason": "error"}
        assert (await recorded(relay, session_id)).reason == "error"
        await cam.nothing_came()


async def test_a_ping_of_one_who_hung_up_is_no_fault(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits here while the handler does something else; to answer it is too late then."""
    asked, released = asyncio.Event(), asyncio.Event()

    async def slow(_user_id: str, _device_id: str) -> bool:
        asked.set()
        await released.wait()
        return False

    with capture_logs() as logs:
        async with device(relay) as cam, viewer(relay) as user:
            session_id = await watch(user, cam)
            monkeypatch.setattr(relay.store, "is_granted", slow)
            await user.send("watch_request", {"device_id": "cam"})
            await asked.wait()
            await user.websocket.ping()
            user.websocket.transport.close()
            (connection,) = relay.present - {relay.devices["cam"]}
            await until(connection._outbox._transport.is_closing)
            released.set()
            ended = await cam.payload("watch_ended")
            assert ended == {"session_id": session_id, "reason": "viewer_disconnected"}
    assert not [line for line in logs if line["log_level"] == "error"]


async def test_a_fault_after_the_cut_leaves_no_task(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that is cut off and meets a fault of ours in the same step still ends."""

    async def cut_and_fail(_user_id: str, _device_id: str) -> None:
        for connection in tuple(relay.present):
            connection.abort()
        raise RuntimeError("as told")

    async with viewer(relay) as user:
        monkeypatch.setattr(relay.store, "is_granted", cut_and_fail)
        await user.send("watch_request", {"device_id": "cam"})
        assert await user.ended() == (1006, "")
    await until(lambda: not relay.present)
    await until(lambda: not any(_is_writer(task) for task in asyncio.all_tasks()))


async def test_a_database_that_is_away_ends_nobody(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Devices meet 1011, viewers and players an error; who is there stays, and then all is well."""

    def away(*_: object) -> None:
        raise ConnectionRefusedError("as told")

    with capture_logs() as logs:
        async with device(relay) as cam, viewer(relay) as user:
            session_id = await watch(user, cam)
            with monkeypatch.context() as broken:
                broken.setattr(type(relay.store._engine), "connect", away)
                broken.setattr(type(relay.store._engine), "begin", away)
                await _end_without_database(relay, user, cam, session_id)
                with pytest.raises(OperationalError):
                    await relay.store.devices()
            assert (await recorded(relay, session_id)).reason == "user_ended"
            await recorded(relay, await _watch_and_end(user, cam))
    assert not [line for line in logs if line["log_level"] == "error"]


async def test_a_database_that_falls_silent_ends_nobody(
    lasting_postgres: PostgresServer,
    postgres_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither refused nor answered, as when its machine is gone: all hear of it, and then all is well."""
    url = SecretStr(postgres_url)
    async with (
        relay_at(tmp_path, database_url=url) as relay,
        device(relay) as cam,
        viewer(relay) as user,
    ):
        session_id = await watch(user, cam)
        with lasting_postgres.frozen(), monkeypatch.context() as hurried:
            hurried.setattr("server_stub.database._ANSWER_DEADLINE_S", 0.5)
            await _end_without_database(relay, user, cam, session_id)
        assert (await recorded(relay, session_id)).reason == "user_ended"
        await recorded(relay, await _watch_and_end(user, cam))


async def _end_without_database(relay: Relay, user: Any, cam: Any, session_id: str) -> None:
    """See everybody told who asks for something new; the session that there is ends as ever."""
    async with client(relay, "device") as peer:
        await peer.send("hello", {"device_id": "cam"})
        assert await peer.ended() == (1011, "devices cannot be looked up now")
    await user.send("watch_request", {"device_id": "cam"}, request_id="again")
    assert await user.error(request_id="again") == "Device cannot be looked up now"
    await _expect_unavailable(relay)
    await user.send("end_watch", {"session_id": session_id})
    await cam.payload("watch_ended")


async def _expect_unavailable(relay: Relay) -> None:
    headers = {"Authorization": f"Bearer {make_token(SECRET, 'user', 60)}"}
    async with ClientSession(f"http://127.0.0.1:{relay.port}", headers=headers) as http:
        for method, path in (
            ("GET", "/api/devices"),
            ("GET", "/api/ice-servers?device_id=cam"),
            ("OPTIONS", "/whep/cam"),
        ):
            async with http.request(method, path) as answer:
                assert (answer.status, answer.headers["Retry-After"]) == (503, "5")


async def test_a_locked_database_delays_nobody(relay: Relay, tmp_path: Path) -> None:
    """While another program writes, sessions begin and end, and are written down afterwards."""
    with contextlib.closing(
        sqlite3.connect(tmp_path / "relay.db", isolation_level=None)
    ) as another:
        another.execute("BEGIN IMMEDIATE")
        async with device(relay) as cam, viewer(relay) as user:
            session_id = await _watch_and_end(user, cam)
            assert await relay.store.sessions() == []
            another.execute("ROLLBACK")
            assert (await recorded(relay, session_id)).reason == "user_ended"


async def _watch_and_end(user: Any, cam: Any) -> str:
    session_id = await watch(user, cam)
    await user.send("end_watch", {"session_id": session_id})
    await cam.payload("watch_ended")
    return session_id


async def test_a_close_does_not_wait_for_the_database(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection closed while its handler waits for the database is closed at once."""
    asked, released = asyncio.Event(), asyncio.Event()
    look_up = relay.store.is_granted

    async def slow(user_id: str, device_id: str) -> Any:
        asked.set()
        await released.wait()
        return await look_up(user_id, device_id)

    async with device(relay), viewer(relay) as user:
        monkeypatch.setattr(relay.store, "is_granted", slow)
        await user.send("watch_request", {"device_id": "cam"})
        await asked.wait()
        (connection,) = relay.present - {relay.devices["cam"]}
        connection.close(1008, "as told")
        assert await user.ended() == (1008, "as told")
        released.set()
        await until(lambda: connection not in relay.present)
        assert len(relay.sessions) == 0
    await until(lambda: not relay.present)


# Takeover


async def test_the_newest_connection_of_a_device_wins(relay: Relay) -> None:
    """The older one is closed with the reason, and the late end of it changes nothing."""
    async with viewer(relay) as user, device(relay) as older:
        lost_id = await watch(user, older)
        # Its close is not answered before it is read: the older connection's end comes late.
        older.websocket.transport.pause_reading()
        async with device(relay) as newer:
            assert (await user.payload("watch_ended")) == {
                "session_id": lost_id,
                "reason": "device_disconnected",
            }
            session_id = await watch(user, newer)
            older.websocket.transport.resume_reading()
            assert await older.ended() == (1008, REPLACED)
            await until(lambda: len(relay.present) == 2)

            await newer.send("signal_ice", {"session_id": session_id, "candidate": None})
            assert (await user.payload("signal_ice"))["session_id"] == session_id
            assert "cam" in relay.devices
            assert await relay.presence.is_online("cam")
            assert (await recorded(relay, lost_id)).reason == "device_disconnected"
        await until(lambda: "cam" not in relay.devices)
        assert await user.payload("watch_ended") == {
            "session_id": session_id,
            "reason": "device_disconnected",
        }


async def test_many_takeovers_at_once_leave_one(relay: Relay) -> None:
    """However many connections claim one device, one of them has it and works."""
    async with contextlib.AsyncExitStack() as held:
        peers = [await held.enter_async_context(client(relay, "device")) for _ in range(12)]
        await asyncio.gather(*(peer.send("hello", {"device_id": "cam"}) for peer in peers))
        for peer in peers:
            await peer.payload("hello_ack")
        await until(lambda: len(relay.present) == 1)
        await until(lambda: sum(peer.websocket.close_code is None for peer in peers) == 1)
        (left,) = [peer for peer in peers if peer.websocket.close_code is None]
        async with viewer(relay) as user:
            await watch(user, left)
        assert await relay.presence.is_online("cam")


async def test_a_removed_device_is_disconnected(relay: Relay) -> None:
    """A device that is removed while connected is closed at the next check."""
    async with device(relay) as cam, task_running(relay.rights.keep_checking(0.01)):
        await cam.nothing_came()
        await relay.store.remove_device("cam")
        assert await cam.ended() == (1008, "Device not found")
    await until(lambda: not relay.devices)


# Tokens in time


async def test_a_connection_ends_with_its_token(relay: Relay) -> None:
    """Its sessions do as well; a second hello of the same user counts from then on."""
    async with (
        device(relay) as cam,
        viewer(relay, valid_for_s=3) as staying,
        viewer(relay, valid_for_s=3) as ending,
    ):
        await staying.send("hello", {"token": make_token(SECRET, "user", 600)}, request_id="h2")
        ack = await staying.receive()
        assert (ack["type"], ack["request_id"]) == ("hello_ack", "h2")
        session_id = await watch(ending, cam)
        assert await ending.ended() == (1008, "token expired")
        assert (await cam.payload("watch_ended"))["reason"] == "viewer_disconnected"
        assert (await recorded(relay, session_id)).reason == "viewer_disconnected"
        await watch(staying, cam)


async def test_a_connection_belongs_to_one_user(relay: Relay) -> None:
    """Another user's token is refused on a connection that is somebody's."""
    async with viewer(relay) as user:
        await user.send("hello", {"token": make_token(SECRET, "another", 60)}, request_id="h2")
        assert await user.error(request_id="h2") == "Unauthorized"
        assert await user.ended() == (1008, "Unauthorized")


# The end


async def test_a_stop_says_goodbye(tmp_path: Path) -> None:
    """A relay that stops closes everybody with 1001 and writes its sessions off, quietly."""
    async with relay_at(tmp_path) as relay:
        async with client(relay, "viewer") as stranger, device(relay) as cam, viewer(relay) as user:
            session_id = await watch(user, cam)
            relay.close_connections()
            for peer in (stranger, user, cam):
                assert await peer.ended() == (1001, "relay stops")
        assert (await recorded(relay, session_id)).reason == "error"


async def test_a_stop_reaches_clients_and_database(tmp_path: Path) -> None:
    """What the end of a relay means for its sessions is in the database afterwards."""
    held = contextlib.AsyncExitStack()
    async with relay_at(tmp_path) as relay:
        cam = await held.enter_async_context(device(relay))
        user = await held.enter_async_context(viewer(relay))
        session_id = await watch(user, cam)
        ends = [asyncio.ensure_future(peer.ended()) for peer in (cam, user)]
    assert await asyncio.gather(*ends) == [(1001, "relay stops")] * 2
    await held.aclose()

    async with running(relay_settings(tmp_path)) as again:
        (record,) = await again.store.sessions()
        assert (record.session_id, record.reason) == (session_id, "error")
        (cam_again,) = await again.store.devices()
        assert cam_again.last_seen_at is not None


async def test_what_raises_in_the_relay_is_raised_as_it_is(tmp_path: Path) -> None:
    """A port that is taken is an `OSError` to whoever starts the relay."""
    async with relay_at(tmp_path) as relay:
        with pytest.raises(OSError, match="in use"):
            async with running(relay_settings(tmp_path, port=relay.port)):
                pass


def test_a_reason_fits_its_frame() -> None:
    """A long reason is cut between two characters."""
    assert fitting("é" * 100) == ("é" * 61).encode()
    assert fitting("short") == b"short"
