"""A camera that needs no camera: a moving test picture, in real time."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from camagent.media.drawing import TestPicture
from camagent.media.encoder import EncoderOptions
from camagent.media.frame import Publish, Stream
from camagent.media.pacing import Pace
from camagent.media.software import SoftwareStream
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

    survives_failure = True

    @contextmanager
    def opened(self, publish: Publish) -> Iterator[Stream]:
        """Draw and encode while the block runs."""
        stream = SoftwareStream(publish, self._options)
        picture = TestPicture(width_px=self._options.width_px, height_px=self._options.height_px)
        closing = threading.Event()
        draw = partial(self._draw, picture, stream, closing)
        with (
            stream.main.running(),
            thread_running(draw, stop=closing.set, name="test picture"),
        ):
            yield stream

    def _draw(self, picture: TestPicture, stream: SoftwareStream, closing: threading.Event) -> None:
        pace = Pace(self._options.frames_per_second)
        while True:
            captured_at_us = time.monotonic_ns() // 1_000
            stream.take(picture.draw(time.time_ns() // 1_000), captured_at_us=captured_at_us)
            if closing.wait(pace.until_next_s()):
                return
