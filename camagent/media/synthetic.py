"""A camera that needs no camera: a moving test picture, in real time."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from camagent.media.drawing import TestPicture
from camagent.media.encoder import EncoderOptions, H264Encoder
from camagent.media.frame import EncodedFrame, Encoding
from camagent.media.pacing import Pace
from camagent.media.threads import thread_running
from camagent.media.timestamp import read_timestamp

__all__ = ["SyntheticSource", "read_timestamp"]


class SyntheticSource:
    """Draws a clock, and the Unix time in microseconds for machines to read.

    `read_timestamp` finds it in a decoded picture.
    """

    def __init__(self, options: EncoderOptions) -> None:
        self._options = options

    @property
    def name(self) -> str:
        """What it is, for logs."""
        return "synthetic"

    @contextmanager
    def opened(self, publish: Callable[[EncodedFrame], None]) -> Iterator[Encoding]:
        """Draw and encode while the block runs."""
        encoder = H264Encoder(publish, self._options)
        picture = TestPicture(width_px=self._options.width_px, height_px=self._options.height_px)
        closing = threading.Event()
        draw = partial(self._draw, picture, encoder, closing)
        with encoder.running(), thread_running(draw, stop=closing.set, name="test picture"):
            yield encoder

    def _draw(self, picture: TestPicture, encoder: H264Encoder, closing: threading.Event) -> None:
        pace = Pace(self._options.frames_per_second)
        while True:
            captured_at_us = time.monotonic_ns() // 1_000
            encoder.encode(picture.draw(time.time_ns() // 1_000), captured_at_us=captured_at_us)
            if closing.wait(pace.until_next_s()):
                return
