"""Each frame is packetized once, and kept within bounds."""

import pytest

from camagent.media.frame import EncodedFrame
from camagent.webrtc.layout import HeaderPlan
from camagent.webrtc.packing import MOST_FRAMES_KEPT, Packing

ONE, OTHER = HeaderPlan(payload_type=96, tag_bytes=10), HeaderPlan(payload_type=97, tag_bytes=16)


def frame(number: int, *, size: int = 3_000) -> EncodedFrame:
    return EncodedFrame(b"\x00\x00\x01\x41" + b"x" * size, number, is_keyframe=False)


def test_viewers_share_what_they_can() -> None:
    """One frame is packetized once, and laid out once for each kind of viewer."""
    packing = Packing()
    first = frame(1)
    packed = packing.pack(first)
    assert packing.pack(first) is packed
    assert packed.laid_out(ONE) is packed.laid_out(ONE)
    assert packed.laid_out(ONE) is not packed.laid_out(OTHER)
    assert packing.pack(frame(2)) is not packed


def test_recent_frames_are_found() -> None:
    """By number, until there are too many."""
    packing = Packing()
    numbers = [packing.pack(frame(n)).number for n in range(MOST_FRAMES_KEPT + 3)]
    assert [packing.find(number) is not None for number in numbers] == [False] * 3 + [
        True
    ] * MOST_FRAMES_KEPT


def test_large_frames_are_kept_for_less_long() -> None:
    """What is kept is at most 4 MB."""
    packing = Packing()
    numbers = [packing.pack(frame(n, size=999_000)).number for n in range(10)]
    assert sum(packing.find(number) is not None for number in numbers) == 4


def test_packets_are_stamped_with_the_time_they_leave() -> None:
    """That of the first viewer serves all of them."""
    times = iter([1.0, 2.0])
    packing = Packing(unix_time_s=lambda: next(times))
    plan = HeaderPlan(payload_type=96, tag_bytes=10, abs_send_time_id=1)
    for second in (1, 2):
        run = packing.pack(frame(second)).laid_out(plan)[0]
        assert int.from_bytes(run.data[17:20]) / (1 << 18) == pytest.approx(second)
