"""What anybody who can send to the port of a session may do to it, over real sockets."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from aioice import Connection
from aioice.stun import Class, Message, Method, parse_message

from tests.support import DEADLINE_S
from tests.webrtc.ice_viewer import introduced, new_connection
from tests.webrtc.viewers import camera, served, viewer

SRTP = b"\x80"
BATCH = 50
"""As many datagrams as a socket's buffer holds in any case."""


@contextmanager
def stranger(connection: Connection) -> Iterator[socket.socket]:
    """Hold a socket that sends to the first of our ports."""
    port = connection._protocols[0].transport.get_extra_info("socket")
    with socket.socket(port.family, socket.SOCK_DGRAM) as sender:
        sender.settimeout(0)
        sender.connect(port.getsockname())
        yield sender


async def answer_to(sender: socket.socket, request: Message) -> Message:
    """Send a request and take its answer: what was sent before has been read then."""
    sender.send(bytes(request))
    async with asyncio.timeout(DEADLINE_S):
        return parse_message(await asyncio.get_running_loop().sock_recv(sender, 2048))


async def send_all(sender: socket.socket, datagrams: list[bytes]) -> None:
    """Send these, no faster than they are read."""
    for start in range(0, len(datagrams), BATCH):
        for datagram in datagrams[start : start + BATCH]:
            sender.send(datagram)
        await answer_to(sender, Message(Method.BINDING, Class.REQUEST))


async def test_little_is_kept_before_there_is_a_way() -> None:
    """An early hello would be among it; a flood is dropped."""
    connection = new_connection()
    await connection.gather_candidates()
    try:
        with stranger(connection) as sender:
            await send_all(sender, [SRTP + bytes(1_200)] * 200)

        assert connection._queue.qsize() == 64
    finally:
        await connection.close()


async def test_no_more_is_kept_than_can_be_of_use() -> None:
    """Also once somebody reads, if he does not keep up."""
    async with introduced() as (ours, theirs):
        await asyncio.gather(ours.connect(), theirs.connect())
        with stranger(ours) as sender:
            await send_all(sender, [SRTP] * 1_200)

        assert ours._queue.qsize() == 1_024


@pytest.mark.parametrize("datagram", [b"", SRTP + bytes(1_500)], ids=["empty", "long"])
async def test_no_datagram_of_a_stranger_ends_a_session(datagram: bytes) -> None:
    """What aiortc's readers take for impossible does not get to them."""
    async with camera() as capture, viewer() as one, served(one, capture) as service:
        await one.picture()
        with stranger(service.session.sender._sender.transport.transport._connection) as sender:
            await send_all(sender, [datagram])
        await one.picture()
        await one.picture()

        assert not service.session.is_over
