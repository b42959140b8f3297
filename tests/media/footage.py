"""What cameras show that stand in for real ones: the moving test picture, encoded as they do it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
from av.video.codeccontext import VideoCodecContext

from camagent.media.drawing import TestPicture

Profile = Literal["baseline", "main", "high"]

STARTS_AT_US = 10**15
"""What the first picture's timestamp strip says."""


@dataclass(frozen=True, kw_only=True)
class Footage:
    """So many seconds of the test picture. They end where a keyframe can follow."""

    width_px: int = 640
    height_px: int = 360
    frames_per_second: int = 30
    seconds: int = 2

    def pictures(self) -> Iterator[av.VideoFrame]:
        """Draw them, numbered by `pts`."""
        drawn = TestPicture(width_px=self.width_px, height_px=self.height_px)
        for number in range(self.seconds * self.frames_per_second):
            picture = drawn.draw(STARTS_AT_US + number * 1_000_000 // self.frames_per_second)
            picture.pts = number
            picture.time_base = Fraction(1, self.frames_per_second)
            yield picture

    def mjpeg(self) -> Iterator[bytes]:
        """Give one JPEG a picture, 4:2:2 as most USB cameras have it."""
        encoder = self._encoder("mjpeg", "yuvj422p")
        encoder.options = {"qmin": "3", "qmax": "3"}
        pictures = (picture.reformat(format="yuvj422p") for picture in self.pictures())
        return (bytes(packet) for packet in _encoded(encoder, pictures))

    def yuyv(self) -> Iterator[bytes]:
        """Give the pictures as they are, two bytes a pixel, without padding."""
        for picture in self.pictures():
            plane = picture.reformat(format="yuyv422").planes[0]
            rows, row_bytes = memoryview(plane), 2 * self.width_px
            starts = range(0, self.height_px * plane.line_size, plane.line_size)
            yield b"".join(rows[start : start + row_bytes] for start in starts)

    def h264(
        self, *, profile: Profile = "baseline", b_frames: int = 0
    ) -> tuple[list[av.Packet], bytes]:
        """Give access units in decoding order, a keyframe each second, and the SPS and PPS.

        Both are Annex B byte streams; the access units do not hold the SPS and PPS.
        """
        encoder = self._encoder("libx264", "yuv420p")
        encoder.flags |= av.codec.context.Flags.global_header
        rate = self.frames_per_second
        encoder.options = {
            "profile": profile,
            "preset": "veryfast",
            "x264-params": f"keyint={rate}:min-keyint={rate}:scenecut=0:open-gop=0:bframes={b_frames}",
        }
        packets = _encoded(encoder, self.pictures())
        assert encoder.extradata is not None
        return packets, encoder.extradata

    def _encoder(self, codec: str, pix_fmt: str) -> VideoCodecContext:
        encoder = av.CodecContext.create(codec, "w")
        assert isinstance(encoder, VideoCodecContext)
        encoder.width, encoder.height, encoder.pix_fmt = self.width_px, self.height_px, pix_fmt
        encoder.framerate = Fraction(self.frames_per_second)
        encoder.time_base = Fraction(1, self.frames_per_second)
        return encoder


def self_contained(packets: Iterable[av.Packet], parameter_sets: bytes) -> Iterator[bytes]:
    """Give access units with the SPS and PPS before each keyframe."""
    for packet in packets:
        yield (parameter_sets if packet.is_keyframe else b"") + bytes(packet)


def write_frames(path: Path, frames: Iterable[bytes]) -> None:
    """Write each frame after its length in four bytes, the lowest first."""
    with path.open("wb") as file:
        for frame in frames:
            file.write(len(frame).to_bytes(4, "little") + frame)


def _encoded(encoder: VideoCodecContext, pictures: Iterable[av.VideoFrame]) -> list[av.Packet]:
    packets = [packet for picture in pictures for packet in encoder.encode(picture)]
    return packets + encoder.encode(None)
