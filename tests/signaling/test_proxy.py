"""Devices behind a proxy: the environment names it, as for every other program."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.signaling.conftest import ScriptedServer
from tests.signaling.test_link import linked


class Proxy:
    """An HTTP proxy that knows CONNECT."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.port = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        target = request.split(" ")[1]
        self.asked.append(request.splitlines()[0])
        host, _, port = target.rpartition(":")
        onward_reader, onward_writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(_pump(reader, onward_writer), _pump(onward_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def test_the_environments_proxy_is_used(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With http_proxy set, the link goes through it."""
    proxy = Proxy()
    async with proxy.listening():
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        async with linked(server):
            device = await server.accepted()
            assert await device.welcome()

    assert proxy.asked == [f"CONNECT 127.0.0.1:{server.port} HTTP/1.1"]


async def test_no_proxy_is_heeded(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that no_proxy names is reached directly."""
    proxy = Proxy()
    async with proxy.listening():
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        async with linked(server):
            device = await server.accepted()
            assert await device.welcome()

    assert proxy.asked == []
