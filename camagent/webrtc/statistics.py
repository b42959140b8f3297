"""What a sender did, as `getStats` of a peer connection tells it (W3C webrtc-stats)."""

from datetime import UTC, datetime

from aiortc import RTCRtpSender
from aiortc.stats import (
    RTCOutboundRtpStreamStats,
    RTCRemoteInboundRtpStreamStats,
    RTCStatsReport,
)

from camagent.webrtc.reception import Report
from camagent.webrtc.sending import Tally

_CLOCK_HZ = 90_000


def statistics(rtc: RTCRtpSender, tally: Tally, report: Report | None) -> RTCStatsReport:
    """Describe what went out, and what the viewer last reported of it, if it did."""
    transport_id = rtc.transport._stats_id  # noqa: SLF001 - contract test
    ssrc = rtc._ssrc  # noqa: SLF001 - contract test
    now = datetime.now(UTC)
    stats = RTCStatsReport()
    stats.add(
        RTCOutboundRtpStreamStats(
            timestamp=now,
            type="outbound-rtp",
            id=f"outbound-rtp_{id(rtc)}",
            ssrc=ssrc,
            kind="video",
            transportId=transport_id,
            packetsSent=tally.packets,
            bytesSent=tally.payload_bytes,
            trackId=str(id(rtc)),
        )
    )
    if report is not None:
        stats.add(
            RTCRemoteInboundRtpStreamStats(
                timestamp=now,
                type="remote-inbound-rtp",
                id=f"remote-inbound-rtp_{id(rtc)}",
                ssrc=ssrc,
                kind="video",
                transportId=transport_id,
                packetsReceived=tally.packets - report.packets_lost,
                packetsLost=report.packets_lost,
                jitter=round(report.jitter_s * _CLOCK_HZ),
                roundTripTime=report.round_trip_s,  # type: ignore[arg-type]
                fractionLost=report.fraction_lost,
            )
        )
    return stats
