"""What the encoder promises: streams that browsers decode, and control without delay."""

import threading

import av
import pytest
from av.video.frame import PictureType

from camagent.errors import CameraError
from camagent.media.encoder import H264Encoder
from camagent.media.frame import EncodedFrame
from tests.media.streams import (
    FRAME_US,
    IDR,
    PPS,
    SLICE,
    SPS,
    SteadyEncoder,
    bits_per_second,
    decode,
    grey,
    nal_types,
    nal_units,
    noise,
    options,
)


def test_every_frame_decodes_to_the_picture_it_was() -> None:
    """Pictures come out in order, one for one, with their times and their content."""
    levels = [40, 90, 140, 190, 230]
    steady = SteadyEncoder(options())
    with steady.encoder.running():
        frames = steady.encode(grey(level) for level in levels)

    pictures = decode(frames)
    assert [picture.pts for picture in pictures] == [frame.pts_us for frame in frames]
    assert [frame.pts_us for frame in frames] == [FRAME_US * n for n in range(1, 6)]
    seen = [picture.to_ndarray()[:240].mean() for picture in pictures]
    assert seen == pytest.approx(levels, abs=3)


def test_keyframes_carry_their_headers_and_nothing_else() -> None:
    """Each IDR access unit is SPS, PPS and one slice; all others are one slice."""
    steady = SteadyEncoder(options(interval_s=0.5))
    with steady.encoder.running():
        frames = steady.encode(noise(60))

    keyframes = [number for number, frame in enumerate(frames) if frame.is_keyframe]
    assert keyframes == [0, 15, 30, 45]
    for frame in frames:
        assert nal_types(frame) == ([SPS, PPS, IDR] if frame.is_keyframe else [SLICE])


def test_long_intervals_hold() -> None:
    """No scene change makes a keyframe that nobody asked for."""
    steady = SteadyEncoder(options(interval_s=60))
    with steady.encoder.running():
        frames = steady.encode(grey(40 if number % 20 < 10 else 200) for number in range(100))

    assert [frame.is_keyframe for frame in frames].count(True) == 1


def test_there_are_no_b_frames() -> None:
    """Every picture depends on earlier ones only, so none waits for a later one."""
    steady = SteadyEncoder(options())
    with steady.encoder.running():
        pictures = decode(steady.encode(noise(40)))

    assert {PictureType(picture.pict_type) for picture in pictures} == {
        PictureType.I,
        PictureType.P,
    }


@pytest.mark.parametrize(
    ("width_px", "height_px", "level"),
    [(320, 240, 31), (1280, 720, 31), (1920, 1080, 40)],
)
def test_streams_are_constrained_baseline(width_px: int, height_px: int, level: int) -> None:
    """The SPS names Constrained Baseline and the lowest level that browsers expect."""
    steady = SteadyEncoder(options(width_px=width_px, height_px=height_px, bitrate_bps=4_000_000))
    with steady.encoder.running():
        (frame,) = steady.encode([grey(width_px=width_px, height_px=height_px)])

    profile_idc, constraints, level_idc = nal_units(frame.data)[0][1:4]
    assert profile_idc == 66
    assert constraints & 0b1100_0000 == 0b1100_0000
    assert level_idc == level


def test_a_forced_keyframe_is_the_next_picture() -> None:
    """The first picture after the call is a keyframe, and only that one."""
    steady = SteadyEncoder(options())
    with steady.encoder.running():
        steady.encode(noise(10))
        steady.encoder.force_keyframe()
        frames = steady.encode(noise(10))

    assert [frame.is_keyframe for frame in frames] == [True] + [False] * 9
    assert len(decode(frames)) == 10


def test_many_requests_are_one_keyframe() -> None:
    """Calls before the same picture, from any thread, count once."""
    steady = SteadyEncoder(options())
    with steady.encoder.running():
        steady.encode(noise(5))
        callers = [threading.Thread(target=steady.encoder.force_keyframe) for _ in range(10)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        frames = steady.encode(noise(10))

    assert [frame.is_keyframe for frame in frames].count(True) == 1


def test_the_picture_type_of_a_decoder_is_ignored() -> None:
    """Pictures from a decoder say they are keyframes; the stream has one all the same."""
    pictures = list(noise(10))
    for picture in pictures:
        picture.pict_type = PictureType.I
    steady = SteadyEncoder(options())
    with steady.encoder.running():
        frames = steady.encode(pictures)

    assert [frame.is_keyframe for frame in frames].count(True) == 1


def test_the_bitrate_follows_within_seconds() -> None:
    """Down and up again, within 15 % from a second after the call on, without a keyframe."""
    steady = SteadyEncoder(options(width_px=640, height_px=360, bitrate_bps=2_000_000))
    size = {"width_px": 640, "height_px": 360}
    with steady.encoder.running():
        steady.encode(noise(90, **size))
        for bitrate_bps in (500_000, 1_500_000, 2_000_000):
            steady.encoder.set_bitrate(bitrate_bps)
            frames = steady.encode(noise(90, **size))
            assert bits_per_second(frames[30:]) == pytest.approx(bitrate_bps, rel=0.15)
            assert not any(frame.is_keyframe for frame in frames)


def test_the_bitrate_never_exceeds_the_one_it_began_with() -> None:
    """A rate above the ceiling means the ceiling."""
    steady = SteadyEncoder(options(bitrate_bps=500_000))
    with steady.encoder.running():
        steady.encoder.set_bitrate(5_000_000)
        steady.encode(noise(60))

    assert bits_per_second(steady.frames) < 600_000


def test_a_keyframe_stays_a_small_burst() -> None:
    """Even the hardest picture costs no more than a quarter of a second's bits."""
    steady = SteadyEncoder(options(width_px=640, height_px=360, bitrate_bps=1_000_000))
    with steady.encoder.running():
        steady.encode(noise(60, width_px=640, height_px=360))
        steady.encoder.force_keyframe()
        (keyframe,) = steady.encode(noise(1, width_px=640, height_px=360))

    assert keyframe.is_keyframe
    assert len(keyframe.data) * 8 <= 1_000_000 * 0.25 * 1.1


class SlowViewer:
    """Holds the encoder up in its first frame until told to go on."""

    def __init__(self) -> None:
        self.frames: list[EncodedFrame] = []
        self.has_first = threading.Event()
        self.may_go_on = threading.Event()
        self.has_two = threading.Event()

    def take(self, frame: EncodedFrame) -> None:
        self.frames.append(frame)
        self.has_first.set()
        assert self.may_go_on.wait(10)
        if len(self.frames) == 2:
            self.has_two.set()


def test_an_encoder_that_is_behind_drops_pictures_not_frames() -> None:
    """Of those that came meanwhile the newest is encoded, and the stream has no gap."""
    viewer = SlowViewer()
    encoder = H264Encoder(viewer.take, options())
    with encoder.running():
        encoder.encode(grey(40), captured_at_us=1)
        assert viewer.has_first.wait(10)
        for number, picture in enumerate(noise(4)):
            encoder.encode(picture, captured_at_us=2 + number)
        viewer.may_go_on.set()
        assert viewer.has_two.wait(10)

    assert [frame.pts_us for frame in viewer.frames] == [1, 5]
    assert encoder.pictures_dropped == 3
    assert len(decode(viewer.frames)) == 2


def test_time_never_goes_back() -> None:
    """A picture no later than the one before it is dropped, and the stream goes on."""
    frames: list[EncodedFrame] = []
    came = threading.Semaphore(0)

    def take(frame: EncodedFrame) -> None:
        frames.append(frame)
        came.release()

    encoder = H264Encoder(take, options())
    with encoder.running():
        encoder.encode(grey(), captured_at_us=100)
        assert came.acquire(timeout=10)
        encoder.encode(grey(), captured_at_us=100)
        while encoder.pictures_dropped == 0:
            threading.Event().wait(0.001)
        encoder.encode(grey(), captured_at_us=101)
        assert came.acquire(timeout=10)

    assert [frame.pts_us for frame in frames] == [100, 101]


def test_a_failure_is_told_where_the_block_ends() -> None:
    """What goes wrong on the encoder's thread is raised, with its cause, at the end."""
    has_failed = threading.Event()

    def fail(frame: EncodedFrame) -> None:
        has_failed.set()
        raise ValueError(f"no room for {len(frame.data)} bytes")

    encoder = H264Encoder(fail, options())

    def encode() -> None:
        with encoder.running():
            encoder.encode(grey(), captured_at_us=1)
            assert has_failed.wait(10)

    with pytest.raises(CameraError, match=r"encoder thread failed.*no room") as caught:
        encode()
    assert isinstance(caught.value.__cause__, ValueError)


def test_no_thread_is_left() -> None:
    """The end of the block is the end of the thread, even with a picture waiting."""
    encoder = H264Encoder(lambda _frame: None, options())
    with encoder.running():
        encoder.encode(av.VideoFrame(320, 240, "yuv420p"), captured_at_us=1)

    assert "encoder" not in {thread.name for thread in threading.enumerate()}


def test_impossible_sizes_are_refused() -> None:
    """More than any level holds is an error with the numbers in it."""
    with pytest.raises(CameraError, match="16000x9000 at 30"):
        H264Encoder(lambda _frame: None, options(width_px=16_000, height_px=9_000))
