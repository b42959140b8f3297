"""What the test picture promises to people and to machines."""

import itertools
import threading
import time

import numpy as np
import pytest

from camagent.media.drawing import TestPicture
from camagent.media.encoder import EncoderOptions
from camagent.media.frame import EncodedFrame
from camagent.media.picture import planes_of
from camagent.media.synthetic import SyntheticSource, read_timestamp
from camagent.media.timestamp import draw_timestamp
from tests.media.streams import SteadyEncoder, decode, options

NOW_US = 1_790_000_000_123_456
SIZES = [(320, 240), (640, 480), (1280, 720), (1920, 1080)]


@pytest.mark.parametrize("timestamp", [0, 1, NOW_US, 0xAAAA_AAAA_AAAA_AAAA, 2**64 - 1])
def test_a_timestamp_reads_back(timestamp: int) -> None:
    """Any 64-bit number survives the strip."""
    luma = np.full((240, 320), 100, np.uint8)
    draw_timestamp(luma, timestamp)
    assert read_timestamp(luma) == timestamp


def test_a_timestamp_survives_scaling() -> None:
    """A picture scaled to another multiple of 64 still tells its time."""
    picture = TestPicture(width_px=1280, height_px=720).draw(NOW_US)
    for width_px, height_px in [(640, 360), (1920, 1080), (960, 540)]:
        scaled = picture.reformat(width=width_px, height=height_px, interpolation="BILINEAR")
        assert read_timestamp(planes_of(scaled)[0]) == NOW_US


def test_what_is_no_timestamp_is_refused() -> None:
    """A picture without the strip is an error, and so is one too narrow for it."""
    with pytest.raises(ValueError, match="cell 0 is neither black nor white: 128"):
        read_timestamp(np.full((240, 320), 128, np.uint8))
    with pytest.raises(ValueError, match="60 wide"):
        read_timestamp(np.full((240, 60), 16, np.uint8))


@pytest.mark.parametrize(("width_px", "height_px"), SIZES)
def test_timestamps_survive_the_encoder(width_px: int, height_px: int) -> None:
    """At two megabits per second every decoded picture tells exactly when it was drawn."""
    picture = TestPicture(width_px=width_px, height_px=height_px)
    drawn_at_us = [NOW_US + number * 33_333 for number in range(30)]
    steady = SteadyEncoder(options(width_px=width_px, height_px=height_px, bitrate_bps=2_000_000))
    with steady.encoder.running():
        frames = steady.encode(picture.draw(at_us) for at_us in drawn_at_us)

    assert [read_timestamp(planes_of(seen)[0]) for seen in decode(frames)] == drawn_at_us


def test_timestamps_survive_a_poor_link() -> None:
    """Even a tenth of the usual bits leaves the cells readable."""
    picture = TestPicture(width_px=1280, height_px=720)
    drawn_at_us = [NOW_US + number * 33_333 for number in range(60)]
    steady = SteadyEncoder(options(width_px=1280, height_px=720, bitrate_bps=200_000))
    with steady.encoder.running():
        frames = steady.encode(picture.draw(at_us) for at_us in drawn_at_us)

    assert [read_timestamp(planes_of(seen)[0]) for seen in decode(frames)] == drawn_at_us


@pytest.mark.parametrize(("width_px", "height_px"), [*SIZES, (160, 120), (854, 480), (480, 640)])
def test_every_size_is_drawn_through_a_whole_day(width_px: int, height_px: int) -> None:
    """The ball stays inside and the clock has room, at any time and in any shape."""
    picture = TestPicture(width_px=width_px, height_px=height_px)
    for number in range(0, 86_400, 3_607):
        at_us = NOW_US + number * 1_000_000 + number
        assert read_timestamp(planes_of(picture.draw(at_us))[0]) == at_us


def test_the_picture_moves() -> None:
    """A second later most of the picture has changed; the same moment looks the same."""
    picture = TestPicture(width_px=640, height_px=480)
    first, again, later = (
        planes_of(picture.draw(at_us))[0].copy() for at_us in (NOW_US, NOW_US, NOW_US + 1_000_000)
    )
    assert np.array_equal(first, again)
    assert np.mean(first != later) > 0.5


class LowFrames:
    """Takes ten frames of the low rung."""

    def __init__(self) -> None:
        self.frames: list[EncodedFrame] = []
        self.came = threading.Event()

    def take(self, frame: EncodedFrame) -> None:
        self.frames.append(frame)
        if len(self.frames) == 10:
            self.came.set()


def test_the_source_runs_in_real_time() -> None:
    """Frames come at the asked rate, keyframe first, each within moments of being drawn."""
    source = SyntheticSource(
        EncoderOptions(
            width_px=320,
            height_px=240,
            frames_per_second=50,
            bitrate_bps=500_000,
            keyframe_interval_s=10,
        ),
    )
    frames: list[EncodedFrame] = []
    delays_us: list[int] = []
    has_enough = threading.Event()

    def take(frame: EncodedFrame) -> None:
        frames.append(frame)
        delays_us.append(time.monotonic_ns() // 1_000 - frame.pts_us)
        if len(frames) == 50:
            has_enough.set()

    began_at_s = time.monotonic()
    low = LowFrames()
    with source.opened(take) as stream:
        stream.main.set_bitrate(400_000)
        with stream.low_rung(low.take):
            assert low.came.wait(10)
        assert stream.snapshot()[:2] == b"\xff\xd8"
        assert has_enough.wait(10)
    pictures_dropped = stream.main.pictures_dropped
    took_s = time.monotonic() - began_at_s

    assert source.name == "synthetic"
    assert frames[0].is_keyframe
    assert low.frames[0].is_keyframe
    # A busy machine may leave pictures out of either.
    strangers = {frame.pts_us for frame in low.frames} - {frame.pts_us for frame in frames}
    assert len(strangers) <= pictures_dropped
    assert (decode(low.frames)[0].width, decode(low.frames)[0].height) == (160, 120)
    assert took_s >= 0.95
    assert min(delays_us) >= 0
    assert all(later.pts_us > earlier.pts_us for earlier, later in itertools.pairwise(frames))
    unix_minus_monotonic_us = time.time_ns() // 1_000 - time.monotonic_ns() // 1_000
    for picture in decode(frames):
        drawn_at_us = read_timestamp(planes_of(picture)[0])
        assert picture.pts is not None
        assert abs(drawn_at_us - unix_minus_monotonic_us - picture.pts) < 100_000
    assert not {"encoder", "test picture"} & {thread.name for thread in threading.enumerate()}
