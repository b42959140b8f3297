"""Tries STUN and TURN servers for real: asks for our address, or for a relayed one.

It reads URLs, resolves names and checks certificates as a session's peer connection does, so that
what works here works there. Only the way to the server is tried: no picture crosses it.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, TypeVar

from aioice import stun, turn

from camagent.signaling.messages import IceServer
from camagent.webrtc.ice_servers import StunServer, TurnServer, UnusableUrl, read_server
from camagent.webrtc.server_problem import Problem, explain

T = TypeVar("T")

# aioice itself asks a server that has gone for a minute to take an allocation back.
_GIVE_BACK_DEADLINE_S = 2.0
_CLOSE_DEADLINE_S = 1.0


@dataclass(frozen=True)
class Probe:
    """What came of one URL.

    Attributes:
        took_ms: until the answer, or until we gave up.
        text: the address that the server gave us, or what went wrong; without URL and credential.
        address: what viewers would be told because of this server.
    """

    url: str
    took_ms: int
    text: str
    problem: Problem | None = None
    address: str | None = None


async def probe_ice_server(server: IceServer, *, deadline_s: float = 5.0) -> list[Probe]:
    """Ask at every URL of `server`, all at once; one result for each, in their order.

    Takes `deadline_s` at most, and a few seconds more if a TURN server goes away meanwhile.
    """
    async with asyncio.TaskGroup() as tasks:
        probes = [
            tasks.create_task(_probe(url, server, deadline_s=deadline_s)) for url in server.all_urls
        ]
    return [probe.result() for probe in probes]


async def _probe(url: str, server: IceServer, *, deadline_s: float) -> Probe:
    started_at_s = time.monotonic()
    try:
        one = read_server(url, server)
        async with AsyncExitStack() as held:
            # Giving an allocation back does not count: that is over when the answer is in.
            async with asyncio.timeout(deadline_s):
                host, port = await held.enter_async_context(_asked(one))
            is_relayed = isinstance(one, TurnServer)
            text = f"{'relays' if is_relayed else 'sees us'} at {host} port {port}"
            return Probe(url, _ms_since(started_at_s), text, address=host)
    except UnusableUrl as error:
        return Probe(url, _ms_since(started_at_s), str(error), Problem.URL)
    except (OSError, ValueError, stun.TransactionError) as error:
        problem, text = explain(error, deadline_s=deadline_s)
        return Probe(url, _ms_since(started_at_s), text, problem)


def _ms_since(started_at_s: float) -> int:
    return round((time.monotonic() - started_at_s) * 1000)


class _Watched(asyncio.BaseProtocol):
    """Tells of a lost connection, which aioice's protocols wait out."""

    @cached_property
    def lost(self) -> asyncio.Future[Exception]:
        """Done when nothing can come any more, with the reason."""
        return asyncio.get_running_loop().create_future()

    def error_received(self, error: Exception) -> None:
        self._lose(error)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._lose(error or ConnectionResetError("the connection was closed"))

    def _lose(self, error: Exception) -> None:
        if not self.lost.done():
            self.lost.set_result(error)


class _OverUdp(_Watched, turn.TurnClientUdpProtocol):
    pass


class _OverTcp(_Watched, turn.TurnClientTcpProtocol):
    pass


@asynccontextmanager
async def _asked(server: StunServer | TurnServer) -> AsyncIterator[tuple[str, int]]:
    """Give the address that the server answers with, and hold what it gave us while the block runs."""
    client = await _connect(server)
    try:
        is_relay = isinstance(server, TurnServer)
        yield await _unless_lost(client, client.connect() if is_relay else _bind(client))
    finally:
        await _leave(client)


async def _connect(server: StunServer | TurnServer) -> _OverUdp | _OverTcp:
    loop = asyncio.get_running_loop()
    address = (server.host, server.port)
    turn_server = server if isinstance(server, TurnServer) else None
    named: dict[str, Any] = {
        "username": turn_server and turn_server.username,
        "password": turn_server and turn_server.credential,
        "lifetime": turn.DEFAULT_ALLOCATION_LIFETIME,
        "channel_refresh_time": turn.DEFAULT_CHANNEL_REFRESH_TIME,
    }
    if turn_server is not None and turn_server.transport != "udp":
        make_tcp = partial(_OverTcp, address, **named)
        is_tls = turn_server.transport == "tls"
        return (await loop.create_connection(make_tcp, *address, ssl=is_tls))[1]
    # A session looks for the IPv4 address of a STUN server only.
    family = socket.AF_INET if turn_server is None else socket.AF_UNSPEC
    make_udp = partial(_OverUdp, address, **named)
    return (await loop.create_datagram_endpoint(make_udp, remote_addr=address, family=family))[1]


async def _bind(client: _OverUdp | _OverTcp) -> tuple[str, int]:
    """Ask for our own address (RFC 8489, section 3), which a TURN client can as well."""
    request = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
    response, _ = await client.request(request)
    try:
        host, port = response.attributes["XOR-MAPPED-ADDRESS"]
    except KeyError as error:
        raise ConnectionError("its answer lacks our address") from error
    return host, port


async def _unless_lost(client: _OverUdp | _OverTcp, work: Coroutine[Any, Any, T]) -> T:
    """Wait for `work`; once the connection is lost, it would wait for nothing."""
    working = asyncio.create_task(work)
    try:
        either: set[asyncio.Future[Any]] = {working, client.lost}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise client.lost.result()
        return await working
    finally:
        working.cancel()
        await asyncio.wait({working})


async def _leave(client: _OverUdp | _OverTcp) -> None:
    """Give an allocation back, as far as the server still hears it, and close the socket."""
    if client.relayed_address is not None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GIVE_BACK_DEADLINE_S):
                await client.delete()
    client.transport.abort()
    await asyncio.wait({client.lost}, timeout=_CLOSE_DEADLINE_S)
