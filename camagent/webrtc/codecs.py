"""The one codec that viewers get, as aiortc lists it."""

from aiortc import RTCRtpCodecCapability, RTCRtpSender

_CONSTRAINED_BASELINE = "42e01f"


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
