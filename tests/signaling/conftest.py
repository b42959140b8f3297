"""A server that does what a test tells it, over a real WebSocket."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve

from camagent.signaling.messages import ToDevice, encode
from tests.support import DEADLINE_S

TS = "2025-01-01T12:34:56.789Z"


class DeviceSocket:
    """The server's end of one device's connection."""

    def __init__(self, websocket: ServerConnection) -> None:
        self.websocket = websocket

    async def receive(self, kind: str | None = None) -> dict[str, Any]:
        """Take the next message; with `kind`, the next of that type."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                message: dict[str, Any] = json.loads(await self.websocket.recv())
                if kind is None or message["type"] == kind:
                    return message

    async def send(self, message: ToDevice) -> None:
        await self.websocket.send(encode(message))

    async def send_raw(self, text: str) -> None:
        await self.websocket.send(text)

    async def welcome(self, extensions: list[str] | None = None) -> dict[str, Any]:
        """Take the hello and acknowledge it."""
        hello = await self.receive()
        payload: dict[str, Any] = {
            "device_id": hello["payload"]["device_id"],
            "server_time": TS,
        }
        if extensions is not None:
            payload["extensions"] = extensions
        await self.send_raw(json.dumps({"type": "hello_ack", "ts": TS, "payload": payload}))
        return hello


class ScriptedServer:
    """Accepts devices; the test takes each connection by `accepted`."""

    def __init__(self) -> None:
        self._sockets: asyncio.Queue[DeviceSocket] = asyncio.Queue()
        self.connections = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws/device"

    async def accepted(self) -> DeviceSocket:
        async with asyncio.timeout(DEADLINE_S):
            return await self._sockets.get()

    async def _serve(self, websocket: ServerConnection) -> None:
        self.connections += 1
        await self._sockets.put(DeviceSocket(websocket))
        await websocket.wait_closed()

    @asynccontextmanager
    async def listening(self, port: int = 0, **options: Any) -> AsyncIterator[Server]:
        async with serve(self._serve, "127.0.0.1", port, **options) as server:
            self.port = next(iter(server.sockets)).getsockname()[1]
            yield server


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    scripted = ScriptedServer()
    async with scripted.listening():
        yield scripted


Handshake = Callable[[ServerConnection, Any], Awaitable[Any]]
