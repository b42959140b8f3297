"""One camera on a Pi's camera connector, from opening to closing."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from camagent.errors import CameraError, RestartNeeded
from camagent.media.encoder import EncoderOptions
from camagent.media.frame import Publish, Stream
from camagent.media.holders import who_holds
from camagent.media.overlay import OverlayNotice
from camagent.media.picamera.library import (
    count_cameras_elsewhere,
    explained,
    import_picamera2,
    list_cameras,
    no_camera,
)
from camagent.media.picamera.stream import stream_running

_BUFFERS = 6


class PiCamera:
    """A camera with libcamera's number, counted from 0 as `rpicam-hello --list-cameras` does."""

    survives_failure = False

    def __init__(self, options: EncoderOptions, *, camera_number: int = 0) -> None:
        self._options = options
        self._camera_number = camera_number
        self._model: str | None = None
        self._has_missed_it = False
        self._notice = OverlayNotice(options.overlay)

    @property
    def name(self) -> str:
        """What it is, for logs: with the sensor's model once that is known."""
        return f"picamera {self._model or self._camera_number}"

    @contextmanager
    def opened(self, publish: Publish) -> Iterator[Stream]:
        """Run the camera and its encoder while the block runs.

        Raises:
            CameraError: picamera2 is missing, there is no such camera, it is in use, or it does not
                work.
            RestartNeeded: the camera came after this process had looked for it.
        """
        with (
            self._camera() as camera,
            stream_running(camera, publish, self._options) as stream,
        ):
            with explained("the Pi camera does not start"):
                camera.start()
            self._notice.consider(stream.main)
            yield stream

    @contextmanager
    def _camera(self) -> Iterator[Any]:
        """Hold the camera, configured and not yet running."""
        picamera2 = import_picamera2()
        cameras = list_cameras(picamera2)
        if self._camera_number >= len(cameras):
            self._look_elsewhere()
            raise CameraError(no_camera(self._camera_number, len(cameras)))
        self._model = cameras[self._camera_number].get("Model")
        with explained("the Pi camera cannot be opened", hint=lambda: f"; {who_holds()}"):
            camera = picamera2.Picamera2(self._camera_number)
        try:
            with explained(f"the Pi camera cannot be set to {self._options}"):
                camera.configure(_configuration(camera, self._options))
            yield camera
        finally:
            with explained("the Pi camera does not close"):
                # Without this a camera that stalled would never close.
                camera.cancel_all_and_flush()
                camera.close()
            # A Picamera2 is part of a cycle and holds three files until it is collected, which may
            # take Python hundreds of openings. This collects those before it.
            gc.collect()

    def _look_elsewhere(self) -> None:
        """Find out whether the camera came after libcamera had looked, once and for this process.

        Raises:
            RestartNeeded: a new process sees it.
        """
        if self._has_missed_it and count_cameras_elsewhere() > self._camera_number:
            raise RestartNeeded("a Pi camera was connected since this process looked for one")
        self._has_missed_it = True


def _configuration(camera: Any, options: EncoderOptions) -> Any:
    picture_us = 1_000_000 // options.frames_per_second
    low = options.low()
    return camera.create_video_configuration(
        main={"size": (options.width_px, options.height_px), "format": "YUV420"},
        lores={"size": (low.width_px, low.height_px), "format": "YUV420"},
        raw=None,
        buffer_count=_BUFFERS,
        controls={"FrameDurationLimits": (picture_us, picture_us)},
    )
