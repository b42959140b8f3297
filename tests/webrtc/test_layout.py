"""How a frame's packets lie in memory."""

from hypothesis import given
from hypothesis import strategies as st

from camagent.webrtc.layout import (
    MOST_PACKETS_AT_ONCE,
    PATCH,
    PATCH_OFFSET,
    HeaderPlan,
    lay_out,
    padding_packet,
)
from tests.webrtc.depacketizer import RtpPacket, read_rtp

PLAN = HeaderPlan(
    payload_type=98, tag_bytes=16, mid="v0", mid_id=4, abs_send_time_id=3, playout_delay_id=5
)
SENT_AT_S = 1_700_000_000.25

payloads_of_any_size = st.lists(
    st.integers(1, 1_180).map(lambda size: bytes([size % 256]) * size), min_size=1, max_size=150
)
plans = st.builds(
    HeaderPlan,
    payload_type=st.integers(96, 127),
    tag_bytes=st.sampled_from([10, 16]),
    mid=st.sampled_from(["", "0", "video", "a mid that is much too long"]),
    mid_id=st.sampled_from([None, 1, 14, 15, 0]),
    abs_send_time_id=st.sampled_from([None, 2, 20]),
    playout_delay_id=st.sampled_from([None, 3]),
)


def packets_of(payloads: list[bytes], plan: HeaderPlan) -> list[RtpPacket]:
    runs = lay_out(payloads, plan, sent_at_s=SENT_AT_S, marked=len(payloads) - 1)
    return [read_rtp(run.data[start : start + size]) for run in runs for start, size in run.places]


@given(payloads_of_any_size, plans)
def test_every_payload_is_in_one_packet(payloads: list[bytes], plan: HeaderPlan) -> None:
    """In order, with the negotiated type; the marker is on the last one alone."""
    packets = packets_of(payloads, plan)

    assert [packet.payload for packet in packets] == payloads
    assert {packet.payload_type for packet in packets} == {plan.payload_type}
    assert [packet.is_marked for packet in packets] == [False] * (len(payloads) - 1) + [True]


@given(payloads_of_any_size, plans)
def test_a_run_can_be_cut_by_the_kernel(payloads: list[bytes], plan: HeaderPlan) -> None:
    """Its packets lie `segment_bytes` apart, the last may be shorter, and it is not too long."""
    for run in lay_out(payloads, plan, sent_at_s=SENT_AT_S, marked=None):
        count = len(run.places)
        assert 1 <= count <= MOST_PACKETS_AT_ONCE
        assert len(run.data) <= 65_507
        assert [start for start, _ in run.places] == [i * run.segment_bytes for i in range(count)]
        sizes = [size + plan.tag_bytes for _, size in run.places]
        assert sizes[:-1] == [run.segment_bytes] * (count - 1)
        assert sum(sizes) == len(run.data)
        assert sizes[-1] <= run.segment_bytes


def test_a_frame_of_equal_fragments_is_one_run() -> None:
    """And parameter sets before it are another."""
    assert len(lay_out([bytes(1_000)] * 9 + [bytes(7)], PLAN, sent_at_s=0, marked=9)) == 1
    assert len(lay_out([bytes(30), *[bytes(1_000)] * 9], PLAN, sent_at_s=0, marked=9)) == 2


def test_extensions_are_written_as_negotiated() -> None:
    """abs-send-time in 6.18 fixed point, no playout delay, and the section's mid."""
    (packet,) = packets_of([b"payload"], PLAN)

    seconds = int.from_bytes(packet.extensions[3]) / (1 << 18)
    assert abs(seconds - SENT_AT_S % 64) < 1e-5
    assert packet.extensions[5] == bytes(3)
    assert packet.extensions[4] == b"v0"


def test_without_extensions_there_is_no_block() -> None:
    """Ids that the one-byte form does not have count as none."""
    plan = HeaderPlan(payload_type=96, tag_bytes=10, mid="0", mid_id=15, abs_send_time_id=0)
    (packet,) = packets_of([b"payload"], plan)
    assert packet.extensions == {}


def test_numbers_are_patched_where_they_stand() -> None:
    """Sequence number, timestamp and SSRC, and nothing else."""
    (run,) = lay_out([b"payload"], PLAN, sent_at_s=SENT_AT_S, marked=0)
    data = bytearray(run.data)
    PATCH.pack_into(data, PATCH_OFFSET, 65_535, 4_000_000_000, 3_000_000_000)

    packet = read_rtp(bytes(data[: run.places[0][1]]))

    numbers = (packet.sequence_number, packet.timestamp, packet.ssrc)
    assert numbers == (65_535, 4_000_000_000, 3_000_000_000)
    assert (packet.payload, packet.is_marked, packet.extensions[4]) == (b"payload", True, b"v0")


def test_a_probe_is_all_padding() -> None:
    """It has no payload, and says so."""
    run = padding_packet(PLAN, sent_at_s=0)
    ((_, size),) = run.places
    packet = read_rtp(run.data[:size])
    assert (packet.payload, packet.padding_bytes) == (b"", 4)
