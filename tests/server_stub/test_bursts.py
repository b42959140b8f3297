"""A device takes part in what its viewers send, and none of them can have it cut off."""

import asyncio
import json
import struct
from pathlib import Path

import uvloop

from camagent.signaling.messages import Offer, SignalOffer
from server_stub.relay import Relay
from tests.server_stub.peers import TS, Client, device, relay_at, viewer, watch
from tests.server_stub.test_whep import SECTION, playing, watching
from tests.support import until

_BURST = 190
"""Within what a viewer may send at once; of the largest it is more than the kernel keeps."""


def test_a_burst_of_a_viewers_reaches_its_device(tmp_path: Path) -> None:
    """Many candidates at once, more than may wait: all arrive, in order, and nobody is cut off."""
    uvloop.run(_burst(tmp_path))  # as the program does; it writes once each turn of the loop


async def _burst(folder: Path) -> None:
    async with relay_at(folder) as relay, device(relay) as cam, viewer(relay) as user:
        session_id = await watch(user, cam)
        candidate = {"candidate": "candidate:" + "x" * 300, "sdpMid": "0", "sdpMLineIndex": 0}
        burst = [
            json.dumps({"type": "signal_ice", "ts": TS, "request_id": f"{number}", "payload": ice})
            for number, ice in enumerate(
                [{"session_id": session_id, "candidate": candidate}] * _BURST
            )
        ]
        user.websocket.transport.writelines([_masked(text.encode()) for text in burst])
        for number in range(_BURST):
            assert (await cam.receive())["request_id"] == f"{number}"
        await cam.nothing_came()
        await user.nothing_came()


async def test_a_viewer_waits_for_a_device_that_reads_slowly(relay: Relay) -> None:
    """What a slow device cannot take yet waits at the viewer that sends it, and arrives later."""
    async with device(relay) as cam, viewer(relay) as user, viewer(relay) as other:
        session_id = await watch(user, cam)
        other_id = await watch(other, cam)
        sdp = {"type": "offer", "sdp": "x" * 60_000}
        cam.websocket.transport.pause_reading()
        sending = asyncio.ensure_future(_send_offers(user, session_id, sdp))
        (held,) = relay.devices.values()
        await until(lambda: not held.has_room)
        await other.send("watch_request", {"device_id": "cam"})
        await other.payload("watch_ready")
        cam.websocket.transport.resume_reading()
        kinds = [(await cam.receive())["type"] for _ in range(_BURST + 1)]
        assert kinds.count("signal_offer") == _BURST
        await sending
        await user.nothing_came()
        await other.send("signal_ice", {"session_id": other_id, "candidate": None})
        assert (await cam.payload("signal_ice"))["session_id"] == other_id


async def test_a_player_waits_for_a_device_that_reads_slowly(relay: Relay) -> None:
    """What it trickles arrives when there is room again, and does not end its session."""
    async with (
        playing(relay) as player,
        watching(relay, player) as (cam, session_id, path, etag),
        viewer(relay) as user,
    ):
        user_id = await watch(user, cam)
        cam.websocket.transport.pause_reading()
        sdp = {"type": "offer", "sdp": "x" * 60_000}
        sending = asyncio.ensure_future(_send_offers(user, user_id, sdp))
        (held,) = relay.devices.values()
        await until(lambda: not held.has_room)
        telling = asyncio.ensure_future(player.patch(path, SECTION, if_match=etag))
        # In its turn after the player's: by then that waits, or was cut off.
        async with player.ask("GET", "/healthz") as answer:
            assert answer.status == 200
        assert relay.sessions.is_live(session_id)
        cam.websocket.transport.resume_reading()
        while (message := await cam.receive())["type"] != "signal_ice":
            assert message["type"] == "signal_offer"
        assert message["payload"]["session_id"] == session_id
        assert await telling == 204
        assert relay.sessions.is_live(session_id)
        await sending


async def _send_offers(user: Client, session_id: str, sdp: dict[str, str]) -> None:
    for _ in range(_BURST):
        await user.send("signal_offer", {"session_id": session_id, "sdp": sdp})


async def test_a_session_ends_before_its_device_is_cut_off(relay: Relay) -> None:
    """What comes from another instance cannot be held up: it ends the session that is too much."""
    async with device(relay) as cam, viewer(relay) as user, viewer(relay) as other:
        session_id = await watch(user, cam)
        other_id = await watch(other, cam)
        session = relay.sessions.get(session_id)
        assert session is not None
        (held,) = relay.devices.values()
        offer = SignalOffer(
            payload=SignalOffer.Payload(
                session_id=session_id, sdp=Offer(type="offer", sdp="x" * 1000)
            )
        )
        # Without a turn of the loop nothing can leave.
        while relay.sessions.forward(session_id, session.viewer, offer):
            assert not held.is_over
        ended = await user.payload("watch_ended")
        assert (ended["session_id"], ended["reason"]) == (session_id, "error")
        while (message := await cam.receive())["type"] != "watch_ended":
            assert message["type"] == "signal_offer"
        await other.send("signal_ice", {"session_id": other_id, "candidate": None})
        assert (await cam.payload("signal_ice"))["session_id"] == other_id


def _masked(data: bytes) -> bytes:
    """Lay out a client's text frame, masked with zeros (RFC 6455, 5.3)."""
    return struct.pack("!BBH", 0x81, 0x80 | 126, len(data)) + bytes(4) + data
