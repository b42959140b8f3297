"""A relay in this process, and devices and viewers that talk to it over real WebSockets."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

from pydantic import SecretStr
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from server_stub.app import running
from server_stub.auth import make_token
from server_stub.records import SessionRecord
from server_stub.relay import Relay
from server_stub.settings import RelaySettings
from tests.support import DEADLINE_S, eventually

SECRET = "a secret of a throw-away relay, long enough"
TS = "2025-01-01T12:34:56.789Z"


def relay_settings(folder: Path, **changes: Any) -> RelaySettings:
    values: dict[str, Any] = {
        "jwt_secret": SecretStr(SECRET),
        "host": "127.0.0.1",
        "port": 0,
        "database_url": SecretStr(f"sqlite+aiosqlite:///{folder / 'relay.db'}"),
        "_env_file": None,
    }
    return RelaySettings(**(values | changes))


@asynccontextmanager
async def relay_at(folder: Path, **changes: Any) -> AsyncIterator[Relay]:
    """Hold a relay that knows the device `cam`, which the user `user` may watch."""
    async with running(relay_settings(folder, **changes)) as relay:
        await relay.store.add_device("cam")
        await relay.store.grant("user", "cam")
        yield relay


class TwoInstances:
    """A relay of two instances: devices connect to one and viewers to the other.

    Everything that is not of the devices' side is the viewers'.
    """

    def __init__(self, of_devices: Relay, of_viewers: Relay) -> None:
        self.of_devices = of_devices
        self.of_viewers = of_viewers
        self.devices = of_devices.devices

    def __getattr__(self, name: str) -> Any:
        return getattr(self.of_viewers, name)


@asynccontextmanager
async def two_instances(
    folder: Path, redis_url: str, **changes: Any
) -> AsyncIterator[TwoInstances]:
    """Hold two instances that know the device `cam`, which the user `user` may watch."""
    settings = relay_settings(folder, redis_url=SecretStr(redis_url), **changes)
    async with running(settings) as of_devices, running(settings) as of_viewers:
        await of_devices.store.add_device("cam")
        await of_devices.store.grant("user", "cam")
        yield TwoInstances(of_devices, of_viewers)


def port_of(relay: "Relay | TwoInstances", path: str) -> int:
    """Tell where a relay takes devices, or viewers."""
    if isinstance(relay, TwoInstances):
        return (relay.of_devices if path == "device" else relay.of_viewers).port
    return relay.port


class Client:
    """One end of a WebSocket to the relay."""

    def __init__(self, websocket: ClientConnection) -> None:
        self.websocket = websocket

    async def send(
        self, kind: str, payload: dict[str, Any] | None = None, *, request_id: str | None = None
    ) -> None:
        message: dict[str, Any] = {"type": kind, "ts": TS, "payload": payload or {}}
        if request_id is not None:
            message["request_id"] = request_id
        await self.websocket.send(json.dumps(message))

    async def receive(self) -> dict[str, Any]:
        """Take the next message."""
        async with asyncio.timeout(DEADLINE_S):
            message: dict[str, Any] = json.loads(await self.websocket.recv())
        assert message["ts"].endswith("Z")
        return message

    async def payload(self, kind: str) -> dict[str, Any]:
        """Take the next message, which is of this type, and give its payload."""
        message = await self.receive()
        assert message["type"] == kind, message
        payload: dict[str, Any] = message["payload"]
        return payload

    async def error(self, *, request_id: str | None = None) -> str:
        """Take the next message, which is an error, and give its text."""
        message = await self.receive()
        assert message["type"] == "error", message
        assert message.get("request_id") == request_id
        return str(message["payload"]["message"])

    async def ended(self) -> tuple[int, str]:
        """Wait for the relay's close, past whatever comes before; give its code and reason."""
        async with asyncio.timeout(DEADLINE_S):
            try:
                while True:
                    await self.websocket.recv()
            except ConnectionClosed as closed:
                if closed.rcvd is None:
                    return 1006, ""
                return closed.rcvd.code, closed.rcvd.reason

    async def nothing_came(self) -> None:
        """Show by a heartbeat, which is answered in order, that no other message is waiting."""
        await self.send("heartbeat", request_id="nothing")
        assert await self.receive() | {"ts": TS} == {
            "type": "heartbeat_ack",
            "request_id": "nothing",
            "ts": TS,
            "payload": {},
        }

    async def leave(self) -> None:
        await self.websocket.close()


class DeafViewer:
    """A viewer that speaks WebSocket by hand, so that it can refrain from reading."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.setblocking(False)  # noqa: FBT003 - the standard library's signature
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", self._port))
        self._reader, self._writer = await asyncio.open_connection(sock=raw)
        self._writer.write(
            b"GET /ws/viewer HTTP/1.1\r\nHost: relay\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
        )
        await self._reader.readuntil(b"\r\n\r\n")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.transport.abort()

    def send(self, kind: str, payload: dict[str, Any]) -> None:
        data = json.dumps({"type": kind, "ts": TS, "payload": payload}).encode()
        head = struct.pack("!BBH", 0x81, 0x80 | 126, len(data))
        self._writer.write(head + bytes(4) + data)

    async def receive(self) -> dict[str, Any]:
        size = (await self._reader.readexactly(2))[1]
        if size == 126:
            (size,) = struct.unpack("!H", await self._reader.readexactly(2))
        message: dict[str, Any] = json.loads(await self._reader.readexactly(size))
        return message

    def stop_reading(self) -> None:
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    async def watch(self) -> str:
        """Start a session with `cam` as `user`, read nothing from then on, and give its id."""
        self.send("hello", {"token": make_token(SECRET, "user", 60)})
        assert (await self.receive())["type"] == "hello_ack"
        self.send("watch_request", {"device_id": "cam"})
        session_id = str((await self.receive())["payload"]["session_id"])
        self.stop_reading()
        return session_id


@asynccontextmanager
async def client(relay: Relay, path: str, *, token: str | None = None) -> AsyncIterator[Client]:
    """Hold a socket that has said nothing yet; `token` goes into its Authorization header."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    url = f"ws://127.0.0.1:{port_of(relay, path)}/ws/{path}"
    async with connect(url, additional_headers=headers, proxy=None, close_timeout=5) as websocket:
        yield Client(websocket)


@asynccontextmanager
async def device(
    relay: Relay, device_id: str = "cam", *, token: str | None = None
) -> AsyncIterator[Client]:
    """Hold a device that the relay has acknowledged."""
    async with client(relay, "device", token=token) as peer:
        await peer.send("hello", {"device_id": device_id})
        await peer.payload("hello_ack")
        yield peer


@asynccontextmanager
async def viewer(
    relay: Relay, user_id: str = "user", *, valid_for_s: float = 600
) -> AsyncIterator[Client]:
    """Hold a viewer that the relay has acknowledged."""
    async with client(relay, "viewer") as peer:
        await peer.send("hello", {"token": make_token(SECRET, user_id, valid_for_s)})
        await peer.payload("hello_ack")
        yield peer


async def watch(watching: Client, watched: Client, device_id: str = "cam") -> str:
    """Start a session between the two and give its id."""
    await watching.send("watch_request", {"device_id": device_id})
    ready = await watching.payload("watch_ready")
    wanted = await watched.payload("watch_request")
    assert ready["session_id"] == wanted["session_id"]
    return str(ready["session_id"])


async def recorded(relay: Relay, session_id: str) -> SessionRecord:
    """Wait until the end of a session is written down."""
    found: list[SessionRecord] = []

    async def is_there() -> bool:
        found[:] = [one for one in await relay.store.sessions() if one.session_id == session_id]
        return bool(found) and found[0].ended_at is not None

    await eventually(is_there)
    return found[0]
