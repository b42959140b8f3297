"""The camera's own buffers, encoded by libx264 where they lie."""

import contextlib
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from camagent.errors import CameraError
from camagent.media.encoder import EncoderOptions, H264Encoder
from camagent.media.frame import Encoding, Publish
from camagent.media.overlay import Overlay


class Buffers:
    """Hands each picture of the camera to whichever encoders there are.

    A buffer is the encoder's until it has read it, so two or three of them are away at a time.
    """

    def __init__(self, camera: Any) -> None:
        self._camera = camera
        self._mapped_array = importlib.import_module("picamera2").MappedArray
        self._encoders: dict[str, H264Encoder] = {}
        self._failure: Exception | None = None
        self._is_drawn_into = False

    @contextmanager
    def encoded(self, name: str, publish: Publish, options: EncoderOptions) -> Iterator[Encoding]:
        """Encode the pictures called `name`, `main` or `lores`, while the block runs.

        Raises:
            CameraError: libx264 is missing, or had failed.
        """
        self._is_drawn_into = options.overlay is not None
        if options.overlay is None:
            encoder = H264Encoder(publish, options)
        else:
            encoder = H264Encoder(publish, options, prepare=Overlay(options.overlay).draw)
        with encoder.running():
            self._encoders = self._encoders | {name: encoder}
            # Never taken away again: picamera2 looks at it twice, and would call None in between.
            self._camera.post_callback = self._take
            try:
                yield encoder
            finally:
                self._encoders = {
                    other: one for other, one in self._encoders.items() if other != name
                }

    def draw(self, request: Any, overlay: Overlay) -> None:
        """Draw into the main picture of `request`, whether or not its encoder has."""
        from camagent.media.picture import picture_over  # noqa: PLC0415

        stream = self._camera.camera_configuration()["main"]
        width_px, height_px = stream["size"]
        with self._mapped_array(request, "main", reshape=False, write=True) as mapped:
            overlay.draw(
                picture_over(
                    mapped.array, width_px=width_px, height_px=height_px, stride=stream["stride"]
                )
            )

    def check(self) -> None:
        """Raise CameraError if pictures could not be read."""
        if self._failure is not None:
            problem = f"a picture of the Pi camera could not be read: {self._failure!r}"
            raise CameraError(problem) from self._failure

    def _take(self, request: Any) -> None:
        # On the camera's thread, which holds its lock: lend the buffers, and leave.
        try:
            for name, encoder in self._encoders.items():
                self._lend(request, name, encoder)
        except Exception as failure:  # noqa: BLE001 - told by check, for here it would end the camera
            self._failure = failure

    def _lend(self, request: Any, name: str, encoder: H264Encoder) -> None:
        # Here, for it loads numpy: an idle agent should not.
        from camagent.media.picture import picture_over  # noqa: PLC0415

        captured_at_us = request.get_metadata()["SensorTimestamp"] // 1_000
        stream = self._camera.camera_configuration()[name]
        width_px, height_px = stream["size"]
        request.acquire()
        with contextlib.ExitStack() as lent:
            lent.callback(request.release)
            mapped = lent.enter_context(
                self._mapped_array(request, name, reshape=False, write=self._is_drawn_into)
            )
            picture = picture_over(
                mapped.array, width_px=width_px, height_px=height_px, stride=stream["stride"]
            )
            give_back = self._quietly(lent.pop_all().close)
        encoder.encode(picture, captured_at_us=captured_at_us, done=give_back)

    def _quietly(self, work: Callable[[], None]) -> Callable[[], None]:
        """Keep what `work` raises from the encoder's thread, and tell it at the end."""

        def do() -> None:
            try:
                work()
            except Exception as failure:  # noqa: BLE001 - told by check
                self._failure = failure

        return do
