"""What offer and answer agreed on for the video, as its sender needs it. Pure but for the SRTP tag."""

from dataclasses import dataclass
from typing import Any

from aiortc import RTCDtlsTransport
from aiortc.rtcrtpparameters import RTCRtpSendParameters

from camagent.webrtc.layout import HeaderPlan

MID_URI = "urn:ietf:params:rtp-hdrext:sdes:mid"
ABS_SEND_TIME_URI = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
PLAYOUT_DELAY_URI = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"

_GCM_TAG_BYTES, _SHA1_80_TAG_BYTES = 16, 10


@dataclass(frozen=True)
class Negotiated:
    """How packets look.

    Attributes:
        media: those of the video.
        repair: those that carry them again (RFC 4588); None if the viewer has no use for them.
        cname: names the sender in its reports (RFC 3550, section 6.5.1).
    """

    media: HeaderPlan
    repair: HeaderPlan | None
    cname: str


def negotiated(
    parameters: RTCRtpSendParameters, *, tag_bytes: int, playout_delay_id: int | None
) -> Negotiated:
    """Read aiortc's parameters; the first codec is the one to send.

    `playout_delay_id` is that of an extension which was negotiated without aiortc's knowledge.
    """
    codec = parameters.codecs[0]
    assert codec.payloadType is not None, "negotiated"
    ids = {extension.uri: extension.id for extension in parameters.headerExtensions}

    def plan(payload_type: int) -> HeaderPlan:
        return HeaderPlan(
            payload_type=payload_type,
            tag_bytes=tag_bytes,
            mid=parameters.muxId,
            mid_id=ids.get(MID_URI),
            abs_send_time_id=ids.get(ABS_SEND_TIME_URI),
            playout_delay_id=playout_delay_id,
        )

    repair = next(
        (
            other.payloadType
            for other in parameters.codecs
            if other.name.lower() == "rtx" and other.parameters.get("apt") == codec.payloadType
        ),
        None,
    )
    return Negotiated(
        media=plan(codec.payloadType),
        repair=None if repair is None else plan(repair),
        cname=parameters.rtcp.cname or "",
    )


def srtp_tag_bytes(transport: RTCDtlsTransport) -> int:
    """Say how much longer SRTP makes a packet: by 128 bits with GCM (RFC 7714), by 80 with SHA1."""
    tls: Any = transport._ssl  # noqa: SLF001 - contract test
    profile = tls.get_selected_srtp_profile()
    return _GCM_TAG_BYTES if b"GCM" in profile else _SHA1_80_TAG_BYTES
