"""The private names of aiortc and aioice that are used: an upgrade that moves one fails here."""

import inspect

from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender
from aiortc.rtcdtlstransport import RTCDtlsTransport

from camagent.webrtc.peer import h264_capabilities
from tests.webrtc.test_session import streaming


async def test_the_nominated_pair_is_told_by_component() -> None:
    """`_connection._nominated[1]` of the ICE transport is a pair of two candidates with a type."""
    async with streaming() as (_, one, *_):
        ice = one.connection.getTransceivers()[0].receiver.transport.transport
        pair = ice._connection._nominated[1]

        assert pair.local_candidate.type == "host"
        assert pair.remote_candidate.type == "host"


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
