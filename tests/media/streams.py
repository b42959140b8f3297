"""Pictures to encode, a synchronous way to encode them, and what a viewer sees of the result."""

import threading
from collections.abc import Iterable

import av
import numpy as np

from camagent.media.encoder import EncoderOptions, H264Encoder
from camagent.media.frame import EncodedFrame
from camagent.media.picture import planes_of

FRAME_US = 33_333
SPS, PPS, IDR, SLICE = 7, 8, 5, 1


def options(
    *, width_px: int = 320, height_px: int = 240, bitrate_bps: int = 500_000, interval_s: float = 60
) -> EncoderOptions:
    return EncoderOptions(
        width_px=width_px,
        height_px=height_px,
        frames_per_second=30,
        bitrate_bps=bitrate_bps,
        keyframe_interval_s=interval_s,
    )


class SteadyEncoder:
    """Encodes each picture before it takes the next, 33 ms of content apart."""

    def __init__(self, its_options: EncoderOptions) -> None:
        self.frames: list[EncodedFrame] = []
        self._came = threading.Semaphore(0)
        self._pictures = 0
        self.encoder = H264Encoder(self._take, its_options)

    def encode(self, pictures: Iterable[av.VideoFrame]) -> list[EncodedFrame]:
        """Return the frames of these pictures."""
        before = len(self.frames)
        for picture in pictures:
            self._pictures += 1
            self.encoder.encode(picture, captured_at_us=self._pictures * FRAME_US)
            assert self._came.acquire(timeout=30), "no frame for this picture"
        return self.frames[before:]

    def _take(self, frame: EncodedFrame) -> None:
        self.frames.append(frame)
        self._came.release()


def noise(count: int, *, width_px: int = 320, height_px: int = 240) -> Iterable[av.VideoFrame]:
    """Give pictures that no encoder finds easy: soft noise that moves and changes."""
    generator = np.random.default_rng(seed=1)
    field = generator.integers(96, 160, (height_px, 4 * width_px), dtype=np.uint8)
    for number in range(count):
        picture = grey(width_px=width_px, height_px=height_px)
        left = number * 6 % (3 * width_px)
        planes_of(picture)[0][:] = field[:, left : left + width_px]
        planes_of(picture)[0][::8] = generator.integers(96, 160, width_px, dtype=np.uint8)
        yield picture


def grey(level: int = 128, *, width_px: int = 320, height_px: int = 240) -> av.VideoFrame:
    picture = av.VideoFrame(width_px, height_px, "yuv420p")
    for plane, value in zip(planes_of(picture), (level, 128, 128), strict=True):
        plane[:] = value
    return picture


def nal_units(data: bytes) -> list[bytes]:
    """Split an Annex B byte stream."""
    return [unit.rstrip(b"\x00") for unit in data.split(b"\x00\x00\x01")[1:]]


def nal_types(frame: EncodedFrame) -> list[int]:
    return [unit[0] & 0x1F for unit in nal_units(frame.data)]


def decode(frames: Iterable[EncodedFrame]) -> list[av.VideoFrame]:
    """Decode as a viewer does: every frame gives its picture at once."""
    decoder = av.CodecContext.create("h264", "r")
    decoder.flags |= av.codec.context.Flags.low_delay
    pictures = []
    for frame in frames:
        packet = av.Packet(frame.data)
        packet.pts = frame.pts_us
        pictures += decoder.decode(packet)
    return pictures


def bits_per_second(frames: list[EncodedFrame]) -> float:
    return sum(len(frame.data) for frame in frames) * 8 * 1_000_000 / FRAME_US / len(frames)


class Collector:
    """Takes frames from any thread, and lets a test wait for so many."""

    def __init__(self) -> None:
        self.frames: list[EncodedFrame] = []
        self._came = threading.Condition()

    def take(self, frame: EncodedFrame) -> None:
        with self._came:
            self.frames.append(frame)
            self._came.notify()

    def wait(self, count: int) -> list[EncodedFrame]:
        assert self.comes(count, within_s=30)
        return self.frames[:count]

    def comes(self, count: int, *, within_s: float) -> bool:
        with self._came:
            return self._came.wait_for(lambda: len(self.frames) >= count, within_s)
