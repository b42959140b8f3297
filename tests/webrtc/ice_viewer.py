"""The two ends of ICE alone: ours, and a viewer's that is aioice's own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aioice import Connection
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


async def no_more(connection: TricklingConnection) -> None:
    """Let our end know all of its candidates."""
    await connection.gather_candidates()
    connection.is_gathering = False


@asynccontextmanager
async def introduced() -> AsyncIterator[tuple[TricklingConnection, Connection]]:
    """Hold our end and the viewer's, each of which knows the other's candidates."""
    ours, theirs = new_connection(), Connection(ice_controlling=True)
    await no_more(ours)
    await theirs.gather_candidates()
    for one, other in ((ours, theirs), (theirs, ours)):
        one.remote_username, one.remote_password = other.local_username, other.local_password
        for candidate in (*other.local_candidates, None):
            await one.add_remote_candidate(candidate)
    try:
        yield ours, theirs
    finally:
        await asyncio.gather(ours.close(), theirs.close())
