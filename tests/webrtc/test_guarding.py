"""What anybody who can send to the port of a session may do to it, over real sockets."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any

import pytest
from aioice import Candidate, Connection
from aioice.stun import (
    ATTRIBUTES_BY_TYPE,
    COOKIE,
    Class,
    Message,
    Method,
    TransactionFailed,
)
from aioice.turn import create_turn_endpoint
from hypothesis import given
from hypothesis import strategies as st

from camagent.webrtc.guarding import parse_message
from tests.support import DEADLINE_S
from tests.webrtc.ice_viewer import introduced, new_connection, strangers, tell
from tests.webrtc.viewers import camera, served, viewer

SRTP = b"\x80"
MALFORMED = struct.pack("!HHI12s", 1, 8, COOKIE, bytes(12)) + struct.pack("!HH4s", 0x24, 1, b"")
"""A request whose priority has one byte."""
LOOPBACK = "127.0.0.1"
ALLOCATION_BYTES = 36
"""A header and two attributes of four bytes."""

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


@given(
    kind=st.integers(0, 0x3FFF),
    attributes=st.lists(
        st.tuples(st.sampled_from(sorted(ATTRIBUTES_BY_TYPE)), st.binary(max_size=24)), max_size=3
    ),
)
def test_a_message_can_be_read_or_is_none(kind: int, attributes: list[tuple[int, bytes]]) -> None:
    """Whatever is in it, nothing worse than ValueError comes of it."""
    body = b"".join(
        struct.pack("!HH", number, len(value)) + value + bytes(-len(value) % 4)
        for number, value in attributes
    )
    with suppress(ValueError):
        parse_message(struct.pack("!HHI12s", kind, len(body), COOKIE, bytes(12)) + body)


def test_what_starts_as_something_else_is_no_message() -> None:
    """A packet whose other bytes happen to fit is none either."""
    request = bytes(Message(Method.BINDING, Class.REQUEST))
    assert parse_message(request).message_method is Method.BINDING
    with pytest.raises(ValueError, match="not STUN"):
        parse_message(SRTP + request[1:])


async def test_what_a_stranger_cannot_spell_is_no_error_of_ours() -> None:
    """It is dropped, and what comes after is answered."""
    connection = new_connection()
    await connection.gather_candidates()
    try:
        with stranger(connection) as sender, complaints() as complained:
            await send_all(sender, [MALFORMED])
        assert complained == []
    finally:
        await connection.close()


def stammered(request: bytes) -> tuple[bytes, bytes]:
    """Answer as a TURN server that cannot spell at first, and then refuses."""
    asked = parse_message(request)
    refusal = Message(asked.message_method, Class.ERROR, asked.transaction_id)
    refusal.attributes["ERROR-CODE"] = (400, "no")
    return MALFORMED, bytes(refusal)


class Stammering(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        for answer in stammered(data):
            self.transport.sendto(answer, address)


@asynccontextmanager
async def stammering(transport: str) -> AsyncIterator[tuple[str, int]]:
    """Hold such a server and give its address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.writelines(stammered(await reader.readexactly(ALLOCATION_BYTES)))
        await reader.read()
        writer.close()
        await writer.wait_closed()
        served.set()

    served = asyncio.Event()
    loop = asyncio.get_running_loop()
    if transport == "tcp":
        async with await asyncio.start_server(serve, LOOPBACK, 0) as server:
            yield server.sockets[0].getsockname()
            await served.wait()
    else:
        endpoint, _ = await loop.create_datagram_endpoint(Stammering, local_addr=(LOOPBACK, 0))
        yield endpoint.get_extra_info("sockname")
        endpoint.close()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_what_a_turn_server_cannot_spell_is_left_out(transport: str) -> None:
    """What it says after that is heard."""
    with complaints() as complained:
        async with stammering(transport) as address, asyncio.timeout(DEADLINE_S):
            with pytest.raises(TransactionFailed):
                await create_turn_endpoint(
                    asyncio.DatagramProtocol, address, None, None, transport=transport
                )
    assert complained == []
