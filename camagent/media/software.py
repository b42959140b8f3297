"""Pictures that libx264 encodes: what sources have in common that are not encoded already."""

import concurrent.futures
from collections.abc import Iterator
from contextlib import contextmanager

import av

from camagent.errors import CameraError
from camagent.media.encoder import EncoderOptions, H264Encoder
from camagent.media.frame import Encoding, Publish
from camagent.media.overlay import Overlay
from camagent.media.picture import Fitter, as_jpeg

_SNAPSHOT_DEADLINE_S = 2.0


class SoftwareStream:
    """A stream whose pictures are handed to `take`, one after the other, by its source.

    The low rung's encoder scales them on its own thread.
    """

    def __init__(self, publish: Publish, options: EncoderOptions) -> None:
        self._options = options
        self._low: H264Encoder | None = None
        self._overlay = None if options.overlay is None else Overlay(options.overlay)
        self._still: concurrent.futures.Future[av.VideoFrame] | None = None
        self.main = H264Encoder(publish, options)

    def take(self, picture: av.VideoFrame, *, captured_at_us: int) -> None:
        """Encode `picture`, which is the stream's from now on, for whichever rungs there are."""
        if self._overlay is not None:
            # A decoder may refer to it yet; then this makes a copy.
            picture.make_writable()
            self._overlay.draw(picture)
        if (still := self._still) is not None:
            self._still = None
            still.set_result(picture)
        if (low := self._low) is not None:
            low.encode(picture, captured_at_us=captured_at_us)
        self.main.encode(picture, captured_at_us=captured_at_us)

    @contextmanager
    def low_rung(self, publish: Publish) -> Iterator[Encoding]:
        """Encode a smaller picture as well while the block runs."""
        options = self._options.low()
        fitter = Fitter(width_px=options.width_px, height_px=options.height_px)
        low = H264Encoder(publish, options, prepare=fitter.fit)
        with low.running():
            self._low = low
            try:
                yield low
            finally:
                self._low = None

    def snapshot(self) -> bytes:
        """Give the next picture as JPEG.

        Raises:
            CameraError: none came.
        """
        still: concurrent.futures.Future[av.VideoFrame] = concurrent.futures.Future()
        self._still = still
        try:
            return as_jpeg(still.result(_SNAPSHOT_DEADLINE_S))
        except TimeoutError as error:
            raise CameraError(f"no picture came for {_SNAPSHOT_DEADLINE_S:g} s") from error
