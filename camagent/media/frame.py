"""The unit of video that everything downstream of the encoder handles."""

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
            within one opening of the source.
        is_keyframe: True for an IDR picture, the only place a decoder can start.
    """

    data: bytes
    pts_us: int
    is_keyframe: bool


class Encoding(Protocol):
    """A running encoder, as those who look after the stream see it.

    Both calls return at once and may come from any thread.
    """

    def force_keyframe(self) -> None:
        """Make the next picture a keyframe. Calls before that picture count as one."""

    def set_bitrate(self, bitrate_bps: int) -> None:
        """Aim at `bitrate_bps` from the next pictures on, without a new keyframe."""


class VideoSource(Protocol):
    """Where frames come from: a camera with its encoder, closed until somebody watches."""

    @property
    def name(self) -> str:
        """What it is, for logs: `picamera imx708`, `synthetic`."""

    def opened(self, publish: Callable[[EncodedFrame], None]) -> AbstractContextManager[Encoding]:
        """Open the camera while the block runs, and hand every frame to `publish`.

        Entering and leaving may block for seconds, so both happen on a thread. `publish` may be
        called from any thread; it never blocks and never raises.

        Raises:
            CameraError: there is no camera, it is busy, or it has no usable encoder. The text says
                which, and what to do.
        """
