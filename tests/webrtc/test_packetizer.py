"""Access units become RTP payloads, and payloads become the same access units again."""

from aiortc.codecs.h264 import h264_depayload
from hypothesis import given
from hypothesis import strategies as st

from camagent.webrtc.packetizer import MOST_PAYLOAD_BYTES, nal_units, packetize
from tests.media.footage import Footage, self_contained
from tests.webrtc.depacketizer import depacketize

START_CODES = st.sampled_from([b"\x00\x00\x01", b"\x00\x00\x00\x01"])


@st.composite
def units(draw: st.DrawFn) -> bytes:
    """A NAL unit as H.264 allows it: no start code inside, no zero at the end."""
    header = draw(st.integers(0, 3)) << 5 | draw(st.integers(1, 23))
    size = draw(st.one_of(st.integers(0, 60), st.integers(1_100, 5_000)))
    body = draw(st.binary(min_size=min(size, 40), max_size=min(size, 40)))
    body = (body * (size // max(1, len(body)) + 1))[:size].replace(b"\x00\x00", b"\x00\x03")
    return bytes([header]) + body + (b"\x80" if body.endswith(b"\x00") else b"")


@given(st.lists(st.tuples(START_CODES, units()), min_size=1, max_size=12))
def test_what_goes_in_comes_out(parts: list[tuple[bytes, bytes]]) -> None:
    """An independent reader finds every NAL unit, in order, in payloads that are small enough."""
    access_unit = b"".join(start + unit for start, unit in parts)

    payloads = packetize(access_unit)

    assert depacketize(payloads) == [unit for _, unit in parts]
    assert max(map(len, payloads)) <= MOST_PAYLOAD_BYTES


@given(units(), st.integers(10, 2_000))
def test_fragments_are_equal(unit: bytes, most_bytes: int) -> None:
    """Only the last fragment may be shorter, by which the kernel can cut a frame in one call."""
    payloads = packetize(b"\x00\x00\x01" + unit, most_bytes=most_bytes)

    sizes = [len(payload) for payload in payloads]
    assert max(sizes) <= max(most_bytes, 1)
    assert sizes[:-1] == [sizes[0]] * (len(sizes) - 1)
    assert sizes[-1] <= sizes[0]
    assert depacketize(payloads) == [unit]


@given(st.binary(max_size=3_000))
def test_any_bytes_are_survived(data: bytes) -> None:
    """Bytes that are no H.264 give payloads that are small enough, or none."""
    assert all(0 < len(payload) <= MOST_PAYLOAD_BYTES for payload in packetize(data))


def test_small_units_travel_together() -> None:
    """Parameter sets share a payload; a second one begins where the first is full."""
    sets = b"\x00\x00\x00\x01\x67abc" + b"\x00\x00\x01\x68de"
    assert [payload[0] & 0x1F for payload in packetize(sets)] == [24]
    full = b"".join(b"\x00\x00\x01\x06" + bytes([7]) * 500 for _ in range(5))
    assert [len(depacketize([payload])) for payload in packetize(full)] == [2, 2, 1]


def test_zeros_before_a_start_code_belong_to_no_unit() -> None:
    """Padding after a unit, and the first byte of a long start code, are not sent."""
    stream = b"\x00\x00\x00\x01\x67a\x00\x00\x00\x00\x01\x68b\x00"
    assert list(nal_units(stream)) == [b"\x67a", b"\x68b"]


def test_aiortc_reads_what_libx264_wrote() -> None:
    """A viewer's own depacketizer gives back the stream, start codes apart."""
    for frame in self_contained(*Footage(seconds=1).h264()):
        read = b"".join(h264_depayload(payload) for payload in packetize(frame))
        assert list(nal_units(read)) == list(nal_units(frame))
