"""The Raspberry Pi's camera: the only module that imports picamera2 or libcamera, and only when used.

A Pi with an H.264 encoder in its chip (up to the Pi 4 and the Zero 2) encodes there; a Pi 5 has
none, so its pictures go to libx264. picamera2 calls back on threads of its own, which an exception
would end, and closing the camera would then never return: nothing here raises into them.
"""

import contextlib
import fcntl
import gc
import importlib.util
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from camagent.errors import CameraError
from camagent.media.encoder import EncoderOptions, H264Encoder
from camagent.media.frame import EncodedFrame, Encoding

log = structlog.get_logger(__name__)

_BUFFERS = 6
_LOWEST_BITRATE_BPS = 25_000
_FORCED_KEYFRAME_DEADLINE_S = 0.5
"""After this long without the keyframe that was forced, another one may be."""

_HOW_TO_INSTALL = (
    "sudo apt install python3-picamera2 --no-install-recommends, then create the virtual "
    "environment with the system's own python3 -m venv --system-site-packages"
)

Publish = Callable[[EncodedFrame], None]


class PiCamera:
    """One camera on a Pi's camera connector, counted from 0 as `rpicam-hello --list-cameras` does."""

    def __init__(self, options: EncoderOptions, *, camera_number: int = 0) -> None:
        self._options = options
        self._camera_number = camera_number
        self._model: str | None = None

    @property
    def name(self) -> str:
        """What it is, for logs: with the sensor's model once that is known."""
        return f"picamera {self._model or self._camera_number}"

    @contextmanager
    def opened(self, publish: Publish) -> Iterator[Encoding]:
        """Run the camera and its encoder while the block runs.

        Raises:
            CameraError: picamera2 is missing, there is no such camera, it is in use, or it does not
                work.
        """
        with self._camera() as camera, _encoding(camera, publish, self._options) as encoding:
            with _explained("the Pi camera does not start"):
                camera.start()
            yield encoding

    @contextmanager
    def _camera(self) -> Iterator[Any]:
        """Hold the camera, configured and not yet running."""
        picamera2 = _import_picamera2()
        cameras = _list_cameras(picamera2)
        if self._camera_number >= len(cameras):
            raise CameraError(_no_camera(self._camera_number, len(cameras)))
        self._model = cameras[self._camera_number].get("Model")
        with _explained("the Pi camera cannot be opened; does another program use it?"):
            camera = picamera2.Picamera2(self._camera_number)
        try:
            with _explained(f"the Pi camera cannot be set to {self._options}"):
                camera.configure(_configuration(camera, self._options))
            yield camera
        finally:
            with _explained("the Pi camera does not close"):
                # Without this a camera that stalled would never close.
                camera.cancel_all_and_flush()
                camera.close()
            # A Picamera2 is part of a cycle and holds three files until it is collected, which may
            # take Python hundreds of openings. This collects those before it.
            gc.collect()


def picamera2_problem() -> str | None:
    """Say in one sentence what keeps picamera2 from being imported, which is not tried; or None."""
    if importlib.util.find_spec("picamera2") is None:
        return f"picamera2 is not installed: {_missing_packages()}"
    return None


def pi_camera_problem() -> str | None:
    """Say in one sentence what keeps the Pi camera from being used; None if nothing does.

    Loads picamera2 and libcamera for good, and libcamera looks for cameras once in a process:
    `finding.find_pi_camera` asks without either.
    """
    try:
        cameras = _list_cameras(_import_picamera2())
    except CameraError as error:
        return str(error)
    return None if cameras else _no_camera(0, 0)


def _import_picamera2() -> Any:
    try:
        return importlib.import_module("picamera2")
    except ModuleNotFoundError as error:
        raise CameraError(f"{error.name} is not installed: {_missing_packages()}") from error
    except Exception as error:
        # A library that does not match, say, which shows as any kind of error.
        raise CameraError(f"picamera2 is installed but cannot be imported: {error!r}") from error


def _list_cameras(picamera2: Any) -> list[dict[str, Any]]:
    with _explained("libcamera cannot list the cameras"):
        cameras: list[dict[str, Any]] = picamera2.Picamera2.global_camera_info()
    return cameras


def _missing_packages() -> str:
    settings = Path(sys.prefix, "pyvenv.cfg")
    if settings.exists() and "include-system-site-packages = true" not in settings.read_text():
        return f"{sys.prefix} does not see the system's packages; {_HOW_TO_INSTALL}"
    return _HOW_TO_INSTALL


def _no_camera(number: int, count: int) -> str:
    if count:
        return f"there is no Pi camera {number}: libcamera finds {count}, counted from 0"
    return (
        "libcamera finds no Pi camera: check its cable and rpicam-hello --list-cameras, and that "
        "this user is in the group video"
    )


def _configuration(camera: Any, options: EncoderOptions) -> Any:
    picture_us = 1_000_000 // options.frames_per_second
    return camera.create_video_configuration(
        main={"size": (options.width_px, options.height_px), "format": "YUV420"},
        raw=None,
        buffer_count=_BUFFERS,
        controls={"FrameDurationLimits": (picture_us, picture_us)},
    )


@contextmanager
def _encoding(camera: Any, publish: Publish, options: EncoderOptions) -> Iterator[Encoding]:
    """Encode in the chip if it can, else with libx264."""
    chip = None if camera.platform.name == "PISP" else _start_chip_encoder(camera, publish, options)
    if chip is None:
        with _encoding_with_libx264(camera, publish, options) as encoding:
            yield encoding
        return
    try:
        yield chip
    finally:
        with _explained("the Pi's encoder does not stop"):
            camera.stop_encoder(chip.encoder)


class _ChipEncoder:
    """The encoder in the chip, through picamera2."""

    def __init__(self, encoder: Any, publish: Publish, highest_bps: int) -> None:
        self.encoder = encoder
        self._publish = publish
        self._highest_bps = highest_bps
        self._forced_at_s = -math.inf

    def force_keyframe(self) -> None:
        # picamera2 counts the calls, and makes as many keyframes in a row.
        now_s = time.monotonic()
        if now_s - self._forced_at_s > _FORCED_KEYFRAME_DEADLINE_S:
            self._forced_at_s = now_s
            self.encoder.force_key_frame()

    def set_bitrate(self, bitrate_bps: int) -> None:
        # picamera2 has no call for this; the driver takes it at any time.
        v4l2 = importlib.import_module("videodev2")
        control = v4l2.v4l2_control()
        control.id = v4l2.V4L2_CID_MPEG_VIDEO_BITRATE
        control.value = max(_LOWEST_BITRATE_BPS, min(bitrate_bps, self._highest_bps))
        try:
            fcntl.ioctl(self.encoder.vd, v4l2.VIDIOC_S_CTRL, control)
        except (OSError, ValueError, TypeError, AttributeError) as error:
            # Closed meanwhile, or a picamera2 that names it otherwise: the rate stays as it is.
            log.warning("picamera.bitrate_not_set", cause=repr(error))

    def take(self, data: bytes, *, is_keyframe: bool, since_first_us: int) -> None:
        """Publish what the encoder made; called on its thread."""
        if is_keyframe:
            self._forced_at_s = -math.inf
        pts_us = self.encoder.firsttimestamp + since_first_us
        self._publish(EncodedFrame(data, pts_us, is_keyframe))


def _start_chip_encoder(
    camera: Any, publish: Publish, options: EncoderOptions
) -> _ChipEncoder | None:
    """Start the encoder in the chip; None, and a warning, where it is missing or taken."""
    # By its module: picamera2.encoders gives this name to libx264 on a Pi 5.
    encoder = importlib.import_module("picamera2.encoders.h264_encoder").H264Encoder(
        bitrate=options.bitrate_bps,
        repeat=True,
        iperiod=options.keyframe_interval_pictures,
        framerate=options.frames_per_second,
        enable_sps_framerate=True,
        profile="constrained baseline",
    )
    chip = _ChipEncoder(encoder, publish, options.bitrate_bps)
    try:
        camera.start_encoder(encoder, _output(chip), name="main")
    except OSError as error:
        log.warning("picamera.encodes_with_libx264", cause=str(error))
        # picamera2 leaves a thread and a file behind, as far as it had come.
        with contextlib.suppress(AttributeError, OSError, RuntimeError):
            encoder.stop()
        return None
    return chip


def _output(chip: _ChipEncoder) -> Any:
    """Make what picamera2 calls an output, out of a class that exists only once it is imported."""
    from picamera2.outputs import Output  # noqa: PLC0415

    class FrameOutput(Output):  # type: ignore[misc]
        # picamera2 calls with two more arguments, for containers and sound.
        def outputframe(
            self,
            frame: bytes,
            keyframe: bool,  # noqa: FBT001 - so it is called
            timestamp: int,
            *_: object,
        ) -> None:
            chip.take(frame, is_keyframe=keyframe, since_first_us=timestamp)

    return FrameOutput()


@contextmanager
def _encoding_with_libx264(
    camera: Any, publish: Publish, options: EncoderOptions
) -> Iterator[Encoding]:
    """Copy every picture of the camera to libx264 while the block runs."""
    # Here, for it loads numpy: an idle agent should not.
    from camagent.media.picture import copy_picture  # noqa: PLC0415

    mapped_array = importlib.import_module("picamera2").MappedArray
    stream = camera.camera_configuration()["main"]
    width_px, height_px = stream["size"]
    encoder = H264Encoder(publish, replace(options, width_px=width_px, height_px=height_px))
    failures: list[Exception] = []

    def take(request: Any) -> None:
        # On the camera's thread, which holds its lock: copy and leave.
        try:
            captured_at_us = request.get_metadata()["SensorTimestamp"] // 1_000
            with mapped_array(request, "main", reshape=False, write=False) as mapped:
                picture = copy_picture(
                    mapped.array, width_px=width_px, height_px=height_px, stride=stream["stride"]
                )
            encoder.encode(picture, captured_at_us=captured_at_us)
        except Exception as failure:  # noqa: BLE001 - raised below, for here it would end the camera
            failures[:] = [failure]

    with encoder.running():
        # Never taken away again: picamera2 looks at it twice, and would call None in between.
        camera.post_callback = take
        yield encoder
    for failure in failures:
        raise CameraError(f"a picture of the Pi camera could not be read: {failure!r}") from failure


@contextmanager
def _explained(sentence: str) -> Iterator[None]:
    """Turn what picamera2 raises into a CameraError: `sentence`, and what picamera2 says."""
    try:
        yield
    except (RuntimeError, OSError, ValueError) as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise CameraError(f"{sentence}: {cause}") from error
