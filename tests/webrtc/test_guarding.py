"""What anybody who can send to the port of a session may do to it, over real sockets."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any

import pytest
from aioice import Candidate, Connection
from aioice.stun import Class, Message, Method, parse_message

from tests.support import DEADLINE_S
from tests.webrtc.ice_viewer import introduced, new_connection, strangers, tell
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
        while True:
            heard = parse_message(await asyncio.get_running_loop().sock_recv(sender, 2048))
            if heard.transaction_id == request.transaction_id:
                return heard


async def send_all(sender: socket.socket, datagrams: list[bytes]) -> None:
    """Send these, no faster than they are read."""
    for start in range(0, len(datagrams), BATCH):
        for datagram in datagrams[start : start + BATCH]:
            sender.send(datagram)
        await answer_to(sender, Message(Method.BINDING, Class.REQUEST))


def check_by_viewer(ours: Connection, *, is_nominating: bool = False) -> Message:
    """Make a check that only our viewer can make, from wherever it may be."""
    user = f"{ours.local_username}:{ours.remote_username}"
    attributes = {"PRIORITY": 1, "USERNAME": user, "ICE-CONTROLLING": 1}
    if is_nominating:
        attributes["USE-CANDIDATE"] = None
    return signed(ours, attributes)


def signed(ours: Connection, attributes: dict[str, Any]) -> Message:
    request = Message(Method.BINDING, Class.REQUEST, attributes=attributes)
    request.add_message_integrity(ours.local_password.encode())
    return request


@contextmanager
def complaints() -> Iterator[list[dict[str, Any]]]:
    """List what would be an error with a traceback in the log."""
    found: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: found.append(context))
    try:
        yield found
    finally:
        loop.set_exception_handler(None)


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


async def test_a_viewer_that_is_everywhere_is_followed_to_some_places_only() -> None:
    """It is answered from each new port, but no more candidates come of it; the old ones are good."""
    async with introduced() as (ours, theirs), AsyncExitStack() as places:
        await asyncio.gather(ours.connect(), theirs.connect())
        senders = [places.enter_context(stranger(ours)) for _ in range(120)]
        for sender in senders:
            answer = await answer_to(sender, check_by_viewer(ours))
            assert answer.message_class is Class.RESPONSE
        assert len(ours.remote_candidates) == 100

        address = senders[0].getsockname()[:2]
        first = next(pair for pair in ours._check_list if pair.remote_addr == address)
        first.remote_candidate.host = "somebody.local"
        await answer_to(senders[0], check_by_viewer(ours, is_nominating=True))
        assert first.remote_nominated


async def test_a_check_without_a_priority_breaks_nothing() -> None:
    """It is answered, and no candidate comes of it."""
    async with introduced() as (ours, theirs):
        await asyncio.gather(ours.connect(), theirs.connect())
        check = check_by_viewer(ours)
        del check.attributes["PRIORITY"]
        with stranger(ours) as sender, complaints() as complained:
            await answer_to(sender, signed(ours, check.attributes))

        assert complained == []


async def test_a_candidate_for_rtcp_breaks_nothing() -> None:
    """Where RTCP alone was to come from, checks are those of an unknown."""
    async with strangers() as (ours, theirs), AsyncExitStack() as places:
        sender = places.enter_context(stranger(ours))
        host, port = sender.getsockname()[:2]
        for_rtcp = Candidate("f", 2, "udp", 1, host, port, "host")
        await tell(ours, [for_rtcp, *theirs.local_candidates])
        await tell(theirs, ours.local_candidates)
        await asyncio.gather(ours.connect(), theirs.connect())
        with complaints() as complained:
            await answer_to(sender, check_by_viewer(ours))

        assert complained == []
        assert ours.remote_candidates[-1].type == "prflx"
