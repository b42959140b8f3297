"""The private names of aiortc, aioice and pylibsrtp that are used: an upgrade that moves one fails here.

Not only that they are there: each has to mean what we take it for.
"""

import ast
import inspect
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pylibsrtp._binding
import pytest
from aioice.turn import TurnClientTcpProtocol, TurnClientUdpProtocol, TurnTransport
from aiortc import (
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCRtpSender,
    rtcpeerconnection,
    rtp,
)
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtcrtpparameters import RTCRtpSendParameters
from aiortc.rtp import AnyRtcpPacket, RtcpByePacket, RtcpSrPacket

from camagent.webrtc import peer
from camagent.webrtc.codecs import h264_capabilities
from camagent.webrtc.layout import HeaderPlan, lay_out
from camagent.webrtc.negotiated import srtp_tag_bytes
from camagent.webrtc.packing import Packing
from camagent.webrtc.peer import PeerOptions
from camagent.webrtc.sender import VideoSender
from camagent.webrtc.senders import choose_sender, native_problem
from camagent.webrtc.srtp import Protector, Scratch
from camagent.webrtc.stock import StockSender
from camagent.webrtc.wire import Channel, Datagrams, wire_of
from tests.support import until
from tests.webrtc.depacketizer import read_rtp
from tests.webrtc.viewers import Viewer, camera, served, viewer

UNUSED_SSRC = 4_711


class Noting(VideoSender):
    """Notes what aiortc calls, and that it is aiortc who calls it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.called: list[str] = []

    async def _start(self, parameters: RTCRtpSendParameters) -> None:
        self.called.append("send")
        await super()._start(parameters)

    async def _finish(self) -> None:
        self.called.append("stop")
        await super()._finish()


@asynccontextmanager
async def watching(**options: Any) -> AsyncIterator[tuple[Noting, Viewer, str]]:
    """Hold a viewer that has seen a picture; give its sender, itself and the answer it got."""
    async with camera() as capture, viewer() as one:
        sender = Noting(Packing())
        async with served(one, capture, sender=sender, options=PeerOptions(**options)) as service:
            await one.picture()
            yield sender, one, service.answer


def transport_of(one: Viewer) -> RTCDtlsTransport:
    return one.connection.getTransceivers()[0].receiver.transport


async def test_the_nominated_pair_is_told_by_component() -> None:
    """`_connection._nominated[1]` of the ICE transport is a pair of two candidates with a type."""
    async with watching() as (sender, one, _):
        for transport in (transport_of(one), sender._sender.transport):
            pair = transport.transport._connection._nominated[1]

            assert pair.local_candidate.type == "host"
            assert pair.remote_candidate.type == "host"


async def test_the_nominated_pair_leads_to_the_socket() -> None:
    """Its `protocol.transport` has the socket, and `remote_addr` is where the viewer's socket is."""
    async with watching() as (sender, one, _):
        ours, theirs = (
            transport.transport._connection._nominated[1]
            for transport in (sender._sender.transport, transport_of(one))
        )
        socket_there = theirs.protocol.transport.get_extra_info("socket")
        wire = wire_of(ours)

        assert isinstance(wire, Datagrams)
        assert wire._address == ours.remote_addr == socket_there.getsockname()[:2]
        wire.close()
        assert ours.protocol.transport.get_extra_info("socket").fileno() >= 0, "ours was a copy"


def test_a_turn_allocation_is_reached() -> None:
    """`_TurnTransport__inner_protocol` is the allocation, which knows its channels and sends what it is handed."""
    for kind in (TurnClientUdpProtocol, TurnClientTcpProtocol):
        allocation = kind(("192.0.2.1", 3478), "user", "password", 600, 500)
        protocol = SimpleNamespace(transport=TurnTransport(allocation))
        wire = wire_of(SimpleNamespace(protocol=protocol, remote_addr=("192.0.2.2", 9)))

        assert isinstance(wire, Channel)
        assert wire._allocation is allocation
        assert list(inspect.signature(allocation._send).parameters) == ["data"]
        assert "now + self.channel_refresh_time" in inspect.getsource(kind.send_data)
        assert "now = time.time()" in inspect.getsource(kind.send_data)
        assert '"!HH", channel, len(data)' in inspect.getsource(kind.send_data)


async def test_the_viewer_decrypts_what_our_session_encrypts() -> None:
    """`_tx_srtp._srtp[0]` is what libsrtp encrypts for this viewer with, and no other."""
    async with watching() as (sender, one, _):
        transport = sender._sender.transport
        tag_bytes = srtp_tag_bytes(transport)
        plan = HeaderPlan(payload_type=96, tag_bytes=tag_bytes)
        (run,) = lay_out([b"hello"], plan, sent_at_s=time.time(), marked=0)
        scratch = Scratch()
        protector = Protector(transport._tx_srtp, scratch, ssrc=UNUSED_SSRC)
        protector.protect(run, sequence_number=1, timestamp=2)
        packet = transport_of(one)._rx_srtp.unprotect(bytes(scratch.view[: len(run.data)]))

        assert read_rtp(packet).payload == b"hello"
        assert read_rtp(packet).ssrc == UNUSED_SSRC


@pytest.mark.parametrize(("prefers_gcm", "role"), [(True, "passive"), (False, "active")])
async def test_the_role_in_the_handshake_is_ours_to_choose(*, prefers_gcm: bool, role: str) -> None:
    """`_set_role` before the offer is set is what the answer says and the handshake does."""
    async with watching(prefers_gcm=prefers_gcm) as (sender, one, answer):
        assert f"a=setup:{role}" in answer
        profiles = {
            transport._ssl.get_selected_srtp_profile()
            for transport in (sender._sender.transport, transport_of(one))
        }
        assert len(profiles) == 1


async def test_the_numbers_in_the_answer_are_those_sent() -> None:
    """`_ssrc` and `_rtx_ssrc` are what aiortc tells the viewer."""
    async with watching() as (sender, _, answer):
        ssrc, rtx_ssrc = sender._sender._ssrc, sender._sender._rtx_ssrc

        assert f"a=ssrc-group:FID {ssrc} {rtx_ssrc}" in answer


async def test_aiortc_calls_what_stands_in_for_its_sender() -> None:
    """`send` once media may flow, `stop` at the end, each on the instance."""
    async with watching() as (sender, _, _):
        assert sender.called == ["send"]
    assert sender.called == ["send", "stop"]


def heard_by(receiver: RTCRtpReceiver) -> list[type]:
    """List from now on what kinds of RTCP a viewer's receiver is handed."""
    kinds: list[type] = []
    handle = receiver._handle_rtcp_packet

    async def note(packet: AnyRtcpPacket) -> None:
        kinds.append(type(packet))
        await handle(packet)

    receiver._handle_rtcp_packet = note
    return kinds


async def test_reports_go_both_ways() -> None:
    """`_register_rtp_sender` brings us what is said of our SSRC, `_send_rtp` encrypts our reports."""
    async with watching() as (sender, one, _):
        receiver = one.connection.getTransceivers()[0].receiver
        kinds = heard_by(receiver)
        await until(lambda: sender.report is not None)
        await receiver._send_rtcp_pli(sender._sender._ssrc)
        await until(lambda: sender.tally.keyframes_asked == 1)
        await until(lambda: RtcpSrPacket in kinds)


async def test_goodbye_is_said_while_it_can_be_heard() -> None:
    """The sender is stopped before the transport: `_send_rtp` still works then."""
    async with camera() as capture, viewer() as one:
        async with served(one, capture):
            await one.picture()
            kinds = heard_by(one.connection.getTransceivers()[0].receiver)
        await until(lambda: RtcpByePacket in kinds)


async def test_statistics_are_ours() -> None:
    """`getStats` of a peer connection asks the instance, and `_stats_id` names its transport."""
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    sender = VideoSender(Packing())
    sender.tally.packets = 5
    sender.add_to(connection)

    stats = (await connection.getStats()).values()

    (outbound,) = [one for one in stats if one.type == "outbound-rtp"]
    assert outbound.packetsSent == 5
    assert outbound.transportId in {one.id for one in stats if one.type == "transport"}
    await connection.close()


def test_feedback_arrives_by_one_method() -> None:
    """RTCP for a sender comes through `_handle_rtcp_packet(packet)`, looked up at each call."""
    assert inspect.iscoroutinefunction(RTCRtpSender._handle_rtcp_packet)
    assert list(inspect.signature(RTCRtpSender._handle_rtcp_packet).parameters) == [
        "self",
        "packet",
    ]
    assert "._handle_rtcp_packet(packet)" in inspect.getsource(RTCDtlsTransport)


async def test_the_transport_is_reached_by_public_names() -> None:
    """sender.transport.transport.iceGatherer leads from a track to its candidates."""
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    transceiver = connection.addTransceiver("video", direction="sendonly")

    await transceiver.sender.transport.transport.iceGatherer.gather()

    assert transceiver.sender.transport.transport.iceGatherer.state == "completed"
    await connection.close()


def test_the_codec_we_force_is_there() -> None:
    """Constrained baseline in packetization mode 1, then retransmission."""
    first, second = h264_capabilities()

    assert first.mimeType == "video/H264"
    assert first.parameters["packetization-mode"] == "1"
    assert first.parameters["profile-level-id"] == "42e01f"
    assert second.mimeType == "video/rtx"


def test_the_numbers_of_codecs_are_ours_to_widen() -> None:
    """An offered number outside of `rtp.DYNAMIC_PAYLOAD_TYPES` is not taken over, and nothing else asks."""
    source = inspect.getsource(rtcpeerconnection.find_common_codecs)
    assert "if c.payloadType in rtp.DYNAMIC_PAYLOAD_TYPES:" in source
    assert rtcpeerconnection.rtp is rtp
    assert {*range(35, 64), *range(96, 128)} <= set(rtp.DYNAMIC_PAYLOAD_TYPES)
    modules = Path(rtp.__file__).parent.glob("*.py")
    assert sum(path.read_text().count("DYNAMIC_PAYLOAD_TYPES") for path in modules) == 2


def test_every_private_name_is_in_here() -> None:
    """Whoever uses one more has to say here what it has to mean."""
    contract = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*contract.py"))
    used = {
        node.attr
        for path in Path(peer.__file__).parent.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and re.match(r"_[a-zA-Z]", node.attr)
        and not (isinstance(node.value, ast.Name) and node.value.id == "self")
    }

    assert "_tx_srtp" in used
    assert {name for name in used if name not in contract} == set()


async def test_with_the_pinned_libraries_our_sender_is_used() -> None:
    """Nothing stands against it."""
    assert native_problem() is None
    assert isinstance(choose_sender()(), VideoSender)


async def test_a_name_that_is_gone_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The problem names it, and viewers get aiortc's own sender."""
    monkeypatch.delattr(RTCDtlsTransport, "_unregister_rtp_sender")

    assert native_problem() == "RTCDtlsTransport has no _unregister_rtp_sender"
    assert isinstance(choose_sender()(), StockSender)


async def test_without_encryption_in_place_viewers_still_see(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With another pylibsrtp, aiortc's own sender takes over, and answers requests for keyframes."""
    monkeypatch.delattr(pylibsrtp._binding, "ffi")

    async with camera() as capture, viewer() as one:
        sender = choose_sender()()
        async with served(one, capture, sender=sender):
            assert isinstance(sender, StockSender)
            for _ in range(10):
                await one.picture()
            forced = capture.hub.keyframes_forced
            receiver = one.connection.getTransceivers()[0].receiver
            ssrc = next(iter(receiver.getSynchronizationSources())).source
            await receiver._send_rtcp_pli(ssrc)
            await until(lambda: capture.hub.keyframes_forced > forced)
