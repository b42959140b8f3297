"""RTCP, written and read."""

import pytest
from aiortc.rtp import (
    RtcpByePacket,
    RtcpPacket,
    RtcpPsfbPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtcpSdesPacket,
    RtcpSrPacket,
    pack_remb_fci,
)

from camagent.webrtc.rtcp import (
    Feedback,
    goodbye,
    middle_of,
    ntp_time,
    read_feedback,
    sender_report,
)

OURS, THEIRS, OTHERS = 1_111, 2_222, 3_333


def block(ssrc: int) -> RtcpReceiverInfo:
    return RtcpReceiverInfo(
        ssrc=ssrc, fraction_lost=1, packets_lost=2, highest_sequence=3, jitter=4, lsr=5, dlsr=6
    )


def test_reports_about_us_are_read() -> None:
    """From receivers and from those who send as well; blocks about others are left out."""
    packet = RtcpRrPacket(ssrc=THEIRS, reports=[block(OTHERS), block(OURS)])
    assert read_feedback(packet, ssrc=OURS) == Feedback(reports=[block(OURS)])
    assert read_feedback(RtcpRrPacket(ssrc=THEIRS, reports=[block(OTHERS)]), ssrc=OURS) is None


def test_nack_pli_and_fir_are_read() -> None:
    """The feedback that asks for something."""
    nack = RtcpRtpfbPacket(fmt=1, ssrc=THEIRS, media_ssrc=OURS, lost=[7, 8])
    assert read_feedback(nack, ssrc=OURS) == Feedback(lost=[7, 8])
    for fmt in (1, 4):
        asked = RtcpPsfbPacket(fmt=fmt, ssrc=THEIRS, media_ssrc=OURS)
        assert read_feedback(asked, ssrc=OURS) == Feedback(asks_keyframe=True)
    assert read_feedback(RtcpPsfbPacket(fmt=2, ssrc=THEIRS, media_ssrc=OURS), ssrc=OURS) is None


@pytest.mark.parametrize("bandwidth_bps", [0, 800_000, 1 << 60])
def test_remb_is_read_if_it_is_about_us(bandwidth_bps: int) -> None:
    """However absurd the number; what to make of it is for others to say."""
    fci = pack_remb_fci(bandwidth_bps, [OURS])
    packet = RtcpPsfbPacket(fmt=15, ssrc=THEIRS, media_ssrc=0, fci=fci)
    assert read_feedback(packet, ssrc=OURS) == Feedback(bandwidth_bps=bandwidth_bps)
    assert read_feedback(packet, ssrc=OTHERS) is None


@pytest.mark.parametrize("fci", [b"", b"REMB", b"REMX\x01\x00\x00\x00\x00\x00\x04\x57", b"AFB "])
def test_other_application_feedback_is_none(fci: bytes) -> None:
    """What is no REMB is nobody's."""
    packet = RtcpPsfbPacket(fmt=15, ssrc=THEIRS, media_ssrc=0, fci=fci)
    assert read_feedback(packet, ssrc=OURS) is None


def test_a_sender_report_reads_as_it_was_written() -> None:
    """By a reader that is not ours, with the source described."""
    ntp = ntp_time(1_700_000_000_250_000_000)
    data = sender_report(
        ssrc=OURS,
        cname="name",
        ntp=ntp,
        rtp_timestamp=90_000,
        packets=(1 << 32) + 5,
        payload_bytes=7,
    )
    report, description = RtcpPacket.parse(data)
    assert isinstance(report, RtcpSrPacket)
    assert isinstance(description, RtcpSdesPacket)
    info = report.sender_info
    assert (report.ssrc, info.rtp_timestamp, info.packet_count, info.octet_count) == (
        OURS,
        90_000,
        5,
        7,
    )
    assert info.ntp_timestamp >> 32 == 1_700_000_000 + 2_208_988_800
    assert info.ntp_timestamp & 0xFFFF_FFFF == 1 << 30
    assert description.chunks[0].items == [(1, b"name")]
    assert middle_of(ntp) == (1_700_000_000 + 2_208_988_800 & 0xFFFF) << 16 | 1 << 14


def test_a_goodbye_names_us() -> None:
    """And nobody else."""
    (packet,) = RtcpPacket.parse(goodbye(OURS))
    assert isinstance(packet, RtcpByePacket)
    assert packet.sources == [OURS]
