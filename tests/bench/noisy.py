"""The test picture with a sensor's noise: as of a real camera, an encoder takes all bits it may."""

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np

from camagent.media.drawing import TestPicture
from camagent.media.encoder import EncoderOptions
from camagent.media.frame import Publish, Stream
from camagent.media.pacing import Pace
from camagent.media.picture import planes_of
from camagent.media.software import SoftwareStream
from camagent.media.threads import thread_running
from camagent.media.timestamp import STRIP_ROWS

_DEVIATION = 3.0
_LARGEST = 12
_FIELDS = 8


class NoisySource:
    """Like `SyntheticSource`, timestamp cells and all."""

    name = "noisy"
    survives_failure = True

    def __init__(self, options: EncoderOptions) -> None:
        self._options = options
        size = (options.height_px - STRIP_ROWS, options.width_px)
        noise = np.random.default_rng(1)
        self._fields = [
            # As bytes, of which the picture's own have room above and below.
            np.clip(noise.normal(0, _DEVIATION, size).round(), -_LARGEST, _LARGEST)
            .astype(np.int8)
            .view(np.uint8)
            for _ in range(_FIELDS)
        ]

    @contextmanager
    def opened(self, publish: Publish) -> Iterator[Stream]:
        """Draw and encode while the block runs."""
        stream = SoftwareStream(publish, self._options)
        closing = threading.Event()
        draw = partial(self._draw, stream, closing)
        with stream.main.running(), thread_running(draw, stop=closing.set, name="noisy picture"):
            yield stream

    def _draw(self, stream: SoftwareStream, closing: threading.Event) -> None:
        size = {"width_px": self._options.width_px, "height_px": self._options.height_px}
        test_picture = TestPicture(**size)
        pace = Pace(self._options.frames_per_second)
        for field in itertools.cycle(self._fields):
            captured_at_us = time.monotonic_ns() // 1_000
            picture = test_picture.draw(time.time_ns() // 1_000)
            luma = planes_of(picture)[0]
            luma[STRIP_ROWS:] += field
            stream.take(picture, captured_at_us=captured_at_us)
            if closing.wait(pace.until_next_s()):
                return
