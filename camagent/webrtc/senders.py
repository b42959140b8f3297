"""Which sender viewers get: ours where aiortc, aioice and pylibsrtp are as we know them."""

from collections.abc import Callable

import structlog
from aioice import Connection
from aiortc import (
    RTCCertificate,
    RTCDtlsTransport,
    RTCIceGatherer,
    RTCIceTransport,
    RTCRtpSender,
)

from camagent.webrtc.packing import Packing
from camagent.webrtc.sender import VideoSender
from camagent.webrtc.sending import Sender
from camagent.webrtc.srtp import in_place_problem
from camagent.webrtc.stock import StockSender

log = structlog.get_logger(__name__)

NewSender = Callable[[], Sender]

_NAMES: dict[type, tuple[str, ...]] = {
    Connection: ("_nominated",),
    RTCDtlsTransport: (
        "_register_rtp_sender",
        "_send_rtp",
        "_ssl",
        "_stats_id",
        "_tx_srtp",
        "_unregister_rtp_sender",
    ),
    RTCIceTransport: ("_connection",),
    RTCRtpSender: ("_handle_rtcp_packet", "_rtx_ssrc", "_ssrc"),
}
"""The private names that our sender uses, by whose they are."""


def choose_sender() -> NewSender:
    """Pick, once and with a warning if it is the slower one, what sends each viewer's video."""
    problem = native_problem()
    if problem is None:
        packing = Packing()
        return lambda: VideoSender(packing)
    log.warning("sender.stock", problem=problem, note="viewers cost several times as much")
    return StockSender


def native_problem() -> str | None:
    """Say which private name is gone, or what encryption in place does otherwise; None if all is well."""
    ice = RTCIceTransport(RTCIceGatherer(iceServers=[]))
    dtls = RTCDtlsTransport(ice, [RTCCertificate.generateCertificate()])
    parts = (Connection(ice_controlling=False), ice, dtls, RTCRtpSender("video", dtls))
    for part in parts:
        missing = [name for name in _NAMES[type(part)] if not hasattr(part, name)]
        if missing:
            return f"{type(part).__name__} has no {' and no '.join(missing)}"
    return in_place_problem()
