"""The H.264 encoder in the chip of every Pi up to the 4 and the Zero 2, through picamera2."""

import contextlib
import fcntl
import importlib
import math
import time
from typing import Any

import structlog

from camagent.errors import CameraError
from camagent.media.encoder import EncoderOptions
from camagent.media.frame import EncodedFrame, Publish

log = structlog.get_logger(__name__)

_FORCED_KEYFRAME_DEADLINE_S = 0.5
"""After this long without the keyframe that was forced, another one may be."""

_BITRATE_STEP_BPS = 25_000
_PIXELS_PER_LEAST_BIT = 250
"""Far fewer bits than this leave the encoder no choice but to skip pictures, and it may stop."""


class ChipEncoder:
    """One running encoder. `v4l2` is picamera2's own, for who stops it."""

    encoder = "the chip"
    makes_keyframes = True

    def __init__(self, v4l2: Any, publish: Publish, options: EncoderOptions) -> None:
        self.v4l2 = v4l2
        self._publish = publish
        self._highest_bps = options.bitrate_bps
        self._lowest_bps = lowest_bitrate_bps(options)
        self._pictures_per_s = options.frames_per_second
        self._forced_at_s = -math.inf
        self._newest_pts_us = -1
        self._failure: Exception | None = None

    def force_keyframe(self) -> None:
        """Make the next picture a keyframe; calls until it comes, or for 0.5 s, count as one."""
        # picamera2 counts the calls, and makes as many keyframes in a row.
        now_s = time.monotonic()
        if now_s - self._forced_at_s > _FORCED_KEYFRAME_DEADLINE_S:
            self._forced_at_s = now_s
            self.v4l2.force_key_frame()

    def set_bitrate(self, bitrate_bps: int) -> None:
        """Aim at `bitrate_bps`, within what the chip bears, from the next pictures on."""
        # picamera2 has no call for this; the driver takes it at any time.
        v4l2 = importlib.import_module("videodev2")
        control = v4l2.v4l2_control()
        control.id = v4l2.V4L2_CID_MPEG_VIDEO_BITRATE
        control.value = max(self._lowest_bps, min(bitrate_bps, self._highest_bps))
        try:
            fcntl.ioctl(self.v4l2.vd, v4l2.VIDIOC_S_CTRL, control)
        except (OSError, ValueError, TypeError, AttributeError) as error:
            # Closed meanwhile, or a picamera2 that names it otherwise: the rate stays as it is.
            log.warning("picamera.bitrate_not_set", cause=repr(error))

    def set_frame_rate(self, frames_per_second: int) -> None:
        """Encode every second, third, … picture, as comes nearest to so many per second."""
        self.v4l2.frame_skip_count = max(1, round(self._pictures_per_s / frames_per_second))

    def take(self, data: bytes, *, is_keyframe: bool, since_first_us: int) -> None:
        """Publish what the encoder made; called on its thread, and never raises into it."""
        try:
            if is_keyframe:
                self._forced_at_s = -math.inf
            # Counted from this encoder's first picture; with that, all encoders share one clock.
            pts_us = self.v4l2.firsttimestamp + since_first_us
            if pts_us > self._newest_pts_us:
                self._newest_pts_us = pts_us
                self._publish(EncodedFrame(data, pts_us, is_keyframe))
        except Exception as failure:  # noqa: BLE001 - told by check, for here it would end the encoder
            self._failure = failure

    def check(self) -> None:
        """Raise CameraError if what the encoder made could not be used."""
        if self._failure is not None:
            problem = f"a frame of the Pi's encoder could not be used: {self._failure!r}"
            raise CameraError(problem) from self._failure


def lowest_bitrate_bps(options: EncoderOptions) -> int:
    """Give the least that is asked of the chip for such pictures, in steps that its driver knows."""
    pixels_per_s = options.width_px * options.height_px * options.frames_per_second
    steps = -(-pixels_per_s // (_PIXELS_PER_LEAST_BIT * _BITRATE_STEP_BPS))
    return min(options.bitrate_bps, max(2, steps) * _BITRATE_STEP_BPS)


def start_chip_encoder(
    camera: Any, name: str, publish: Publish, options: EncoderOptions
) -> ChipEncoder | None:
    """Start to encode the pictures called `name`; None, and a warning, where no encoder is free."""
    # By its module: picamera2.encoders gives this name to libx264 on a Pi 5.
    v4l2 = importlib.import_module("picamera2.encoders.h264_encoder").H264Encoder(
        bitrate=options.bitrate_bps,
        repeat=True,
        iperiod=options.keyframe_interval_pictures,
        framerate=options.frames_per_second,
        enable_sps_framerate=True,
        profile="constrained baseline",
    )
    chip = ChipEncoder(v4l2, publish, options)
    try:
        camera.start_encoder(v4l2, _output(chip), name=name)
    except (OSError, RuntimeError) as error:
        log.warning("picamera.encodes_with_libx264", cause=str(error))
        # picamera2 leaves a thread and a file behind, as far as it had come.
        with contextlib.suppress(AttributeError, OSError, RuntimeError, ValueError):
            stop_chip_encoder(camera, chip)
        return None
    return chip


def stop_chip_encoder(camera: Any, chip: ChipEncoder) -> None:
    """Stop it, without a gap in what others encode of the same camera."""
    # picamera2 would stop it first, for 0.4 s with a lock that the camera's thread wants.
    with camera.lock:
        camera.encoders.discard(chip.v4l2)
    chip.v4l2.stop()


def _output(chip: ChipEncoder) -> Any:
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
