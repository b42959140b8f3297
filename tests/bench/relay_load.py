"""A WebSocket client that costs next to nothing, so that a load of thousands measures the server.

Frames are masked with zeros, which is a mask like any other (RFC 6455, 5.3) and leaves the text as
it is. Of what comes, only the number of messages and the time of the last one are noted, unless
somebody listens.
"""

import asyncio
import json
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

_TS = "2025-01-01T12:34:56.789Z"
_IN_FLIGHT = 512
_CLOSE = 8
_PING = 9


def frame(kind: str, payload: dict[str, object], **more: str) -> bytes:
    """Lay out one message as a masked text frame."""
    return _masked(1, json.dumps({"type": kind, "ts": _TS, "payload": payload} | more).encode())


def _masked(opcode: int, data: bytes) -> bytes:
    size = len(data)
    if size < 126:
        return bytes((0x80 | opcode, 0x80 | size)) + bytes(4) + data
    return struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, size) + bytes(4) + data


HEARTBEAT = frame("heartbeat", {})


class Peer(asyncio.Protocol):
    """One connection. `on_message` is called with each message's text, if it is set."""

    def __init__(self, path: str, hello: bytes) -> None:
        self._path = path
        self._hello = hello
        self._buffer = bytearray()
        self._is_upgraded = False
        self.transport: asyncio.Transport
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.received = 0
        self.on_message: Callable[[bytes], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.transport = transport  # type: ignore[assignment]
        self.transport.write(
            f"GET {self._path} HTTP/1.1\r\nHost: relay\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n".encode()
        )

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(ConnectionError(f"lost before hello_ack: {error}"))

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        if not self._is_upgraded:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            if not buffer.startswith(b"HTTP/1.1 101"):
                status = bytes(buffer[: buffer.find(b"\r\n")]).decode()
                self.ready.set_exception(ConnectionError(status))
                self.transport.abort()
                return
            del buffer[: end + 4]
            self._is_upgraded = True
            self.transport.write(self._hello)
        self._take_frames()

    def _take_frames(self) -> None:
        buffer = self._buffer
        at = 0
        while len(buffer) - at >= 2:
            size, head = buffer[at + 1], 2
            if size == 126:
                if len(buffer) - at < 4:
                    break
                (size,), head = struct.unpack_from("!H", buffer, at + 2), 4
            if len(buffer) - at < head + size:
                break
            self._take(buffer[at] & 15, buffer[at + head : at + head + size])
            at += head + size
        del buffer[:at]

    def _take(self, opcode: int, data: bytearray) -> None:
        if opcode == _PING:
            self.transport.write(_masked(10, bytes(data)))
        elif opcode == _CLOSE:
            self.transport.close()
        elif not self.ready.done():
            assert b'"hello_ack"' in data, bytes(data)
            self.ready.set_result(None)
        else:
            self.received += 1
            if self.on_message is not None:
                self.on_message(bytes(data))

    async def next(self, kind: str) -> dict[str, object]:
        """Wait for a message of this type and give its payload."""
        come: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        wanted = f'"type":"{kind}"'.encode()

        def listen(text: bytes) -> None:
            if wanted in text and not come.done():
                come.set_result(text)

        self.on_message = listen
        async with asyncio.timeout(20):
            payload: dict[str, object] = json.loads(await come)["payload"]
        return payload


async def connect(port: int, kind: str, hello: bytes) -> Peer:
    """Open one connection and wait for its hello_ack."""
    loop = asyncio.get_running_loop()
    _, peer = await loop.create_connection(lambda: Peer(f"/ws/{kind}", hello), "127.0.0.1", port)
    try:
        await peer.ready
    except ConnectionError:
        peer.transport.abort()
        raise
    return peer


async def connect_devices(port: int, names: Iterable[str]) -> tuple[list[Peer], float]:
    """Connect all of them, many at a time; give them and the seconds that it took."""
    room = asyncio.Semaphore(_IN_FLIGHT)

    async def one(name: str) -> Peer:
        async with room:
            return await connect(port, "device", frame("hello", {"device_id": name}))

    started_at_s = time.perf_counter()
    peers = await asyncio.gather(*(one(name) for name in names))
    return list(peers), time.perf_counter() - started_at_s


@asynccontextmanager
async def devices(port: int, names: Iterable[str]) -> AsyncIterator[list[Peer]]:
    """Hold a connection of each device."""
    peers, _ = await connect_devices(port, names)
    try:
        yield peers
    finally:
        await leave(peers)


async def leave(peers: Iterable[Peer]) -> None:
    """Close them all, as a program does that ends."""
    for peer in peers:
        peer.transport.abort()
    await asyncio.sleep(0.5)


async def beat(peers: list[Peer], *, per_second: float, for_s: float) -> None:
    """Send heartbeats from one connection after the other, one at a time."""
    started_at_s = time.perf_counter()
    for number in range(round(per_second * for_s)):
        late_s = started_at_s + number / per_second - time.perf_counter()
        if late_s > 0:
            await asyncio.sleep(late_s)
        peers[number % len(peers)].transport.write(HEARTBEAT)


async def race(peers: list[Peer], *, for_s: float) -> float:
    """Answer each ack with the next heartbeat; give the acks per second."""

    def go_on(peer: Peer) -> Callable[[bytes], None]:
        return lambda _text: peer.transport.write(HEARTBEAT)

    before = sum(peer.received for peer in peers)
    started_at_s = time.perf_counter()
    for peer in peers:
        peer.on_message = go_on(peer)
        peer.transport.write(HEARTBEAT)
    await asyncio.sleep(for_s)
    for peer in peers:
        peer.on_message = None
    return (sum(peer.received for peer in peers) - before) / (time.perf_counter() - started_at_s)
