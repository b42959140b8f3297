"""The unit of video that everything downstream of the encoder handles, and what makes it."""

import enum
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

MICROSECONDS = Fraction(1, 1_000_000)
"""The time base of every `pts_us`."""


class Rung(enum.Enum):
    """One encoding of the camera."""

    MAIN = "main"
    LOW = "low"


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """One H.264 access unit, ready to be packetized.

    Attributes:
        data: Annex B byte stream: start codes included, all slices of one picture; SPS and PPS
            precede every IDR picture (ITU-T H.264, Annex B).
        pts_us: Capture time in microseconds on the device's monotonic clock, strictly increasing
            within one opening of the source, and the same on all rungs.
        is_keyframe: True for an IDR picture, the only place a decoder can start.
    """

    data: bytes
    pts_us: int
    is_keyframe: bool


Publish = Callable[[EncodedFrame], None]
"""Takes a frame from any thread; never blocks and never raises."""


class Encoding(Protocol):
    """A running encoder, as those who look after its rung see it.

    Both calls return at once and may come from any thread.
    """

    @property
    def encoder(self) -> str:
        """What encodes, for people: `libx264`, `the chip`, `the camera itself`."""

    @property
    def makes_keyframes(self) -> bool:
        """False where frames come as they are, and with them their keyframes and their rate."""

    def force_keyframe(self) -> None:
        """Make the next picture a keyframe. Calls before that picture count as one."""

    def set_bitrate(self, bitrate_bps: int) -> None:
        """Aim at `bitrate_bps` from the next pictures on, without a new keyframe."""

    def set_frame_rate(self, frames_per_second: int) -> None:
        """Encode about so many pictures per second, at most all there are; the rest is left out."""


@dataclass(frozen=True)
class RungRate:
    """How much of a rung is encoded."""

    bitrate_bps: int
    frames_per_second: int

    def apply_to(self, encoding: Encoding) -> None:
        """Let `encoding` have this rate."""
        encoding.set_bitrate(self.bitrate_bps)
        encoding.set_frame_rate(self.frames_per_second)


class Stream(Protocol):
    """An open source. Its methods may block for seconds: one thread calls them, one at a time."""

    @property
    def main(self) -> Encoding:
        """The main rung, which runs while the source is open."""

    def low_rung(self, publish: Publish) -> AbstractContextManager[Encoding]:
        """Encode a smaller picture as well while the block runs; the main rung does not notice.

        Raises:
            CameraError: it cannot be had.
        """

    def snapshot(self) -> bytes:
        """Give the next picture, of the main rung's size, as JPEG; the rungs do not notice.

        Raises:
            CameraError: no picture came.
        """


class VideoSource(Protocol):
    """Where frames come from: a camera with its encoder, closed until somebody watches."""

    @property
    def name(self) -> str:
        """What it is, for logs: `picamera imx708`, `synthetic`."""

    @property
    def survives_failure(self) -> bool:
        """False if a process whose camera stalled and does not open again should not try on."""

    def opened(self, publish: Publish) -> AbstractContextManager[Stream]:
        """Open the camera while the block runs, and hand every frame of the main rung to `publish`.

        Entering and leaving may block for seconds, so both happen on a thread.

        Raises:
            CameraError: there is no camera, it is busy, or it has no usable encoder. The text says
                which, and what to do.
            RestartNeeded: it is there, and only a new process can open it.
        """
