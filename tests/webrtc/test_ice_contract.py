"""The private names of aioice and aiortc that gathering candidates takes: what each has to mean."""

import asyncio
import inspect
from collections import deque
from collections.abc import Callable
from typing import Any

import pylibsrtp
import pytest
from aioice import Candidate, Connection, TransportPolicy, ice, mdns, stun, turn
from aiortc import RTCConfiguration, RTCPeerConnection
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtcicetransport import RTCIceGatherer, RTCIceTransport

from camagent.webrtc.gathering import TricklingConnection, trickle
from camagent.webrtc.guarding import _LARGEST_BYTES, parse_message
from camagent.webrtc.ice_servers import IceServers
from camagent.webrtc.interfaces import InterfaceFilter


def candidate(number: int = 1) -> Candidate:
    return Candidate("f", 1, "udp", 1, f"192.0.2.{number}", 5000, "host")


def test_a_connection_has_the_names_that_trickling_uses() -> None:
    """Their kinds and first values are as we know them."""
    connection = Connection(ice_controlling=False, transport_policy=TransportPolicy.RELAY)

    assert {
        name: getattr(connection, name)
        for name in (
            "_check_list",
            "_check_list_done",
            "_closing",
            "_early_checks",
            "_early_checks_done",
            "_local_candidates",
            "_local_candidates_end",
            "_local_candidates_start",
            "_nominated",
            "_protocols",
            "_query_consent_task",
            "_remote_candidates",
            "_transport_policy",
        )
    } == {
        "_check_list": [],
        "_check_list_done": False,
        "_closing": False,
        "_early_checks": deque(),
        "_early_checks_done": False,
        "_local_candidates": [],
        "_local_candidates_end": False,
        "_local_candidates_start": False,
        "_nominated": {},
        "_protocols": [],
        "_query_consent_task": None,
        "_remote_candidates": [],
        "_transport_policy": TransportPolicy.RELAY,
    }


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (Connection._remote_candidates_expected, ["self"]),
        (Connection._pair_remote_candidate, ["self", "remote_candidate"]),
        (Connection._check_list_maybe_fail, ["self"]),
        (Connection._prune_components, ["self"]),
        (Connection._check_periodic, ["self"]),
        (Connection.add_remote_candidate, ["self", "remote_candidate"]),
        (Connection.check_incoming, ["self", "message", "addr", "protocol"]),
        (Connection.build_request, ["self", "pair", "nominate"]),
        (Connection.connect, ["self"]),
        (Connection.data_received, ["self", "data", "component"]),
        (Connection.query_consent, ["self"]),
        (Connection.request_received, ["self", "message", "addr", "protocol"]),
        (Connection.sort_check_list, ["self"]),
        (Connection.gather_candidates, ["self"]),
        (Connection.close, ["self"]),
        (Connection.get_component_candidates, ["self", "component", "addresses", "timeout"]),
        (
            ice.StunProtocol.request,
            ["self", "request", "addr", "integrity_key", "retransmissions"],
        ),
        (mdns.is_mdns_hostname, ["name"]),
        (ice.server_reflexive_candidate, ["protocol", "stun_server"]),
        (
            ice.relayed_candidate,
            [
                "component",
                "hide_related_address",
                "protocol_factory",
                "turn_server",
                "turn_username",
                "turn_password",
                "turn_ssl",
                "turn_transport",
            ],
        ),
    ],
)
def test_what_trickling_calls_and_overrides_is_called_so(
    function: Callable[..., Any], parameters: list[str]
) -> None:
    """Name and parameters of what TricklingConnection uses of its base."""
    assert list(inspect.signature(function).parameters) == parameters


async def test_connecting_goes_by_the_names_that_we_override() -> None:
    """The checks go on while `_remote_candidates_expected()`, and fail by `_check_list_maybe_fail()`."""
    connection = Connection(ice_controlling=False)
    assert connection._remote_candidates_expected()
    await connection.add_remote_candidate(candidate())
    assert len(connection._remote_candidates) == 1
    await connection.add_remote_candidate(None)
    assert not connection._remote_candidates_expected()
    connection._check_list_maybe_fail()
    assert connection._check_list_done
    for part in (Connection._check_periodic, Connection._check_list_maybe_fail):
        assert "self._remote_candidates_expected()" in inspect.getsource(part)
    connect = inspect.getsource(Connection.connect)
    assert "self._local_candidates_end" in connect
    # A check list that goes on without `connect` is waited for.
    assert "if not self._check_periodic():" in connect
    assert "await self._check_list_state.get()" in connect
    # Whoever closes by himself must not be waited for by `close`.
    assert "self._query_consent_task = asyncio.create_task(self.query_consent())" in connect
    consent = inspect.getsource(Connection.query_consent)
    assert "self._query_consent_task = None\n" in consent
    assert "in self._nominated.values():" in consent


async def test_a_candidate_is_known_by_where_it_is_reached() -> None:
    """`_network_host` is the address of a candidate by name, and that of another is its host."""
    connection = Connection(ice_controlling=False)
    named = candidate()
    named.host = "somebody.local"
    connection._add_remote_candidate(named, "192.0.2.1")
    await connection.add_remote_candidate(candidate(2))

    first, second = connection._remote_candidates
    assert (first.host, first._network_host) == ("somebody.local", "192.0.2.1")
    assert second._network_host == second.host == "192.0.2.2"
    assert "self._remote_candidates.append(" in inspect.getsource(Connection.check_incoming)


async def test_what_arrives_is_queued_for_a_reader_of_whole_packets() -> None:
    """`_queue` holds pairs until there is a way; aiortc trusts their length, pylibsrtp has a limit."""
    connection = Connection(ice_controlling=False)
    connection.data_received(b"data", 1)
    assert connection._queue.get_nowait() == (b"data", 1)
    assert "if not len(self._nominated):" in inspect.getsource(Connection.recvfrom)
    assert "first_byte = data[0]" in inspect.getsource(RTCDtlsTransport._recv_next)
    assert len(pylibsrtp.Session()._cdata) == _LARGEST_BYTES


@pytest.mark.parametrize(
    "receiver",
    [
        ice.StunProtocol.datagram_received,
        turn.TurnClientUdpProtocol.datagram_received,
        turn.TurnClientTcpProtocol.datagram_received,
    ],
)
def test_what_arrives_is_read_by_ours(receiver: Callable[..., None]) -> None:
    """Each looks `parse_message` up in `stun`, and goes by a ValueError of it."""
    assert ice.stun is turn.stun is stun
    assert stun.parse_message is parse_message
    source = inspect.getsource(receiver)
    assert "message = stun.parse_message(data)" in source
    assert "except ValueError:" in source


async def test_a_late_protocol_is_paired() -> None:
    """`_pair_remote_candidate` pairs with all of `_protocols`, and not twice."""
    connection = Connection(ice_controlling=False)
    protocol = ice.StunProtocol(connection)
    protocol.local_candidate = candidate(2)
    await connection.add_remote_candidate(candidate())
    assert connection._check_list == []

    connection._protocols.append(protocol)
    for _ in range(2):
        connection._pair_remote_candidate(connection.remote_candidates[0])

    (pair,) = connection._check_list
    assert pair.state is ice.CandidatePair.State.FROZEN
    assert pair.protocol is protocol


async def test_a_new_connection_becomes_one_that_trickles() -> None:
    """A transport's `_connection` is its gatherer's, and takes another class without slots."""
    transport = RTCIceTransport(RTCIceGatherer(iceServers=[]))
    assert transport._connection is transport.iceGatherer._connection
    assert type(transport._connection) is Connection

    trickling = trickle(transport, IceServers(), InterfaceFilter())

    assert type(transport.iceGatherer._connection) is TricklingConnection
    assert transport._recv.__self__ is trickling
    await transport.iceGatherer.gather()
    await transport.stop()


async def test_a_relay_is_let_go_by_these_names() -> None:
    """A TurnTransport keeps its closing, what it still sends, and the client with the socket."""
    client = turn.TurnClientUdpProtocol(("192.0.2.1", 1), None, None, 600, 500)
    relay: Any = turn.TurnTransport(client)
    assert relay._TurnTransport__close_task is None
    assert relay._TurnTransport__send_tasks == set()
    assert relay._TurnTransport__inner_protocol is client

    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(lambda: client, remote_addr=("127.0.0.1", 9))
    relay.close()
    await asyncio.sleep(0)
    assert not relay._TurnTransport__close_task.done()
    relay._TurnTransport__close_task.cancel()
    await asyncio.wait({relay._TurnTransport__close_task})
    assert client.transport.is_closing()


async def test_ice_starts_by_this_name() -> None:
    """`__connect` starts ICE where there is a candidate of ours, and starts nothing twice."""
    connection: Any = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    source = inspect.getsource(RTCPeerConnection.setLocalDescription)
    assert "asyncio.ensure_future(self.__connect())" in source
    assert "getLocalCandidates()" in inspect.getsource(connection._RTCPeerConnection__connect)

    await connection._RTCPeerConnection__connect()
    await connection.close()
    await connection._RTCPeerConnection__connect()
