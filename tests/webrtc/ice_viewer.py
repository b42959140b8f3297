"""The two ends of ICE alone: ours, and a viewer's that is aioice's own."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from aioice import Candidate, Connection
from aiortc.rtcicetransport import RTCIceGatherer, RTCIceTransport

from camagent.webrtc.gathering import TricklingConnection, trickle
from camagent.webrtc.ice_servers import IceServers
from camagent.webrtc.interfaces import InterfaceFilter


def new_connection(servers: IceServers | None = None) -> TricklingConnection:
    """Make our end, as a peer has it once there is an offer."""
    transport = RTCIceTransport(RTCIceGatherer(iceServers=[]))
    connection = trickle(transport, servers or IceServers(), InterfaceFilter())
    connection.remote_username, connection.remote_password = "them", "password" * 3
    return connection


async def tell(connection: Connection, candidates: Iterable[Candidate]) -> None:
    """Let one end know these candidates of the other, and that there are no more."""
    for candidate in (*candidates, None):
        await connection.add_remote_candidate(candidate)


@asynccontextmanager
async def strangers() -> AsyncIterator[tuple[TricklingConnection, Connection]]:
    """Hold our end and the viewer's: each has all of its own candidates, none the other's."""
    ours, theirs = new_connection(), Connection(ice_controlling=True)
    for one, other in ((ours, theirs), (theirs, ours)):
        await one.gather_candidates()
        one.remote_username, one.remote_password = other.local_username, other.local_password
    ours.is_gathering = False
    try:
        yield ours, theirs
    finally:
        await asyncio.gather(ours.close(), theirs.close())


@asynccontextmanager
async def introduced() -> AsyncIterator[tuple[TricklingConnection, Connection]]:
    """Hold our end and the viewer's, each of which knows the other's candidates."""
    async with strangers() as (ours, theirs):
        await tell(ours, theirs.local_candidates)
        await tell(theirs, ours.local_candidates)
        yield ours, theirs
