"""The one codec that viewers get, as aiortc lists it, and the numbers under which they may offer it."""

from aiortc import RTCRtpCodecCapability, RTCRtpSender, rtp

_CONSTRAINED_BASELINE = "42e01f"

# Browsers go on below 64 when 96 to 127 are taken (RFC 5761, section 4). aiortc would answer with a
# number that was not offered.
rtp.DYNAMIC_PAYLOAD_TYPES = (*range(64), *range(96, 128))  # type: ignore[assignment]


def h264_capabilities() -> list[RTCRtpCodecCapability]:
    """List H.264 constrained baseline in packetization mode 1, and retransmission, in this order."""
    offered = RTCRtpSender.getCapabilities("video").codecs
    h264 = [
        codec
        for codec in offered
        if codec.mimeType.lower() == "video/h264"
        and codec.parameters.get("profile-level-id") == _CONSTRAINED_BASELINE
    ]
    rtx = [codec for codec in offered if codec.mimeType.lower() == "video/rtx"]
    return [*h264, *rtx[:1]]
