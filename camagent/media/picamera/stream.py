"""An open Pi camera's rungs: the ISP makes pictures of two sizes, each with an encoder of its own."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from camagent.errors import CameraError
from camagent.media.encoder import EncoderOptions
from camagent.media.frame import Encoding, Publish
from camagent.media.picamera.buffers import Buffers
from camagent.media.picamera.chip import start_chip_encoder, stop_chip_encoder
from camagent.media.picamera.library import explained

_SNAPSHOT_DEADLINE_S = 2.0


@contextmanager
def stream_running(
    camera: Any, publish: Publish, options: EncoderOptions
) -> Iterator["PiCameraStream"]:
    """Encode the pictures of `camera`, which is configured, while the block runs."""
    buffers = Buffers(camera)
    with _rung(camera, buffers, "main", publish, options) as main:
        yield PiCameraStream(camera, buffers, main, options)
    buffers.check()


class PiCameraStream:
    """The camera while it is open. The main rung runs; the low one may."""

    def __init__(
        self, camera: Any, buffers: Buffers, main: Encoding, options: EncoderOptions
    ) -> None:
        self.main = main
        self._camera = camera
        self._buffers = buffers
        self._options = options

    @contextmanager
    def low_rung(self, publish: Publish) -> Iterator[Encoding]:
        """Encode the ISP's smaller picture as well while the block runs.

        Raises:
            CameraError: its encoder does not start, or had failed.
        """
        low = self._options.low()
        with _rung(self._camera, self._buffers, "lores", publish, low) as encoding:
            yield encoding

    def snapshot(self) -> bytes:
        """Take a picture from between the video's, as JPEG.

        Raises:
            CameraError: none came.
        """
        try:
            with explained("the Pi camera takes no still"):
                request = self._camera.capture_request(wait=_SNAPSHOT_DEADLINE_S, flush=True)
        except TimeoutError as error:
            # What was asked for stays asked for, and its picture would be taken and never returned.
            self._camera.cancel_all_and_flush()
            problem = f"the Pi camera gave no picture for {_SNAPSHOT_DEADLINE_S:g} s"
            raise CameraError(problem) from error
        try:
            still = io.BytesIO()
            with explained("the Pi camera's still cannot be encoded"):
                request.save("main", still, format="jpeg")
            return still.getvalue()
        finally:
            request.release()


@contextmanager
def _rung(
    camera: Any, buffers: Buffers, name: str, publish: Publish, options: EncoderOptions
) -> Iterator[Encoding]:
    """Encode one of the camera's two pictures: in the chip if it can, else with libx264."""
    width_px, height_px = camera.camera_configuration()[name]["size"]
    options = replace(options, width_px=width_px, height_px=height_px)
    chip = None if is_pi_5(camera) else start_chip_encoder(camera, name, publish, options)
    if chip is None:
        with buffers.encoded(name, publish, options) as encoding:
            yield encoding
        return
    try:
        yield chip
    finally:
        with explained("the Pi's encoder does not stop"):
            stop_chip_encoder(camera, chip)
    chip.check()


def is_pi_5(camera: Any) -> bool:
    """Tell a Pi 5, without an encoder in its chip, from those before it: by the camera's pipeline.

    picamera2 looks at /dev/video*, and takes a Pi 5 for a Pi 4 where it may not see them.
    """
    pipeline = str(camera.camera_properties.get("PipelineHandler", ""))
    return "pisp" in pipeline or ("vc4" not in pipeline and camera.platform.name == "PISP")
