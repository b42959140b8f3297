"""What trickling adds to aioice's checks and servers, with nobody at the other end."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aioice import Candidate
from aioice.ice import CandidatePair, StunProtocol
from aioice.stun import Class, Message, Method, parse_message
from structlog.testing import capture_logs

from camagent.webrtc.gathering import TricklingConnection
from camagent.webrtc.ice_servers import IceServers, StunServer
from tests.support import until
from tests.webrtc.ice_viewer import new_connection

VIEWER = ("192.0.2.7", 5000)
A_FEW = 10


def candidate(address: str) -> Candidate:
    return Candidate("f", 1, "udp", 1, address, 5000, "host")


class Listening(StunProtocol):
    """Notes what is sent, and sends nothing."""

    def __init__(self, connection: TricklingConnection) -> None:
        super().__init__(connection)
        self.local_candidate = candidate("192.0.2.8")
        self.sent: list[bytes] = []

    def send_stun(self, message: Message, addr: tuple[str, int]) -> None:
        assert addr == VIEWER
        self.sent.append(message.transaction_id)


async def test_a_check_is_answered_by_ours_at_once() -> None:
    """The same check leaves again with each of the viewer's, until there is an answer to it."""
    connection = new_connection()
    protocol = Listening(connection)
    connection._protocols.append(protocol)
    await connection.add_remote_candidate(candidate(VIEWER[0]))
    (pair,) = connection._check_list
    connection.check_start_task(pair)
    await until(lambda: len(protocol.sent) == 1)

    theirs = Message(Method.BINDING, Class.REQUEST, attributes={"PRIORITY": 1})
    connection.check_incoming(theirs, VIEWER, protocol)
    assert protocol.sent == [protocol.sent[0]] * 2

    pair.state = CandidatePair.State.SUCCEEDED
    connection.check_incoming(theirs, VIEWER, protocol)
    assert len(protocol.sent) == 2
    assert pair.task is not None
    pair.task.cancel()
    await asyncio.wait({pair.task})


async def rounds_until(claim: Callable[[], bool]) -> int:
    """Count the rounds of the loop until `claim` holds, in which no time is waited."""
    rounds = 0
    while not claim():
        rounds += 1
        assert rounds < A_FEW, "it takes a timer"
        await asyncio.sleep(0)
    return rounds


async def test_connecting_waits_for_no_timer() -> None:
    """It begins with the first thing to check, and ends with the way that is found."""
    connection = new_connection()
    protocol = Listening(connection)
    connection._protocols.append(protocol)
    connection._local_candidates_end = True
    connecting = asyncio.ensure_future(connection.connect())
    await asyncio.sleep(0.01)
    assert protocol.sent == []

    await connection.add_remote_candidate(candidate(VIEWER[0]))
    await rounds_until(lambda: len(protocol.sent) == 1)
    (pair,) = connection._check_list
    pair.state, pair.nominated = CandidatePair.State.SUCCEEDED, True
    check = pair.task
    connection.check_complete(pair)
    await rounds_until(connecting.done)

    connecting.result()
    assert check is not None
    check.cancel()
    await asyncio.wait({check})
    connection._protocols.clear()
    await connection.close()


async def test_the_viewer_s_check_is_something_to_check() -> None:
    """A viewer whose candidates are names that nobody knows is found by its own check."""
    connection = new_connection()
    protocol = Listening(connection)
    connection._protocols.append(protocol)
    connection._local_candidates_end = True
    connecting = asyncio.ensure_future(connection.connect())
    await asyncio.sleep(0)
    theirs = Message(
        Method.BINDING,
        Class.REQUEST,
        attributes={"PRIORITY": 1, "USERNAME": f"{connection.local_username}:them"},
    )
    theirs.add_message_integrity(connection.local_password.encode())

    connection.request_received(parse_message(bytes(theirs)), VIEWER, protocol)
    # Their answer, and our own check.
    await rounds_until(lambda: len(protocol.sent) == 2)

    connection._protocols.clear()
    await connection.close()
    with pytest.raises(ConnectionError):
        await connecting


async def test_closing_ends_a_connection_that_has_nothing_to_check() -> None:
    """Nobody waits for what does not come any more."""
    connection = new_connection()
    connection._local_candidates_end = True
    connecting = asyncio.ensure_future(connection.connect())
    await asyncio.sleep(0)
    await connection.close()
    with pytest.raises(ConnectionError):
        await connecting


class Nonsense(asyncio.DatagramProtocol):
    """A STUN server whose answers lack what was asked for."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        answer = Message(Method.BINDING, Class.RESPONSE)
        answer.transaction_id = parse_message(data).transaction_id
        self.transport.sendto(bytes(answer), address)


async def test_an_answer_without_an_address_costs_the_session_nothing(own_address: str) -> None:
    """It is told, and gathering comes to its end."""
    loop = asyncio.get_running_loop()
    server, _ = await loop.create_datagram_endpoint(Nonsense, local_addr=(own_address, 0))
    port = server.get_extra_info("sockname")[1]
    connection = new_connection(IceServers(stun=(StunServer(own_address, port),)))
    try:
        await connection.gather_candidates()
        with capture_logs() as logs:
            await connection.find_more(lambda found: pytest.fail(f"found {found}"))
    finally:
        await connection.close()
        server.close()

    assert {line["problem"] for line in logs} == {"its answer lacks our address"}
