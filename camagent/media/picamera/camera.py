"""One camera on a Pi's camera connector, from opening to closing."""

import gc
import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from camagent.errors import CameraError, RestartNeeded
from camagent.media.encoder import EncoderOptions
from camagent.media.frame import Publish, Stream
from camagent.media.holders import who_holds
from camagent.media.overlay import OverlayNotice
from camagent.media.picamera.abilities import Abilities
from camagent.media.picamera.controls import controls_for, has_sensor_hdr, sensor_for
from camagent.media.picamera.library import (
    explained,
    import_picamera2,
    list_cameras,
    no_camera,
    number_of,
    sees_camera_elsewhere,
    tune,
)
from camagent.media.picamera.stream import is_pi_5, stream_running
from camagent.media.picamera.wishes import CameraWishes

_BUFFERS = 6
_AF_TRIGGER_START = 0


class PiCamera:
    """A camera that libcamera finds, set to what is wished of it whenever it is opened.

    Attributes:
        options: size, rate and bits of its pictures.
        wishes: which camera it is, and everything else that is asked of it.
    """

    survives_failure = False

    def __init__(self, options: EncoderOptions, wishes: CameraWishes | None = None) -> None:
        self.options = options
        self.wishes = wishes or CameraWishes()
        self._model: str | None = None
        self._has_missed_it = False
        self._notice = OverlayNotice(options.overlay)

    @property
    def name(self) -> str:
        """What it is, for logs: with the sensor's model once that is known."""
        return f"picamera {self._model or self.wishes.id}"

    @contextmanager
    def opened(self, publish: Publish) -> Iterator[Stream]:
        """Run the camera and its encoder while the block runs.

        Raises:
            CameraError: picamera2 is missing, there is no such camera, it is in use, or it does not
                work.
            CameraRefused: it is there, and cannot do what is wished.
            RestartNeeded: the camera came after this process had looked for it.
        """
        with (
            self._camera() as camera,
            stream_running(camera, publish, self.options) as stream,
        ):
            with explained("the Pi camera does not start"):
                camera.start()
                if self.wishes.autofocus == "auto":
                    # In this mode the lens moves when it is told to, and not before the start.
                    camera.set_controls({"AfTrigger": _AF_TRIGGER_START})
            self._notice.consider(stream.main)
            yield stream

    def look(self) -> None:
        """Raise CameraError if there is no such camera; nothing is opened."""
        tune(self.wishes.tuning_file)
        self._number(list_cameras(import_picamera2()))

    def check(self) -> None:
        """Open the camera, hold it against the wishes, and close it. It takes no picture.

        Raises:
            CameraError: as `opened` does.
            CameraRefused: it cannot do what is wished.
        """
        with self._camera():
            pass

    @contextmanager
    def _camera(self) -> Iterator[Any]:
        """Hold the camera, configured and not yet running."""
        picamera2 = import_picamera2()
        number = self._find(picamera2)
        with explained("the Pi camera cannot be opened", hint=lambda: f"; {who_holds()}"):
            camera = _made(picamera2.Picamera2, number, tuning=self.wishes.tuning_file)
        try:
            with explained(f"the Pi camera cannot be set to {self.options}"):
                self._configure(camera)
            yield camera
        finally:
            with explained("the Pi camera does not close"):
                # Without this a camera that stalled would never close.
                camera.cancel_all_and_flush()
                camera.close()
            # A Picamera2 is part of a cycle and holds three files until it is collected, which may
            # take Python hundreds of openings. This collects those before it.
            gc.collect()

    def _find(self, picamera2: Any) -> int:
        """Give the camera's number, with its sensor prepared for being opened."""
        tune(self.wishes.tuning_file)
        cameras = list_cameras(picamera2)
        try:
            number = self._number(cameras)
        except CameraError:
            self._look_elsewhere()
            raise
        self._model = cameras[number].get("Model")
        if has_sensor_hdr(self._model or "") and self.wishes.hdr is not None:
            with explained("the sensor's HDR cannot be set"):
                _set_sensor_hdr(cameras[number]["Num"], is_on=self.wishes.hdr == "sensor")
        return number

    def _number(self, cameras: list[dict[str, Any]]) -> int:
        number = number_of(self.wishes.id, cameras)
        if number is None:
            problem = no_camera(self.wishes.id, cameras)
            if self.wishes.tuning_file is not None and not cameras:
                problem += f"; or {self.wishes.tuning_file} is no tuning file for it"
            raise CameraError(problem)
        return number

    def _look_elsewhere(self) -> None:
        """Find out whether the camera came after libcamera had looked, once and for this process.

        Raises:
            RestartNeeded: a new process sees it.
        """
        if self._has_missed_it and sees_camera_elsewhere(self.wishes.id):
            raise RestartNeeded("a Pi camera was connected since this process looked for one")
        self._has_missed_it = True

    def _configure(self, camera: Any) -> None:
        """Set up streams, sensor and controls.

        What a control may be depends on the mode of the sensor, so that is set before anybody looks.
        """
        # To list the modes picamera2 sets each of them, which takes time and memory.
        modes = [] if self.wishes.sensor_width_px is None else list(camera.sensor_modes)
        camera.configure(self._configuration(camera, sensor_for(self.wishes, modes)))
        abilities = _abilities(camera, self._model, modes)
        camera.set_controls(controls_for(self.wishes, self.options, abilities))

    def _configuration(self, camera: Any, sensor: dict[str, Any]) -> Any:
        libcamera = importlib.import_module("libcamera")
        low = self.options.low()
        is_mirrored, is_upside_down = self.wishes.flips
        return camera.create_video_configuration(
            main={"size": (self.options.width_px, self.options.height_px), "format": "YUV420"},
            lores={"size": (low.width_px, low.height_px), "format": "YUV420"},
            raw=None,
            transform=libcamera.Transform(hflip=is_mirrored, vflip=is_upside_down),
            buffer_count=_BUFFERS,
            sensor=sensor,
        )


def _made(kind: Any, number: int, *, tuning: str | None) -> Any:
    """Make a Picamera2; one that cannot be made, such as of a camera in use, leaves nothing open.

    Its constructor opens a pipe before the camera, and it closes the pipe only after the camera.
    """
    camera = kind.__new__(kind)
    try:
        camera.__init__(number, tuning=tuning)
    except BaseException:
        # What closing a half of it raises says nothing beside why it is one.
        with suppress(Exception):
            camera.close()
        reader = getattr(camera, "notifymeread", None)
        if reader is not None and not reader.closed:
            reader.close()
            os.close(camera.notifyme_w)
        raise
    return camera


def _set_sensor_hdr(libcamera_number: int, *, is_on: bool) -> None:
    """Let the sensor combine exposures or not; its modes depend on that, so it comes before all.

    Raises:
        CameraError: picamera2's part for this sensor cannot be imported.
    """
    try:
        devices = importlib.import_module("picamera2.devices.imx708")
    except Exception as error:
        # With it come picamera2's other devices, and what those need.
        raise CameraError(f"the sensor's HDR cannot be set: {error!r}") from error
    with devices.IMX708(libcamera_number) as sensor:
        sensor.set_sensor_hdr_mode(is_on)


def _abilities(camera: Any, model: str | None, modes: list[dict[str, Any]]) -> Abilities:
    properties, controls = camera.camera_properties, camera.camera_controls
    # Turned another way than asked: the sensor cannot.
    transform = camera.camera_configuration()["transform"]
    return Abilities(
        model=model or "camera",
        controls=controls,
        size_px=properties.get("PixelArraySize"),
        modes=modes,
        flips=(bool(transform.hflip), bool(transform.vflip)),
        has_isp_hdr="HdrMode" in controls and is_pi_5(camera),
    )
