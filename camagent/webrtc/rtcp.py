"""RTCP between one sender and its viewer: our reports written, the viewer's feedback read. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from aiortc.rtp import (
    RTCP_PSFB_APP,
    RTCP_PSFB_FIR,
    RTCP_PSFB_PLI,
    RTCP_RTPFB_NACK,
    AnyRtcpPacket,
    RtcpByePacket,
    RtcpPsfbPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtcpSdesPacket,
    RtcpSenderInfo,
    RtcpSourceInfo,
    RtcpSrPacket,
    unpack_remb_fci,
)

_NTP_EPOCH_S = 2_208_988_800
_NS_PER_S = 1_000_000_000
_CNAME = 1
_32_BITS = 0xFFFF_FFFF
_KEYFRAME_REQUESTS = frozenset({RTCP_PSFB_PLI, RTCP_PSFB_FIR})


@dataclass(frozen=True)
class Feedback:
    """What one RTCP packet says about our stream.

    Attributes:
        reports: receiver report blocks.
        lost: sequence numbers that the viewer misses.
        asks_keyframe: true for PLI and FIR.
        bandwidth_bps: the most that it can receive, by its estimate (REMB).
    """

    reports: Sequence[RtcpReceiverInfo] = ()
    lost: Sequence[int] = ()
    asks_keyframe: bool = False
    bandwidth_bps: int | None = None


def read_feedback(packet: AnyRtcpPacket, *, ssrc: int) -> Feedback | None:
    """Read a packet that is about `ssrc`; None if it says nothing of it that we know."""
    match packet:
        case RtcpRrPacket() | RtcpSrPacket():
            reports = [report for report in packet.reports if report.ssrc == ssrc]
            return Feedback(reports=reports) if reports else None
        case RtcpRtpfbPacket(fmt=fmt) if fmt == RTCP_RTPFB_NACK:
            return Feedback(lost=packet.lost)
        case RtcpPsfbPacket(fmt=fmt) if fmt in _KEYFRAME_REQUESTS:
            return Feedback(asks_keyframe=True)
        case RtcpPsfbPacket(fmt=fmt) if fmt == RTCP_PSFB_APP:
            return _read_remb(packet.fci, ssrc)
    return None


def _read_remb(fci: bytes, ssrc: int) -> Feedback | None:
    """Read draft-alvestrand-rmcat-remb-03; other application feedback is none of ours."""
    try:
        bandwidth_bps, ssrcs = unpack_remb_fci(fci)
    except ValueError:
        return None
    return Feedback(bandwidth_bps=bandwidth_bps) if ssrc in ssrcs else None


def ntp_time(unix_time_ns: int) -> int:
    """Write Unix time as NTP's 32 bits of seconds and 32 of their fraction (RFC 3550, section 4)."""
    return (unix_time_ns + _NTP_EPOCH_S * _NS_PER_S) * (1 << 32) // _NS_PER_S


def middle_of(ntp: int) -> int:
    """Give the 32 bits by which a receiver names the sender report with this time."""
    return ntp >> 16 & _32_BITS


def sender_report(  # noqa: D417 - the last two are what they are called
    *, ssrc: int, cname: str, ntp: int, rtp_timestamp: int, packets: int, payload_bytes: int
) -> bytes:
    """Write a sender report with its source description (RFC 3550, sections 6.4.1 and 6.5).

    Args:
        ssrc: whose.
        cname: of whom; left out if empty.
        ntp: now, as `ntp_time` writes it.
        rtp_timestamp: that of a picture captured now.
    """
    report = RtcpSrPacket(
        ssrc=ssrc,
        sender_info=RtcpSenderInfo(
            ntp_timestamp=ntp,
            rtp_timestamp=rtp_timestamp,
            packet_count=packets & _32_BITS,
            octet_count=payload_bytes & _32_BITS,
        ),
    )
    if not cname:
        return bytes(report)
    source = RtcpSourceInfo(ssrc=ssrc, items=[(_CNAME, cname.encode())])
    return bytes(report) + bytes(RtcpSdesPacket(chunks=[source]))


def goodbye(ssrc: int) -> bytes:
    """Write that nothing more will come (RFC 3550, section 6.6)."""
    return bytes(RtcpByePacket(sources=[ssrc]))
