"""What somebody may try on purpose, and that it is refused cheaply while the others go on."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed

from server_stub.auth import make_token
from server_stub.relay import Relay
from tests.server_stub.peers import SECRET, TS, Client, client, device, relay_at, viewer, watch
from tests.server_stub.test_sdp import TEXTS
from tests.server_stub.test_whep import FRAGMENT, SDP, Player, playing, watching
from tests.support import until

FLOOD = 10_000

ODD_NAMES = (
    "\0",
    "cam\0",
    "cam\n",
    "cam\r\nSet-Cookie: a=b",
    "\x1b[2J",
    "../../etc/passwd",
    "cam/../cam",
    "%63am",
    "CAM",
    " cam",
    "cam ",
    "\uff43\uff41\uff4d",
    "ca\u200bm",
    "\u202emac",
    "'; DROP TABLE devices; --",
    "{cam}",
    "camagent:{cam}:presence",
    "*",
    "x" * 128,
    "\U0001d4b8" * 128,
)


@contextlib.asynccontextmanager
async def undisturbed_session(relay: Relay) -> AsyncIterator[None]:
    """Hold a session while the block runs, and see that it went on."""
    async with device(relay) as cam, viewer(relay) as user:
        session_id = await watch(user, cam)
        yield
        await cam.nothing_came()
        await user.send("signal_ice", {"session_id": session_id, "candidate": None})
        assert (await cam.payload("signal_ice"))["session_id"] == session_id
        await user.nothing_came()


@pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
async def test_an_odd_name_is_nobodys(relay: Relay, name: str) -> None:
    """A device that is not registered by exactly this name is unknown, whatever the name is."""
    async with undisturbed_session(relay):
        async with client(relay, "device") as peer:
            await peer.send("hello", {"device_id": name})
            assert await peer.ended() == (1008, "Device not found")
        async with viewer(relay) as user:
            await user.send("watch_request", {"device_id": name})
            assert await user.error() == "Device not found"


@pytest.mark.parametrize("name", ["", "x" * 129, "x" * 60_000])
async def test_a_name_has_a_length(relay: Relay, name: str) -> None:
    """A name that is none is no message."""
    async with undisturbed_session(relay), client(relay, "device") as peer:
        await peer.send("hello", {"device_id": name})
        assert "device_id" in await peer.error()
        assert (await peer.ended())[0] == 1008


async def test_an_odd_name_that_is_registered_works(relay: Relay) -> None:
    """Names of other scripts are names: what is forwarded for them reaches them."""
    name = "Küche «1» 📷"
    await relay.store.add_device(name)
    await relay.store.grant("user", name)
    async with device(relay, name) as cam, viewer(relay) as user:
        await watch(user, cam, name)


@pytest.mark.parametrize("shape", ["[", '{"a":', '{"type":"heartbeat","ts":"x","payload":{"a":'])
@pytest.mark.parametrize("kind", [device, viewer])
async def test_deep_json_is_no_message(relay: Relay, kind: Any, shape: str) -> None:
    """Nesting beyond reason is refused before it costs a stack; the connection stays."""
    async with undisturbed_session(relay), contextlib.AsyncExitStack() as held:
        await relay.store.add_device("other")
        peer = await held.enter_async_context(
            device(relay, "other") if kind is device else viewer(relay)
        )
        for text in (shape * (60_000 // len(shape)), "[" * 30_000 + "]" * 30_000):
            await peer.websocket.send(text)
            assert (await peer.error()).startswith("Invalid message")
        await peer.nothing_came()


@pytest.mark.parametrize("what", ["heartbeat", "watch_request", "garbage", "large"])
async def test_a_flood_hurts_only_who_sends_it(relay: Relay, what: str) -> None:
    """Ten thousand messages at once end in 1008; a session beside them goes on meanwhile."""
    payload = {"device_id": "nobody"} if what == "watch_request" else {}
    text = json.dumps({"type": what, "ts": TS, "payload": payload})
    flood = {"garbage": "}{", "large": "x" * 20_000}.get(what, text)
    async with undisturbed_session(relay), viewer(relay) as user:
        pouring = asyncio.ensure_future(_pour(user, flood))
        assert await user.ended() == (1008, "rate limit")
        pouring.cancel()
        await asyncio.wait([pouring])


async def _pour(peer: Client, text: str) -> None:
    with contextlib.suppress(ConnectionClosed):
        for _ in range(FLOOD):
            await peer.websocket.send(text)


async def test_sockets_that_say_nothing_are_closed(tmp_path: Path) -> None:
    """Half-open sockets cost a place for as long as a hello may take, and no longer."""
    async with relay_at(tmp_path, hello_deadline_s=1.0) as relay, undisturbed_session(relay):
        async with contextlib.AsyncExitStack() as held:
            silent = [
                await held.enter_async_context(client(relay, path))
                for path in ("device", "viewer") * 10
            ]
            assert {await peer.ended() for peer in silent} == {(1008, "no hello in time")}
        await until(lambda: len(relay.present) == 2)


async def test_a_client_that_went_dark_is_given_up(tmp_path: Path) -> None:
    """A half-open socket, whose other end takes no packet, is over after the idle time."""
    async with (
        relay_at(tmp_path, idle_timeout_s=1.5) as relay,
        contextlib.AsyncExitStack() as held,
    ):
        user = await held.enter_async_context(viewer(relay))
        user.websocket.transport.pause_reading()
        await until(lambda: not relay.present)
        user.websocket.transport.abort()


_RIGHT = make_token(SECRET, "user", 3600)
_token = st.text(max_size=300) | st.builds(
    lambda token, at, more: token[:at] + more + token[at + 1 :],
    st.just(_RIGHT),
    st.integers(0, 200),
    st.characters(codec="ascii"),
)


def test_no_other_token_is_a_token(tmp_path: Path) -> None:
    """Made up, or one character changed: refused over the socket and over HTTP, and no crash."""
    examples = int(os.environ.get("CAMAGENT_GARBAGE_MESSAGES", "500")) // 20

    # No examples of an earlier run: its tokens may still be good.
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(token=_token)
    def show(token: str) -> None:
        if token and not _is_alike(token):
            runner.run(_refused(relay, token))

    with asyncio.Runner() as runner:
        holding = relay_at(tmp_path)
        relay = runner.run(holding.__aenter__())
        try:
            show()
        finally:
            runner.run(holding.__aexit__(None, None, None))


def _is_alike(token: str) -> bool:
    # The last character of a signature in base64 has bits that mean nothing.
    return token[:-1] == _RIGHT[:-1]


async def _refused(relay: Relay, token: str) -> None:
    async with client(relay, "viewer") as peer:
        await peer.send("hello", {"token": token})
        assert await peer.ended() == (1008, "Invalid token")
    header = token.encode("ascii", errors="ignore").decode()
    # Blanks around a header's value are not part of it.
    if header.isprintable() and not _is_alike(header.strip()):
        async with ClientSession() as session:
            url = f"http://127.0.0.1:{relay.port}/api/devices"
            async with session.get(url, headers={"Authorization": f"Bearer {header}"}) as answer:
                assert answer.status == 401


_bodies = st.binary(max_size=300) | TEXTS.map(lambda text: text.encode(errors="surrogatepass"))


def test_no_body_disturbs_a_session(tmp_path: Path) -> None:
    """Offers and fragments of any bytes are refused or passed on; the session goes on meanwhile."""
    examples = int(os.environ.get("CAMAGENT_GARBAGE_MESSAGES", "500")) // 20

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(body=_bodies)
    def send(body: bytes) -> None:
        runner.run(_send_body(player, path, tag, body))

    with asyncio.Runner() as runner:
        holding = _watched_by_player(tmp_path)
        player, path, tag = runner.run(holding.__aenter__())
        try:
            send()
        finally:
            runner.run(holding.__aexit__(None, None, None))


@contextlib.asynccontextmanager
async def _watched_by_player(folder: Path) -> AsyncIterator[tuple[Player, str, str]]:
    async with (
        relay_at(folder, watch_requests_per_minute=0) as relay,
        playing(relay) as player,
        watching(relay, player) as (cam, _, path, tag),
    ):
        await relay.store.add_device("absent")
        await relay.store.grant("user", "absent")
        yield player, path, tag
        assert await player.status("DELETE", path) == 200
        ended = await cam.receive()
        while ended["type"] == "signal_ice":
            ended = await cam.receive()
        assert ended["payload"]["reason"] == "user_ended"


async def _send_body(player: Player, path: str, tag: str, body: bytes) -> None:
    status = await player.status("POST", "/whep/absent", body, **{"Content-Type": SDP})
    assert status in (400, 406, 409), body
    headers = {"Content-Type": FRAGMENT, "If-Match": tag}
    assert await player.status("PATCH", path, body, **headers) in (204, 400, 422), body
    assert await player.status("GET", path) == 204


def test_no_path_leads_anywhere_else(tmp_path: Path) -> None:
    """Whatever is asked for is a page, an answer of the API, or not there; never a fault."""
    parts = st.sampled_from(
        ("..", ".", "ws", "device", "api", "%2e%2e", "%00", "%ff", "index.html", "app.py", "", "~")
    )
    paths = st.lists(parts | st.text(max_size=10), max_size=6).map("/".join)
    examples = int(os.environ.get("CAMAGENT_GARBAGE_MESSAGES", "500")) // 10

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(path=paths)
    def ask(path: str) -> None:
        line = f"GET /{path} HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n"
        answer = runner.run(_answer(relay.port, line.encode(errors="surrogatepass")))
        status = answer.split(b" ", 2)[1] if answer else b""
        assert status in (b"", b"200", b"400", b"401", b"404", b"426"), answer[:200]
        assert b"def make_application" not in answer

    with asyncio.Runner() as runner:
        holding = relay_at(tmp_path)
        relay = runner.run(holding.__aenter__())
        try:
            ask()
        finally:
            runner.run(holding.__aexit__(None, None, None))


async def _answer(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    async with asyncio.timeout(15):
        answer = await reader.read()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return answer
