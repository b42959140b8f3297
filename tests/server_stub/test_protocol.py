"""Every message, error and close code that crosses the relay's two sockets."""

import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
from pydantic import SecretStr

from server_stub.auth import hash_device_token, make_token
from server_stub.relay import Relay
from tests.server_stub.conftest import Relays
from tests.server_stub.peers import (
    SECRET,
    TS,
    client,
    device,
    recorded,
    viewer,
    watch,
)
from tests.support import eventually

OFFER = {"type": "offer", "sdp": "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\n"}
ANSWER = {"type": "answer", "sdp": "v=0\r\no=- 3 4 IN IP4 127.0.0.1\r\n"}
REPORT = {"rung": "low", "reason": "12% loss", "bitrate_bps": 250_000}
CANDIDATES: list[dict[str, Any] | None] = [
    {
        "candidate": "candidate:1 1 UDP 2130706431 192.168.1.100 54321 typ host",
        "sdpMid": "0",
        "sdpMLineIndex": 0,
    },
    {"candidate": "", "sdpMid": "0", "sdpMLineIndex": 0},
    None,
]


@pytest.fixture
async def relay(relays: Relays) -> AsyncIterator[Relay]:
    async with relays() as held:
        yield held


# Hello


async def test_a_device_is_acknowledged(relay: Relay) -> None:
    """A known device gets its name, the time and the relay's extensions."""
    async with client(relay, "device") as peer:
        await peer.send("hello", {"device_id": "cam"}, request_id="h1")
        ack = await peer.receive()
        assert ack["type"] == "hello_ack"
        assert ack["request_id"] == "h1"
        assert ack["payload"].pop("server_time").endswith("Z")
        assert ack["payload"] == {
            "device_id": "cam",
            "extensions": ["watch_ended", "session_report"],
        }


async def test_a_viewer_is_acknowledged(relay: Relay) -> None:
    """A viewer with a good token gets the user it speaks for and the time."""
    async with client(relay, "viewer") as peer:
        await peer.send("hello", {"token": make_token(SECRET, "user", 60)}, request_id="h1")
        ack = await peer.receive()
        assert ack["type"] == "hello_ack"
        assert ack["request_id"] == "h1"
        assert ack["payload"].pop("server_time").endswith("Z")
        assert ack["payload"] == {"user_id": "user"}


@pytest.mark.parametrize("path", ["device", "viewer"])
async def test_other_messages_wait_for_hello(relay: Relay, path: str) -> None:
    """Whatever comes before hello ends the connection."""
    async with client(relay, path) as peer:
        await peer.send("heartbeat", request_id="early")
        assert await peer.error(request_id="early") == "Unauthorized"
        assert await peer.ended() == (1008, "Unauthorized")


@pytest.mark.parametrize("path", ["device", "viewer"])
async def test_a_malformed_hello_is_refused(relay: Relay, path: str) -> None:
    """A first message that is none is answered with what is wrong, and the end."""
    async with client(relay, path) as peer:
        await peer.send("hello", request_id="bad")
        text = await peer.error(request_id="bad")
        assert text.startswith("Invalid message: payload.")
        assert text.endswith(": missing")
        assert await peer.ended() == (1008, text)


async def test_hello_has_a_deadline(relays: Relays) -> None:
    """Who says nothing at all is not kept."""
    async with (
        relays(hello_deadline_s=1.0) as relay,
        client(relay, "device") as mute_device,
        client(relay, "viewer") as mute_viewer,
    ):
        for peer in (mute_device, mute_viewer):
            assert await peer.error() == "no hello in time"
            assert await peer.ended() == (1008, "no hello in time")


async def test_a_device_says_hello_once(relay: Relay) -> None:
    """A second hello of a device is refused, and changes nothing."""
    async with device(relay) as cam:
        await cam.send("hello", {"device_id": "another"}, request_id="again")
        assert await cam.error(request_id="again") == "Unauthorized"
        await cam.nothing_came()
        assert set(relay.devices) == {"cam"}


async def test_an_unknown_device_is_refused(relay: Relay) -> None:
    """A device that nobody registered is told so."""
    async with client(relay, "device") as peer:
        await peer.send("hello", {"device_id": "nobody"}, request_id="h1")
        assert await peer.error(request_id="h1") == "Device not found"
        assert await peer.ended() == (1008, "Device not found")


@pytest.mark.parametrize("token", [None, "wrong", "", "h\u00fcbsch"])
async def test_a_device_without_its_token_is_refused(relay: Relay, token: str | None) -> None:
    """A device that has a token must show it, whatever else it shows."""
    await relay.store.add_device("locked", token_hash=hash_device_token("right"))
    async with client(relay, "device", token=token) as peer:
        await peer.send("hello", {"device_id": "locked"})
        assert await peer.error() == "Unauthorized"
        assert await peer.ended() == (1008, "Unauthorized")


async def test_a_device_with_its_token_is_let_in(relay: Relay) -> None:
    """The right token opens the door."""
    await relay.store.add_device("locked", token_hash=hash_device_token("right"))
    async with device(relay, "locked", token="right") as cam:
        await cam.nothing_came()


def bad_tokens() -> dict[str, str]:
    claims = {"sub": "user", "exp": int(time.time()) + 60}
    good = jwt.encode(claims, SECRET, algorithm="HS256")
    header, payload, signature = good.split(".")
    return {
        "garbage": "garbage",
        "dots": "..",
        "expired": make_token(SECRET, "user", -10),
        "another secret": make_token("y" * 40, "user", 60),
        "unsigned": jwt.encode(claims, None, algorithm="none"),
        "signature taken off": f"{header}.{payload}.",
        "signature swapped": f"{header}.{payload}.{signature[::-1]}",
        "another algorithm": jwt.encode(claims, SECRET + "z" * 40, algorithm="HS512"),
        "no expiry": jwt.encode({"sub": "user"}, SECRET, algorithm="HS256"),
        "no user": jwt.encode({"exp": claims["exp"]}, SECRET, algorithm="HS256"),
        "empty user": jwt.encode(claims | {"sub": ""}, SECRET, algorithm="HS256"),
        "long user": jwt.encode(claims | {"sub": "u" * 129}, SECRET, algorithm="HS256"),
        "endless": jwt.encode(claims | {"exp": float("inf")}, SECRET, algorithm="HS256"),
    }


@pytest.mark.parametrize("kind", bad_tokens())
async def test_a_bad_token_is_refused(relay: Relay, kind: str) -> None:
    """A viewer needs a token that is signed by us, in date, and for somebody."""
    async with client(relay, "viewer") as peer:
        await peer.send("hello", {"token": bad_tokens()[kind]}, request_id="h1")
        assert await peer.error(request_id="h1") == "Invalid token"
        assert await peer.ended() == (1008, "Invalid token")


# Heartbeat


@pytest.mark.parametrize("kind", [device, viewer])
async def test_a_heartbeat_is_acknowledged(relay: Relay, kind: Any) -> None:
    """The ack carries the heartbeat's request id, or none."""
    async with kind(relay) as peer:
        await peer.send("heartbeat", request_id="b1")
        ack = await peer.receive()
        assert (ack["type"], ack["request_id"], ack["payload"]) == ("heartbeat_ack", "b1", {})
        await peer.send("heartbeat")
        assert "request_id" not in await peer.receive()


# Watching


async def test_both_ends_learn_of_a_session(relays: Relays) -> None:
    """Viewer and device get the same session and ICE servers with a credential each."""
    turn = {
        "stun_urls": ("stun:stun.example.com:3478",),
        "turn_urls": ("turn:turn.example.com:3478?transport=udp",),
        "turn_secret": SecretStr("shared"),
    }
    async with relays(**turn) as relay, device(relay) as cam, viewer(relay) as user:
        await user.send("watch_request", {"device_id": "cam"}, request_id="w1")
        ready = await user.receive()
        wanted = await cam.receive()

    assert (ready["type"], ready["request_id"]) == ("watch_ready", "w1")
    assert wanted["type"] == "watch_request"
    assert "request_id" not in wanted
    session_id = ready["payload"]["session_id"]
    assert str(uuid.UUID(session_id)) == session_id
    assert wanted["payload"]["session_id"] == session_id
    assert wanted["payload"]["user_id"] == "user"
    names = []
    for payload in (ready["payload"], wanted["payload"]):
        stun, relayed = payload["ice_servers"]
        assert stun == {"urls": "stun:stun.example.com:3478"}
        assert relayed["urls"] == ["turn:turn.example.com:3478?transport=udp"]
        assert relayed["credentialType"] == "password"
        assert relayed["credential"]
        names.append(relayed["username"].split(":")[1])
    assert names == [f"viewer_user_{session_id}", f"device_{session_id}"]


async def test_what_cannot_be_watched(relay: Relay) -> None:
    """An unknown device, another's device and an absent device are told apart."""
    await relay.store.add_device("another")
    async with viewer(relay) as user:
        for device_id, text in (
            ("nobody", "Device not found"),
            ("another", "Unauthorized"),
            ("cam", "Device is offline"),
        ):
            await user.send("watch_request", {"device_id": device_id}, request_id=device_id)
            assert await user.error(request_id=device_id) == text
        await user.nothing_came()
    assert await relay.store.sessions() == []


async def test_a_right_taken_away_counts_at_once(relay: Relay) -> None:
    """A viewer that lost its grant cannot start another session on the same connection."""
    async with device(relay) as cam, viewer(relay) as user:
        await watch(user, cam)
        await relay.store.revoke("user", "cam")
        await user.send("watch_request", {"device_id": "cam"})
        assert await user.error() == "Unauthorized"


async def test_signals_cross_both_ways(relay: Relay) -> None:
    """Offer, answer and candidates arrive as they were sent, null and empty ones too."""
    async with device(relay) as cam, viewer(relay) as user:
        session = {"session_id": await watch(user, cam)}

        await user.send("signal_offer", session | {"sdp": OFFER}, request_id="o1")
        assert await cam.receive() == {
            "type": "signal_offer",
            "request_id": "o1",
            "ts": TS,
            "payload": session | {"sdp": OFFER},
        }
        await cam.send("signal_answer", session | {"sdp": ANSWER})
        assert await user.payload("signal_answer") == session | {"sdp": ANSWER}
        for sender, receiver in ((user, cam), (cam, user)):
            for candidate in CANDIDATES:
                await sender.send("signal_ice", session | {"candidate": candidate})
                assert await receiver.payload("signal_ice") == session | {"candidate": candidate}


async def test_a_session_is_its_two_ends_own(relay: Relay) -> None:
    """Neither another viewer, nor another device, nor the same user elsewhere may take part."""
    await relay.store.add_device("second")
    async with (
        device(relay) as cam,
        device(relay, "second") as second,
        viewer(relay) as user,
        viewer(relay) as same_user,
        viewer(relay, "stranger") as stranger,
    ):
        session_id = await watch(user, cam)
        for foreign, kind, extra in (
            (stranger, "signal_offer", {"sdp": OFFER}),
            (stranger, "signal_ice", {"candidate": None}),
            (stranger, "end_watch", {}),
            (same_user, "signal_offer", {"sdp": OFFER}),
            (same_user, "signal_ice", {"candidate": None}),
        ):
            await foreign.send(kind, {"session_id": session_id} | extra, request_id=kind)
            assert await foreign.error(request_id=kind) == "Session not found"
        for kind, extra in (
            ("signal_answer", {"sdp": ANSWER}),
            ("signal_ice", {"candidate": None}),
            ("watch_ended", {"reason": "error"}),
            ("session_report", REPORT),
        ):
            await second.send(kind, {"session_id": session_id} | extra, request_id=kind)
            assert await second.error(request_id=kind) == "Session not found"
        await cam.nothing_came()
        await user.nothing_came()


async def test_a_report_reaches_the_session_s_viewer_alone(relay: Relay) -> None:
    """What the device tells of a session, its viewer hears, and nobody else."""
    async with device(relay) as cam, viewer(relay) as user, viewer(relay) as other:
        session_id = await watch(user, cam)
        await watch(other, cam)
        await cam.send("session_report", {"session_id": session_id} | REPORT)
        assert await user.payload("session_report") == {"session_id": session_id} | REPORT
        await other.nothing_came()


async def test_an_end_that_crosses_another_is_no_error(relay: Relay) -> None:
    """A device that ends a session just when its viewer does is not told off for it."""
    async with device(relay) as cam, viewer(relay) as user:
        session_id = await watch(user, cam)
        await user.send("end_watch", {"session_id": session_id})
        assert (await cam.payload("watch_ended"))["reason"] == "user_ended"
        await cam.send("watch_ended", {"session_id": session_id, "reason": "error"})
        await cam.nothing_came()
        await user.nothing_came()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (viewer, "signal_answer"),
        (viewer, "watch_ended"),
        (viewer, "session_report"),
        (viewer, "device_presence"),
        (device, "signal_offer"),
        (device, "watch_request"),
        (device, "end_watch"),
    ],
)
async def test_each_end_says_only_what_is_its_own(relay: Relay, kind: Any, message: str) -> None:
    """A message of the other direction is none here, and the connection goes on."""
    async with kind(relay) as peer:
        await peer.send(message, {"session_id": "s", "device_id": "cam"}, request_id="r")
        assert await peer.error(request_id="r") == "Invalid message: type: unknown here"
        await peer.nothing_came()


# Ends


async def test_a_viewer_ends_its_session(relay: Relay) -> None:
    """`end_watch` reaches the device as `user_ended`, is recorded, and ends it for good."""
    async with device(relay) as cam, viewer(relay) as user:
        session_id = await watch(user, cam)
        await user.send("end_watch", {"session_id": session_id})
        assert await cam.payload("watch_ended") == {
            "session_id": session_id,
            "reason": "user_ended",
        }
        await user.nothing_came()
        await cam.send("signal_ice", {"session_id": session_id, "candidate": None})
        assert await cam.error() == "Session not found"
        await user.send("end_watch", {"session_id": session_id})
        assert await user.error() == "Session not found"

        record = await recorded(relay, session_id)
        assert (record.device_id, record.user_id) == ("cam", "user")
        assert record.reason == "user_ended"
        assert record.ended_at is not None
        assert record.started_at <= record.ended_at


@pytest.mark.parametrize("politely", [True, False])
async def test_a_viewer_goes(relay: Relay, *, politely: bool) -> None:
    """A viewer that is gone, with a close or without, ends all its sessions."""
    async with device(relay) as cam, viewer(relay) as user:
        sessions = [await watch(user, cam) for _ in range(2)]
        if politely:
            await user.leave()
        else:
            user.websocket.transport.abort()
        ended = [await cam.payload("watch_ended") for _ in sessions]
        assert {one["session_id"] for one in ended} == set(sessions)
        assert {one["reason"] for one in ended} == {"viewer_disconnected"}
        for session_id in sessions:
            assert (await recorded(relay, session_id)).reason == "viewer_disconnected"


@pytest.mark.parametrize("politely", [True, False])
async def test_a_device_goes(relay: Relay, *, politely: bool) -> None:
    """A device that is gone ends its sessions at every viewer, and is offline."""
    async with device(relay) as cam, viewer(relay) as first, viewer(relay) as second:
        sessions = {peer: await watch(peer, cam) for peer in (first, second)}
        if politely:
            await cam.leave()
        else:
            cam.websocket.transport.abort()
        for peer, session_id in sessions.items():
            assert await peer.payload("watch_ended") == {
                "session_id": session_id,
                "reason": "device_disconnected",
            }
            assert (await recorded(relay, session_id)).reason == "device_disconnected"
        await first.send("watch_request", {"device_id": "cam"})
        assert await first.error() == "Device is offline"


async def test_an_answer_has_a_deadline(relays: Relays) -> None:
    """A session that the device does not answer times out at both ends."""
    async with (
        relays(answer_deadline_s=0.2) as relay,
        device(relay) as cam,
        viewer(relay) as user,
    ):
        session_id = await watch(user, cam)
        for peer in (cam, user):
            assert await peer.payload("watch_ended") == {
                "session_id": session_id,
                "reason": "timeout",
                "message": "the camera did not answer in time",
            }
        assert (await recorded(relay, session_id)).reason == "timeout"


async def test_a_session_has_a_longest_duration(relays: Relays) -> None:
    """An answered session outlives the answer's deadline, and ends with its time."""
    async with (
        relays(answer_deadline_s=2.0, longest_session_s=2.5) as relay,
        device(relay) as cam,
        viewer(relay) as user,
    ):
        began_at_s = time.monotonic()
        session_id = await watch(user, cam)
        await cam.send("signal_answer", {"session_id": session_id, "sdp": ANSWER})
        await user.payload("signal_answer")
        for peer in (cam, user):
            assert await peer.payload("watch_ended") == {
                "session_id": session_id,
                "reason": "timeout",
            }
        assert time.monotonic() - began_at_s > 2.4
        assert (await recorded(relay, session_id)).reason == "timeout"


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ({"reason": "error", "message": "no camera"}, {"reason": "error", "message": "no camera"}),
        ({"reason": "timeout"}, {"reason": "timeout"}),
        ({"reason": "a newer reason"}, {"reason": "error"}),
    ],
)
async def test_a_device_ends_a_session(
    relay: Relay, said: dict[str, str], heard: dict[str, str]
) -> None:
    """What a device says about the end reaches the viewer, and the device hears no echo."""
    async with device(relay) as cam, viewer(relay) as user:
        session_id = await watch(user, cam)
        await cam.send("watch_ended", {"session_id": session_id} | said)
        assert await user.payload("watch_ended") == {"session_id": session_id} | heard
        await cam.nothing_came()
        assert (await recorded(relay, session_id)).reason == heard["reason"]


# Presence


async def test_a_report_is_kept_while_the_device_is_there(relay: Relay) -> None:
    """What a device says about itself is kept with the time, numbers that JSON lacks as null."""
    async with device(relay) as cam:
        report = {"battery": 85, "temperature": 45, "recording": False, "lens": {"zoom": [1, 2]}}
        await cam.send("device_presence", report)
        kept = await _reported(relay, "battery")
        assert kept.pop("reported_at").endswith("Z")
        assert kept == report

        text = json.dumps({"type": "device_presence", "ts": TS, "payload": {"lux": float("inf")}})
        await cam.websocket.send(text)
        kept = await _reported(relay, "lux")
        assert kept["lux"] is None


async def _reported(relay: Relay, name: str) -> dict[str, Any]:
    """Wait for a report of `cam` that has this field."""
    found: list[dict[str, Any]] = []

    async def is_there() -> bool:
        report = await relay.presence.last_report("cam")
        found[:] = [report] if report is not None and name in report else []
        return bool(found)

    await eventually(is_there)
    return found[0]
