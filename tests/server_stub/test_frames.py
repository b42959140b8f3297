"""The frames of a WebSocket are counted, however they arrive, and only so many pass."""

import asyncio
import base64
import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_stub import door
from server_stub.frames import FrameAllowance
from server_stub.relay import Relay
from tests.server_stub.peers import device, relay_at
from tests.support import DEADLINE_S, until

PING, PONG, TEXT, FRAGMENT, FIRST_FRAGMENT = 0x89, 0x8A, 0x81, 0x00, 0x01
HANDSHAKE = (
    b"GET /ws/viewer HTTP/1.1\r\nHost: relay\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n\r\n"
) % base64.b64encode(os.urandom(16))


def frame(payload: bytes = b"", *, first: int = TEXT, has_mask: bool = True) -> bytes:
    """Lay out a frame as a client does, with a mask that changes nothing."""
    size, marked = len(payload), 0x80 if has_mask else 0
    if size < 126:
        length = bytes((marked | size,))
    elif size < 1 << 16:
        length = bytes((marked | 126,)) + size.to_bytes(2, "big")
    else:
        length = bytes((marked | 127,)) + size.to_bytes(8, "big")
    return bytes((first,)) + length + (bytes(4) if has_mask else b"") + payload


class Flooder:
    """Counts how often it was turned away."""

    def __init__(self) -> None:
        self.stopped = 0

    def stop_flood(self) -> None:
        self.stopped += 1


def allowance(messages_at_once: int, sender: Flooder) -> FrameAllowance:
    frames = FrameAllowance(messages_per_second=1, messages_at_once=messages_at_once, now_s=0)
    frames.watch(sender)
    return frames


sizes = st.integers(0, 300) | st.sampled_from((125, 126, 65_535, 65_536, 70_000))


@given(
    sizes=st.lists(sizes, min_size=9, max_size=20),
    has_mask=st.booleans(),
    cuts=st.lists(st.integers(0, 4000), max_size=40),
)
def test_what_is_too_much_is_cut_between_two_frames(
    sizes: list[int], cuts: list[int], *, has_mask: bool
) -> None:
    """Eight frames of all sizes pass as they are, in whatever pieces they come, and no ninth."""
    whole = [frame(b"x" * size, has_mask=has_mask) for size in sizes]
    stream, allowed = b"".join(whole), b"".join(whole[:8])
    ends = sorted({*(cut for cut in cuts if cut < len(stream)), len(stream)})
    pieces = [stream[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    sender = Flooder()
    frames = allowance(2, sender)

    passed = b"".join(frames.pass_on(piece, 0) for piece in pieces)

    # Of a header that came in two pieces the first is on its way before it can be counted.
    assert passed.startswith(allowed)
    assert len(passed) - len(allowed) < 14
    assert sender.stopped == 1


def test_frames_come_back_with_time() -> None:
    """Who stays within the rate sends for ever."""
    sender = Flooder()
    frames = allowance(1, sender)
    for second in range(100):
        assert frames.pass_on(frame() * 4, second) == frame() * 4
    assert not sender.stopped
    assert frames.pass_on(frame() * 5, 100) == frame() * 4
    assert sender.stopped


def test_too_many_before_anybody_watches_are_told_all_the_same() -> None:
    """The first frames may come while the answer to the handshake is still on its way out."""
    frames = FrameAllowance(messages_per_second=1, messages_at_once=1, now_s=0)
    frames.pass_on(frame() * 5, 0)
    sender = Flooder()
    frames.watch(sender)
    assert sender.stopped


@asynccontextmanager
async def connection(
    relay: Relay,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    try:
        async with asyncio.timeout(DEADLINE_S):
            yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.parametrize("first", [PING, FRAGMENT], ids=["pings", "fragments"])
async def test_frames_that_are_no_messages_are_limited(relay: Relay, first: int) -> None:
    """Ten thousand of them end the connection, and few of them are answered."""
    async with device(relay) as cam:
        async with connection(relay) as (reader, writer):
            writer.write(HANDSHAKE)
            assert b" 101 " in (await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")[0]
            if first == FRAGMENT:
                writer.write(frame(first=FIRST_FRAGMENT))
            writer.write(frame(first=first) * 10_000)
            said = b""
            with contextlib.suppress(ConnectionError):
                while some := await reader.read(65_536):
                    said += some
            assert said.count(bytes((PONG, 0))) <= 800
        await cam.nothing_came()
    assert relay.meters.registry.get_sample_value(
        "camagent_relay_rate_limited_total", {"limit": "messages"}
    )


async def test_frames_before_their_time_are_refused(relay: Relay) -> None:
    """A client waits for the answer to its handshake; what it has not waited with is not counted."""
    async with connection(relay) as (reader, writer):
        writer.write(HANDSHAKE + frame(first=PING) * 100)
        assert b" 400 " in await reader.readline()
    async with connection(relay) as (reader, writer):
        for piece in (HANDSHAKE[:-3], HANDSHAKE[-3:]):
            writer.write(piece)
            await writer.drain()
        assert b" 101 " in await reader.readline()


async def test_early_frames_cannot_look_like_headers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others that come while Redis is asked whether this client may, and end as headers do."""
    asked, answered = asyncio.Event(), asyncio.Event()

    async def refusal(_key: str) -> None:
        asked.set()
        await answered.wait()

    async with (
        relay_at(tmp_path, unlimited_addresses=()) as relay,
        connection(relay) as (reader, writer),
    ):
        monkeypatch.setattr(relay.door, "_refusal", refusal)
        writer.write(HANDSHAKE)
        await asked.wait()
        writer.write(frame(first=PING) * 100 + frame(b"\r\n\r\n"))
        await writer.drain()
        async with connection(relay) as (later_reader, later_writer):
            later_writer.write(b"GET /healthz HTTP/1.1\r\nHost: relay\r\n\r\n")
            assert b" 200 " in await later_reader.readline()
        answered.set()
        assert b" 400 " in await reader.readline()


async def test_idle_sockets_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever keeps sockets for requests that never come loses the oldest of them, not us ours."""
    monkeypatch.setattr(door, "_MOST_IDLE", 5)
    async with relay_at(tmp_path) as relay, contextlib.AsyncExitStack() as held:
        cam = await held.enter_async_context(device(relay))
        sockets = []
        for _ in range(8):
            reader, writer = await held.enter_async_context(connection(relay))
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: relay\r\n\r\n")
            assert b" 200 " in await reader.readline()
            sockets.append((reader, writer))
        for reader, _ in sockets[:3]:
            with contextlib.suppress(ConnectionError):
                await reader.read()
        await cam.nothing_came()
        reader, writer = sockets[3]
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).endswith(b"ok\n")
        await until(lambda: len(relay.door._idle) == 4)
